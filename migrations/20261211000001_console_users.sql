-- Users of the console who sign in by OpenID Connect, what they may do, and their sessions.
--
-- # Why
--
-- What a user may do is what the provider said at the last sign-in, read by the settings of the service. It is a
-- row for each tenant, which each request of a session reads: a sign-in that says otherwise, and a row that is
-- deleted, hold at once, in all sessions of the user.
--
-- A session notes under which settings of the sign-in it was opened. One of other settings is not valid: what
-- the operator takes away is taken away when the service has started again, and not hours later.

create table console_user (
    id uuid primary key,
    issuer text not null,
    subject text not null,
    name text not null,
    login text,
    first_sign_in_at timestamptz not null,
    last_sign_in_at timestamptz not null,
    unique (issuer, subject)
);
comment on table console_user is 'Users who signed in to the console by OpenID Connect. A row is written by the first sign-in of a user, and never deleted, because the access log names it.';
comment on column console_user.id is 'Id of the user, which the access log has.';
comment on column console_user.issuer is 'Issuer of the ID token.';
comment on column console_user.subject is 'Subject of the ID token: the user, for this issuer.';
comment on column console_user.name is 'Name of the user, as the provider stated it at the last sign-in. Personal data.';
comment on column console_user.login is 'Name by which the user signs in at the provider, or the address of e-mail. Personal data. Null: the provider stated none.';
comment on column console_user.first_sign_in_at is 'Instant of the first sign-in.';
comment on column console_user.last_sign_in_at is 'Instant of the last sign-in.';

create table console_grant (
    user_id uuid not null references console_user (id),
    tenant text not null,
    role text not null check (role in ('analyst', 'auditor', 'admin')),
    stated_at timestamptz not null,
    primary key (user_id, tenant)
);
create index console_grant_of_tenant on console_grant (tenant, user_id);
comment on table console_grant is 'What users of the console may do. The rows of a user are replaced by each sign-in, and deleted by one that finds no role.';
comment on column console_grant.user_id is 'The user.';
comment on column console_grant.tenant is 'Tenant whose pages the user may see.';
comment on column console_grant.role is 'Role of the user there: analyst, auditor or admin.';
comment on column console_grant.stated_at is 'Instant of the sign-in at which the provider stated it.';

create table console_sign_in (
    state_hash bytea primary key check (octet_length(state_hash) = 32),
    used_at timestamptz not null
);
create index console_sign_in_used on console_sign_in (used_at);
comment on table console_sign_in is 'States of sign-ins by OpenID Connect with which the provider has sent a browser back, so that each is used once. A row is deleted by a later sign-in when the state is too old anyway.';
comment on column console_sign_in.state_hash is 'SHA-256 of the state.';
comment on column console_sign_in.used_at is 'Instant at which the browser came back.';

alter table console_session
    alter column api_key drop not null,
    add column user_id uuid references console_user (id),
    add column sign_in_rules bytea check (octet_length(sign_in_rules) = 32),
    add constraint console_session_of_key_or_user check (
        (api_key is null) <> (user_id is null) and (user_id is null) = (sign_in_rules is null));
create index console_session_of_user on console_session (user_id, id) where user_id is not null;
alter table console_session drop constraint console_session_ended_by_check;
alter table console_session add constraint console_session_ended_by_check check (
    ended_by in ('sign_out', 'sign_out_everywhere', 'sign_in', 'admin')) not valid;
alter table console_session validate constraint console_session_ended_by_check;
comment on column console_session.tenant is 'Tenant of the API key; of a user the tenant whose pages the session shows now.';
comment on column console_session.api_key is 'The API key by which its browser signed in. Null: a user did, by OpenID Connect.';
comment on column console_session.user_id is 'The user who signed in. Null: an API key did.';
comment on column console_session.sign_in_rules is 'Digest of the settings of the sign-in by OpenID Connect under which it was opened; under other ones it is not valid. Null: an API key signed in.';
comment on column console_session.ended_by is 'What ended it: sign_out, sign_out_everywhere, sign_in (another one in the same browser) or admin.';

alter table access_log add column actor text not null default 'api_key' check (actor in ('api_key', 'user'));
comment on column access_log.actor is 'What the reader is: api_key, or user (of the console, by OpenID Connect).';
comment on column access_log.api_key is 'Id of the API key of the reader, or of the user of the console.';
comment on column access_log.key_name is 'Name of the API key, or of the user, at that time.';
comment on column access_log.role is 'Role of the API key or of the user. Empty: a user without a role was refused.';
comment on column access_log.what is 'What was read: call, person, original (of an event), export or quarantine. Or what was done with the console: sign_in (also a switch of the tenant), sign_in_refused (the key is revoked, its role has no pages, or the user has no role), sign_out (subject: the user or key whose sessions an admin ended).';

comment on column exception.closed_by_key is 'Id of the API key, or of the user of the console, that closed it. Null: open, or closed by itself.';
comment on column exception.assignee is 'Id of the API key, or of the user of the console, of the person who works on it. Null: nobody does.';
comment on column exception.assignee_name is 'Name of that API key or user when it was assigned.';
comment on column exception_history.actor_key is 'Id of the API key, or of the user of the console. Null: the service made the change.';
