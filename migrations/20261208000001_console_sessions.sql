-- The sessions of the console: who is signed in, by which API key.
--
-- # Why
--
-- The browser has a random token, the table its hash: a copy of the table opens no session. A session has no
-- right of its own. Tenant and role are those of its key at each request, so a revoked key ends its sessions
-- at once.

create table console_session (
    id uuid primary key,
    tenant text not null,
    api_key uuid not null references api_key (id),
    token_hash bytea not null unique check (octet_length(token_hash) = 32),
    created_at timestamptz not null,
    last_used_at timestamptz not null,
    ended_at timestamptz,
    ended_by text check (ended_by in ('sign_out', 'sign_out_everywhere')),
    user_agent text,
    check ((ended_at is null) = (ended_by is null))
);
create index console_session_of_key on console_session (api_key, id);
create index console_session_created on console_session (created_at);
comment on table console_session is 'Sessions of the console. A row is written by each sign-in, and deleted 30 days after it was created.';
comment on column console_session.id is 'Id of the session, which is no secret.';
comment on column console_session.tenant is 'Tenant of the API key.';
comment on column console_session.api_key is 'The API key by which its browser signed in.';
comment on column console_session.token_hash is 'SHA-256 of the token in the cookie of the browser.';
comment on column console_session.created_at is 'Instant of the sign-in.';
comment on column console_session.last_used_at is 'Instant of the last request, to a minute.';
comment on column console_session.ended_at is 'Instant from which the session is no longer valid. Null: it was not ended; the limits of its age hold all the same.';
comment on column console_session.ended_by is 'What ended it: sign_out or sign_out_everywhere.';
comment on column console_session.user_agent is 'User agent of the browser at the sign-in, at most 256 characters.';

alter table access_log drop constraint access_log_what_check;
alter table access_log add constraint access_log_what_check check (
    what in ('call', 'person', 'original', 'export', 'quarantine', 'sign_in', 'sign_in_refused', 'sign_out')) not valid;
alter table access_log validate constraint access_log_what_check;
comment on table access_log is 'Who read a call, a person, the original of an event, an export or the quarantine, and who signed in to the console. One row for each; rows are never changed and never deleted.';
comment on column access_log.what is 'What was read: call, person, original (of an event), export or quarantine. Or what was done with the console: sign_in, sign_in_refused (the key is revoked, or its role has no pages), sign_out.';
