-- Exports: the jobs, their files, and the content of files that PostgreSQL keeps.
--
-- A file consists of chunks of one size, so that a part of it is read without the rest, a chunk at a time. Large
-- objects would do the same, but have neither a tenant nor row-level security, and a dump of the tables leaves
-- them out.

create table export (
    tenant text not null,
    id uuid not null,
    request jsonb not null,
    requested_at timestamptz not null default now(),
    requested_by uuid not null,
    requested_by_name text not null,
    estimated_rows bigint not null,
    state text not null default 'queued' check (state in ('queued', 'running', 'done', 'failed', 'deleted')),
    due_at timestamptz not null default now(),
    attempts integer not null default 0,
    owner text,
    lease_until timestamptz,
    started_at timestamptz,
    rows bigint not null default 0,
    kept_in text check (kept_in in ('postgres', 'directory', 'bucket')),
    complete_through timestamptz,
    finished_at timestamptz,
    expires_at timestamptz,
    reason text,
    primary key (tenant, id),
    check (state <> 'running' or num_nulls(owner, lease_until, started_at, kept_in) = 0),
    check (state = 'running' or num_nonnulls(owner, lease_until) = 0),
    check (state not in ('done', 'failed') or num_nulls(finished_at, expires_at) = 0),
    check (state <> 'done' or kept_in is not null),
    check (state <> 'failed' or reason is not null),
    check (state <> 'deleted' or expires_at is not null)
);
create index export_unfinished on export (due_at) where state in ('queued', 'running');
create index export_expires_at on export (expires_at) where expires_at is not null;
create index export_order on export (tenant, requested_at desc, id desc);
comment on table export is 'Exports that were requested, with the state of each. A row is deleted after its files, exports.retention after its end.';
comment on column export.tenant is 'Tenant whose rows are exported.';
comment on column export.id is 'Id of the export, a UUID version 7.';
comment on column export.request is 'What was requested: views, period, filter, format.';
comment on column export.requested_at is 'Instant of the request.';
comment on column export.requested_by is 'API key that requested it.';
comment on column export.requested_by_name is 'Name of that API key.';
comment on column export.estimated_rows is 'Number of rows that the planner of the database estimated at the request.';
comment on column export.state is 'queued, running, done, failed, or deleted: its files are being deleted, and no reader sees it.';
comment on column export.due_at is 'A node begins a queued export from this instant on.';
comment on column export.attempts is 'Number of attempts that were begun. The files of another attempt than the last are deleted.';
comment on column export.owner is 'Node that runs it. Null: none does.';
comment on column export.lease_until is 'End of the lease of the owner. Later another node begins it again.';
comment on column export.started_at is 'Beginning of the last attempt. Null: none was begun.';
comment on column export.rows is 'Rows that are written, in the last attempt.';
comment on column export.kept_in is 'Where its files are: postgres, directory or bucket. Null: it has none.';
comment on column export.complete_through is 'Low watermark of its snapshot: every event that was received before it is in the export. Null: not done, or not known.';
comment on column export.finished_at is 'Instant at which it was done or failed. Null: neither.';
comment on column export.expires_at is 'From this instant on its files are deleted, and then the row. Null: not finished.';
comment on column export.reason is 'Why it failed. Null: it did not.';

create table export_file (
    tenant text not null,
    export uuid not null,
    position integer not null,
    name text not null,
    view text,
    rows bigint not null,
    bytes bigint not null,
    sha256 bytea not null check (octet_length(sha256) = 32),
    attempt integer not null,
    primary key (tenant, export, name),
    foreign key (tenant, export) references export (tenant, id) on delete cascade
);
comment on table export_file is 'Files of exports that are done; the manifest is one of them.';
comment on column export_file.tenant is 'Tenant of the export.';
comment on column export_file.export is 'Id of the export.';
comment on column export_file.position is 'Number of the file within the export, from 1.';
comment on column export_file.name is 'Name of the file.';
comment on column export_file.view is 'View of the schema reading whose rows it has. Null: the manifest.';
comment on column export_file.rows is 'Number of rows in it.';
comment on column export_file.bytes is 'Its size in bytes.';
comment on column export_file.sha256 is 'SHA-256 of its bytes.';
comment on column export_file.attempt is 'Attempt that wrote it.';

create table export_chunk (
    tenant text not null,
    export uuid not null,
    attempt integer not null,
    file text not null,
    number integer not null,
    bytes bytea not null,
    primary key (tenant, export, attempt, file, number),
    foreign key (tenant, export) references export (tenant, id) on delete cascade
);
-- Compressing a second time costs more than it saves.
alter table export_chunk alter column bytes set storage external;
comment on table export_chunk is 'Content of files of exports that PostgreSQL keeps, in chunks of 1 MiB; the last one of a file is smaller. Chunks without a row in export_file belong to an attempt in progress, or are being deleted.';
comment on column export_chunk.tenant is 'Tenant of the export.';
comment on column export_chunk.export is 'Id of the export.';
comment on column export_chunk.attempt is 'Attempt that wrote it.';
comment on column export_chunk.file is 'Name of the file.';
comment on column export_chunk.number is 'Number of the chunk within the file, from 0.';
comment on column export_chunk.bytes is 'The bytes.';

-- The list of readable tables, and these.
do $$
declare
    listed text := (
        select string_agg(format('(%L, %L::boolean)', readable.name, readable.of_tenant), ', ')
        from (
            select name, of_tenant from readable_tables()
            union all values ('export', true), ('export_file', true), ('export_chunk', true)) as readable (name, of_tenant));
begin
    execute format(
        'create or replace function readable_tables() returns table (name text, of_tenant boolean) language sql immutable
         begin atomic select * from (values %s) as readable (name, of_tenant); end', listed);
end $$;

select admit_readers();
