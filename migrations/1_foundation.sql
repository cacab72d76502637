-- The audit store. docs/architecture.md tells the life of each table.
--
-- The role that runs this owns the tables. Readers are answered under the role onrecord_reader,
-- whose rows are limited to one tenant by row-level security (a backstop: every query names its
-- tenant as well).

-- Where the ledger is in each partition of each topic. Moves in the transaction that writes the
-- rows, fenced by the epoch against a second owner.
create table stream_position (
    topic text not null,
    partition integer not null,
    next_offset bigint not null default 0,
    -- Digest of the last message entered; a recreated topic is known by it.
    last_digest bytea,
    epoch bigint not null default 0,
    owner text,
    lease_until timestamptz not null default '-infinity',
    -- All that the log received before this instant has been entered.
    complete_through timestamptz not null default '-infinity',
    primary key (topic, partition)
);

-- Who follows a topic for the ledger, on whatever node; each has its fair share of the partitions.
create table ledger_follower (
    topic text not null,
    owner text not null,
    until timestamptz not null,
    primary key (topic, owner)
);

-- Stretches of a log that were gone or had to be read anew.
create table stream_gap (
    id bigint generated always as identity primary key,
    topic text not null,
    partition integer not null,
    wanted bigint not null,
    resumed bigint not null,
    reason text not null,
    noticed timestamptz not null
);

-- A named piece of work that one node at a time does.
create table lease (
    name text primary key,
    owner text not null,
    until timestamptz not null
);

-- Which events were entered: the key, and the digest of the canonical content. The same key with
-- another content is a conflict.
create table seen (
    key bytea not null,
    content bytea not null,
    day date not null,
    primary key (key, content)
);
create index seen_day on seen (day);

-- Messages that Kafka did not confirm in time; drained to Kafka when it returns.
create table spool (
    id bigint generated always as identity primary key,
    tenant text not null,
    -- JSON of the message: topic, key, headers, value. Bytes, because text cannot hold NUL.
    message bytea not null,
    stored timestamptz not null,
    xid xid8 not null default pg_current_xact_id()
);
create index spool_xid on spool (xid);
create index spool_stored on spool (stored);

-- By which key or token each source was last believed: whether an old key may go.
create table source_use (
    tenant text not null,
    source text not null,
    -- The first 12 digits of a key's hash, or jwt: and the id of a signing key.
    credential text not null,
    -- Up to a minute late: not every batch writes it.
    last_used timestamptz not null,
    primary key (tenant, source, credential)
);

-- The audit book: every event that reached us, once, in the order of entry (xid, id).
create table entry (
    id uuid not null,
    tenant text not null,
    received timestamptz not null,
    -- Where the event belongs by its own ids; which call that is now, alias_lead tells.
    anchor text,
    type text not null,
    source_type text not null,
    -- eg, ca, client
    provenance text not null,
    source text not null,
    ce_source text not null,
    ce_id text not null,
    -- The source's own time, verbatim: Azure sends 100 ns digits.
    ce_time text,
    -- The instant for the rules, ms since 1970.
    t bigint not null,
    key bytea not null,
    sha256 bytea not null,
    -- As received, less what is listed in event.redacted.
    original bytea not null,
    event jsonb not null,
    -- conflict: another content came under the same key; clock: the source's clock is off by more than 5 minutes.
    flags text[] not null default '{}',
    xid xid8 not null default pg_current_xact_id(),
    primary key (received, id)
) partition by range (received);
create index entry_id on entry (tenant, id);
create index entry_order on entry (tenant, xid, id);
create index entry_anchor on entry (tenant, anchor, t);
create table entry_default partition of entry default;
-- Faster than the usual compression, where the server has it.
do $$
begin
    alter table entry alter column original set compression lz4;
    alter table entry alter column event set compression lz4;
exception
    when feature_not_supported then null;
end $$;

-- What the rules of evidence read, per anchor; one row per event that bears facts.
create table fact (
    tenant text not null,
    anchor text not null,
    key bytea not null,
    content bytea not null,
    kind text not null,
    t bigint not null,
    -- JSON, as text: it is read whole with every fold of its call, and entry.event is for questions.
    event text not null,
    -- The transaction that entered it: a verdict tells which it saw.
    xid xid8 not null default pg_current_xact_id(),
    -- What t was before an earlier copy came: [[transaction of that copy, t], ...]
    past jsonb not null default '[]',
    primary key (tenant, anchor, key, content)
);

-- How far notices got, and what participants answered: dispatched, delivered, displayed, hidden,
-- acknowledged, consents. What the rules of evidence read besides.
create table notice_fact (
    -- Its line in a timeline; a UUID v7, in the order of entry.
    line uuid not null,
    tenant text not null,
    -- Where it belongs by itself: at an attachment, or at a call as it was called then.
    anchor text not null,
    id bytea not null,
    -- Digest of what is stated; the same id with another one is a conflict.
    content bytea not null,
    -- Our clock, ms since 1970; of several copies the earliest.
    t bigint not null,
    kind text not null,
    fact jsonb not null,
    flags text[] not null default '{}',
    entered timestamptz not null,
    -- As in fact.
    xid xid8 not null default pg_current_xact_id(),
    past jsonb not null default '[]',
    primary key (tenant, id, content)
);
create index notice_fact_anchor on notice_fact (tenant, anchor, t, line);

