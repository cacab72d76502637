-- Exceptions: matters that an operator or auditor has to examine.

create table exception (
    tenant text not null,
    id uuid not null,
    kind text not null,
    severity text not null,
    call text,
    source text,
    subject text not null,
    at_ms bigint,
    facts jsonb not null,
    sentence text not null,
    opened_at timestamptz not null,
    closed_at timestamptz,
    closed_by text,
    closed_by_key uuid,
    reason text,
    cause_ended boolean not null default false,
    history_length integer not null default 1,
    primary key (tenant, id)
);
create index exception_call on exception (tenant, call) where call is not null;
create index exception_order on exception (tenant, opened_at desc, id desc);
create index exception_open on exception (kind) where closed_at is null;
-- For the monitor of sources, which queries every two seconds.
create index exception_source on exception (tenant, id)
    where kind in ('REJECTED_CREDENTIALS', 'SILENT_SOURCE');
-- A matter that belongs to no call has one exception per subject, permanently; so has a clock in a
-- call.
create unique index exception_subject on exception (tenant, kind, subject)
    where kind in ('CLOCK', 'QUARANTINE', 'REJECTED_CREDENTIALS', 'SILENT_SOURCE', 'STREAM_GAP');
comment on table exception is 'A matter that an operator or auditor has to examine, from its opening on.';
comment on column exception.tenant is 'Tenant that the matter concerns.';
comment on column exception.id is 'Id of the exception, a UUID version 7.';
comment on column exception.kind is 'Kind of the exception, such as NOT_SENT or CLOCK.';
comment on column exception.severity is 'critical, major or minor, by kind.';
comment on column exception.call is 'Id of the call. Null: the matter belongs to no call.';
comment on column exception.source is 'Configured name of the source. Null: the matter belongs to no source.';
comment on column exception.subject is 'Distinguishes the matter from others of its kind, call and source: a session and a type, a reason, a partition.';
comment on column exception.at_ms is 'Instant at which the matter began, in milliseconds since 1970-01-01 UTC. Null: of its subject there is one exception only.';
comment on column exception.facts is 'The facts that the exception rests on.';
comment on column exception.sentence is 'The facts as a sentence.';
comment on column exception.opened_at is 'Instant of the first opening, by the clock of the node that opened it.';
comment on column exception.closed_at is 'Instant of closing. Null: open.';
comment on column exception.closed_by is 'itself (the cause ended), or the name of the API key that closed it. Null: open.';
comment on column exception.closed_by_key is 'Id of the API key that closed it. Null: open, or closed by itself.';
comment on column exception.reason is 'Reason of closing. Null: open.';
comment on column exception.cause_ended is 'True: the exception is closed and its cause has ended, so that a new cause opens it again. False: open, or closed by hand while the cause goes on.';
comment on column exception.history_length is 'Number of rows in exception_history.';

create table exception_history (
    tenant text not null,
    exception_id uuid not null,
    position integer not null,
    change text not null check (change in ('opened', 'changed', 'closed', 'reopened')),
    at timestamptz not null,
    actor text not null,
    actor_key uuid,
    reason text not null,
    facts jsonb not null,
    version integer,
    primary key (tenant, exception_id, position)
);
comment on table exception_history is 'What happened to each exception, step by step. Rows are never changed.';
comment on column exception_history.tenant is 'Tenant of the exception.';
comment on column exception_history.exception_id is 'Id of the exception.';
comment on column exception_history.position is 'Number of the step, from 1.';
comment on column exception_history.change is 'opened, changed, closed or reopened.';
comment on column exception_history.at is 'Instant of the change, by the clock of the node that made it.';
comment on column exception_history.actor is 'itself, or the name of the API key that made the change.';
comment on column exception_history.actor_key is 'Id of the API key. Null: the service made the change.';
comment on column exception_history.reason is 'Reason of the change.';
comment on column exception_history.facts is 'The facts that the change rests on.';
comment on column exception_history.version is 'Version of the verdict of the call. Null: the change rests on no verdict.';
