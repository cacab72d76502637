-- The results of the rules of evidence.

create table verdict (
    tenant text not null,
    call text not null,
    version integer not null,
    rules text not null,
    verdict text not null,
    made_at timestamptz not null,
    as_of timestamptz not null,
    report jsonb not null,
    fingerprint bytea not null,
    anchors text[] not null,
    snapshot pg_snapshot not null,
    xid xid8 not null default pg_current_xact_id(),
    reason text not null check (reason in ('first', 'facts', 'time')),
    changed_by jsonb not null,
    primary key (tenant, call, version)
);
-- lz4 is faster than the default compression; a server may be built without it.
do $$
begin
    alter table verdict alter column report set compression lz4;
exception
    when feature_not_supported then null;
end $$;
comment on table verdict is 'The report of the rules of evidence on each call, in versions. The latest version is the result at as_of; while a call goes on it is updated in place, and every other result is a new version.';
comment on column verdict.tenant is 'Tenant of the call.';
comment on column verdict.call is 'Id of the call when the version was made; calls may be merged later.';
comment on column verdict.version is 'Number of the version, from 1.';
comment on column verdict.rules is 'Version of the rules of evidence.';
comment on column verdict.verdict is 'Verdict on the call: EXCEPTIONS, PENDING, UNOBSERVED or COMPLIANT.';
comment on column verdict.made_at is 'Instant at which this version was first made, by the clock of the node that made it.';
comment on column verdict.as_of is 'Instant for which the report holds.';
comment on column verdict.report is 'The report, as the rules of evidence define it.';
comment on column verdict.fingerprint is 'Digest of those parts of the report whose change makes a new version.';
comment on column verdict.anchors is 'Anchors of the call whose facts the report is made from.';
comment on column verdict.snapshot is 'Snapshot in which the facts were read: the report is made from the facts visible in it, and those of its own transaction.';
comment on column verdict.xid is 'Transaction that wrote the report.';
comment on column verdict.reason is 'Cause of this version: first (the call had none), facts (facts were added or changed) or time (only time passed).';
comment on column verdict.changed_by is 'Facts by which this version differs from the one before: {"added": [...], "removed": [...]}.';

create table obligation (
    tenant text not null,
    call text not null,
    session text not null,
    type text not null,
    due_at timestamptz not null,
    ends_at timestamptz,
    dispatched_at timestamptz,
    delivered_at timestamptz,
    shown_at timestamptz,
    acknowledged_at timestamptz,
    already_shown boolean not null,
    exposure_ms bigint,
    exposure_min_ms bigint,
    shown_ms bigint,
    late_facts integer not null,
    status text not null,
    consent text not null,
    primary key (tenant, call, type, due_at, session)
);
create index obligation_status on obligation (status, tenant, due_at desc);
comment on table obligation is 'The obligations of the latest version of each verdict, for queries in SQL. One row for each session and capture.';
comment on column obligation.tenant is 'Tenant of the call.';
comment on column obligation.call is 'Id of the call.';
comment on column obligation.session is 'Id of the session that had to be notified.';
comment on column obligation.type is 'recording or transcription.';
comment on column obligation.due_at is 'Instant at which the capture began for this session: from then on the notice is due.';
comment on column obligation.ends_at is 'Instant at which the capture ended or the session left. Null: the obligation goes on.';
comment on column obligation.dispatched_at is 'Instant at which the first notice was sent. Null: none was.';
comment on column obligation.delivered_at is 'Instant at which the first notice reached a client. Null: no client confirmed one.';
comment on column obligation.shown_at is 'Instant from which the participant was shown the notice. Null: not known to be shown.';
comment on column obligation.acknowledged_at is 'Instant at which the participant acknowledged the notice. Null: not acknowledged.';
comment on column obligation.already_shown is 'True: the notice was on the screen already when the obligation began.';
comment on column obligation.exposure_ms is 'Milliseconds between the start of the obligation and the showing, at most. Null: the rules give none.';
comment on column obligation.exposure_min_ms is 'Milliseconds between the start of the obligation and the showing, at least. Null: the rules give none.';
comment on column obligation.shown_ms is 'Milliseconds for which the notice was on the screen. Null: the rules give none.';
comment on column obligation.late_facts is 'Number of facts that name the notice and came after the obligation ended.';
comment on column obligation.status is 'Status by the rules of evidence: MET, LATE, BRIEF, UNCONFIRMED, UNDELIVERED, NOT_SENT, PENDING or NOT_OURS.';
comment on column obligation.consent is 'State of consent by the rules of evidence.';
