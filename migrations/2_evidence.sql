-- What the rules of evidence make of each call. docs/architecture.md tells the life of each table.

-- The judged account of a call, in versions. The latest one is what its facts come to at as_of;
-- while the call goes on it is kept up to date in place, and every other verdict is a new version.
create table verdict (
    tenant text not null,
    call text not null,
    version integer not null,
    -- The version of the rules.
    rules text not null,
    verdict text not null,
    -- When this version was begun, and the instant that its report is of.
    made timestamptz not null,
    as_of timestamptz not null,
    -- Section 9 of the rules.
    report jsonb not null,
    -- A digest of what makes another report another version.
    judgement bytea not null,
    -- The facts that it is made of: those at these anchors that were visible, or its own transaction's.
    anchors text[] not null,
    snapshot pg_snapshot not null,
    xid xid8 not null default pg_current_xact_id(),
    -- facts: facts came, or became others; time: only time passed.
    reason text not null check (reason in ('first', 'facts', 'time')),
    -- The facts by which it differs from the version before: {"added": [...], "removed": [...]}.
    changed_by jsonb not null,
    primary key (tenant, call, version)
);

do $$
begin
    alter table verdict alter column report set compression lz4;
exception
    when feature_not_supported then null;
end $$;

-- The obligations of the latest version, for questions in SQL: one session by one stretch.
create table obligation (
    tenant text not null,
    call text not null,
    session text not null,
    type text not null,
    due timestamptz not null,
    ended timestamptz,
    dispatched timestamptz,
    delivered timestamptz,
    told timestamptz,
    acknowledged timestamptz,
    already_shown boolean not null,
    exposure_ms bigint,
    exposure_min_ms bigint,
    shown_ms bigint,
    too_late integer not null,
    status text not null,
    consent text not null,
    primary key (tenant, call, type, due, session)
);
create index obligation_status on obligation (status, tenant, due desc);

grant select on verdict, obligation, fact to onrecord_reader;

do $$
declare
    readable text;
begin
    foreach readable in array array['verdict', 'obligation', 'fact'] loop
        execute format('alter table %I enable row level security', readable);
        execute format(
            'create policy one_tenant on %I for select to onrecord_reader using (tenant = current_setting(''onrecord.tenant'', true))',
            readable);
    end loop;
end $$;