-- The words that clients show, by version and locale; they never change.
create table notice_text (
    tenant text not null,
    version text not null,
    locale text not null,
    text text not null,
    -- Of the words in UTF-8, computed by us.
    sha256 bytea not null,
    registered timestamptz not null,
    primary key (tenant, version, locale)
);
create index notice_text_order on notice_text (tenant, registered desc, version desc);

-- Ids that were seen together in one event.
create table alias_link (
    tenant text not null,
    lower_id text not null,
    upper_id text not null,
    primary key (tenant, lower_id, upper_id)
);
-- Not by tenant first, where the primary key serves the look-ups of every batch: of a table that was
-- never analyzed Postgres believes that another index which begins with the tenant is as good.
create index alias_link_upper on alias_link (upper_id, tenant);

-- The call that an anchor is part of now: a function of alias_link, kept for look-ups.
create table alias_lead (
    tenant text not null,
    anchor text not null,
    call text not null,
    ambiguous boolean not null default false,
    primary key (tenant, anchor)
);
create index alias_lead_call on alias_lead (tenant, call);

-- The fold of each call's facts.
create table call (
    tenant text not null,
    call text not null,
    started timestamptz not null,
    ended timestamptz,
    end_presumed boolean not null,
    recording text not null,
    recording_stale boolean not null,
    transcription text not null,
    transcription_stale boolean not null,
    group_id text,
    flags text[] not null,
    facts integer not null,
    -- The last instant of which anything was said; null: nothing of it is a fact, so it has no end
    -- to presume.
    last_sign timestamptz,
    -- When only time changes the fold; null: never.
    refold_at timestamptz,
    -- A fold that failed is not tried again before; the next one that succeeds takes it away.
    put_off_until timestamptz,
    folded timestamptz not null,
    primary key (tenant, call)
);
create index call_started on call (tenant, started desc, call desc);
create index call_open on call (last_sign) where ended is null;
create index call_refold on call (refold_at) where refold_at is not null;

create table session (
    tenant text not null,
    call text not null,
    session text not null,
    identity text not null,
    ours boolean not null,
    raw_id text,
    display_name text,
    kind text,
    participant_id text,
    -- The clients of the session: [{attachment, raw_id, trust}].
    attachments jsonb not null,
    user_agent text,
    joined timestamptz not null,
    left_at timestamptz,
    join_inferred boolean not null,
    left_inferred boolean not null,
    primary key (tenant, call, session)
);
create index session_raw_id on session (raw_id, tenant);

create table stretch (
    tenant text not null,
    call text not null,
    type text not null,
    started timestamptz not null,
    ended timestamptz,
    start_source text not null,
    sources text[] not null,
    recordings text[] not null,
    kinds text[] not null,
    primary key (tenant, call, type, started)
);

-- What could not be understood, whole, with the reason.
create table quarantine (
    id uuid primary key,
    tenant text not null,
    key bytea not null unique,
    source text not null,
    reason text not null,
    detail text not null,
    pointer text,
    -- Bytes, because the text may be what Postgres refuses; null if it was no UTF-8.
    content bytea,
    content_type text,
    size bigint not null,
    sha256 bytea not null,
    redacted text[] not null,
    received timestamptz not null,
    xid xid8 not null default pg_current_xact_id()
);
create index quarantine_order on quarantine (tenant, received desc, id desc);

-- Callers of /v1. The key itself is nowhere, only its SHA-256.
create table api_key (
    id uuid primary key,
    tenant text not null,
    role text not null check (role in ('app', 'analyst', 'auditor', 'admin')),
    name text not null,
    hash bytea not null unique,
    created timestamptz not null,
    revoked timestamptz
);

-- Readers.
do $$
begin
    if not exists (select from pg_roles where rolname = 'onrecord_reader') then
        create role onrecord_reader nologin;
    end if;
exception
    -- Another database of the same cluster was migrated at the same moment.
    when duplicate_object or unique_violation then null;
end $$;
do $$
begin
    -- It may have been granted by somebody who may grant, without the right to pass it on.
    if not pg_has_role(current_user, 'onrecord_reader', 'member') then
        execute format('grant onrecord_reader to %I', current_user);
    end if;
exception
    -- The same, at the same moment ("tuple concurrently updated").
    when duplicate_object or unique_violation or internal_error then null;
end $$;

-- All that reached us before this instant is in the tables: no partition of the log is behind it,
-- nothing older waits in the spool, and what is in work at a door has had 30 seconds. Readers may
-- not see the positions and the spool themselves.
create function complete_through() returns timestamptz
    language sql stable security definer set search_path = public, pg_temp
as $$
    select case when count(*) = 0 then null else least(
        min(complete_through),
        (select min(stored) from spool),
        now() - interval '30 seconds') end
    from stream_position
$$;

grant usage on schema public to onrecord_reader;
grant select on entry, notice_fact, notice_text, alias_link, alias_lead, call, session, stretch, quarantine to onrecord_reader;

do $$
declare
    readable text;
begin
    foreach readable in array array['entry', 'notice_fact', 'notice_text', 'alias_link', 'alias_lead', 'call', 'session', 'stretch', 'quarantine'] loop
        execute format('alter table %I enable row level security', readable);
        execute format(
            'create policy one_tenant on %I for select to onrecord_reader using (tenant = current_setting(''onrecord.tenant'', true))',
            readable);
    end loop;
end $$;
