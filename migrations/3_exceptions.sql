-- What somebody must look at, and what the deployment could not see. docs/architecture.md tells the
-- life of each table.

-- One matter that wants attention, from its opening on.
create table exception (
    tenant text not null,
    id uuid not null,
    kind text not null,
    severity text not null,
    call text,
    source text,
    -- What tells it from others of its kind, call and source: a session and a type, a reason, …
    subject text not null,
    -- When the matter began, ms since 1970, where one subject may have several.
    at bigint,
    -- What it rests on; the sentence is made of it.
    facts jsonb not null,
    sentence text not null,
    opened timestamptz not null,
    closed timestamptz,
    -- itself, or the name of the API key by which it was closed.
    closed_by text,
    closed_by_key uuid,
    reason text,
    -- It was closed by hand, and is called for no more.
    cured boolean not null default false,
    -- Lines of its story.
    lines integer not null default 1,
    primary key (tenant, id)
);
create index exception_call on exception (tenant, call) where call is not null;
create index exception_order on exception (tenant, opened desc, id desc);
create index exception_open on exception (kind) where closed is null;
-- What the lookout asks every other second.
create index exception_source on exception (tenant, id)
    where kind in ('REFUSED_CREDENTIALS', 'SILENT_SOURCE');
-- What is no call's has one exception per subject, for ever; and so has a clock in a call.
create unique index exception_standing on exception (tenant, kind, subject)
    where kind in ('CLOCK', 'QUARANTINE', 'REFUSED_CREDENTIALS', 'SILENT_SOURCE', 'STREAM_GAP');

create index alias_lead_ambiguous on alias_lead (tenant, anchor) where ambiguous;

-- What became of it, line by line.
create table exception_story (
    tenant text not null,
    exception uuid not null,
    line integer not null,
    what text not null check (what in ('opened', 'changed', 'closed', 'reopened')),
    at timestamptz not null,
    -- itself, or the name of an API key.
    actor text not null,
    actor_key uuid,
    reason text not null,
    facts jsonb not null,
    -- The version of the call's verdict, where there is one.
    version integer,
    primary key (tenant, exception, line)
);

-- When each node was well in each of its rooms. Extended every few seconds.
create table room_presence (
    node uuid not null,
    room text not null,
    since timestamptz not null,
    until timestamptz not null,
    primary key (node, room, since)
);
create index room_presence_until on room_presence (room, until);

-- From the first message in the spool to the drain of the last.
create table spool_use (
    since timestamptz primary key,
    -- Null: it goes on.
    until timestamptz,
    drained bigint not null
);

-- From when on messages may be missing; null: not known.
alter table stream_gap add column since timestamptz;

-- Deliveries that were refused for their credential, by source and reason: one row for each time
-- without a pause of an hour.
create table refusal (
    tenant text not null,
    source text not null,
    reason text not null,
    since timestamptz not null,
    until timestamptz not null,
    deliveries bigint not null,
    primary key (tenant, source, reason, since)
);
create index refusal_until on refusal (until);

grant select on exception, exception_story, refusal, room_presence, spool_use, stream_gap to onrecord_reader;

do $$
declare
    readable text;
begin
    foreach readable in array array['exception', 'exception_story', 'refusal'] loop
        execute format('alter table %I enable row level security', readable);
        execute format(
            'create policy one_tenant on %I for select to onrecord_reader using (tenant = current_setting(''onrecord.tenant'', true))',
            readable);
    end loop;
end $$;

-- What is nobody's but the deployment's: every reader may see it, and it names no tenant.
do $$
declare
    readable text;
begin
    foreach readable in array array['room_presence', 'spool_use', 'stream_gap'] loop
        execute format('alter table %I enable row level security', readable);
        execute format('create policy of_the_deployment on %I for select to onrecord_reader using (true)', readable);
    end loop;
end $$;
