-- Rows are ordered by numbers that outlive their cluster.
--
-- `xid` was the number of the transaction of the row. Another cluster begins to count again: after a dump
-- was restored there, its rows were ahead of all transactions, and so hidden from readers, and versions of
-- verdicts included what was appended later. Now `xid` is the number of the transaction and a base, which
-- is 0 until a dump is restored into another cluster, and then above all numbers that the dump has.

-- A function, not a row: PostgreSQL evaluates it once for a statement, so that the base costs nothing
-- while it is 0. It is part of a dump.
create function write_base() returns bigint
    language sql immutable parallel safe
    return 0::bigint;
comment on function write_base() is 'What is added to the number of a transaction. adopt_cluster() changes it.';

create function write_id() returns xid8
    language sql stable
    return case when write_base() = 0 then pg_current_xact_id()
        else (pg_current_xact_id()::text::bigint + write_base())::text::xid8 end;
comment on function write_id() is 'The number of the present transaction, for the column xid of its rows.';

create function shifted_snapshot(here pg_snapshot) returns pg_snapshot
    language sql stable
    return (
        (pg_snapshot_xmin(here)::text::bigint + write_base())::text || ':'
        || (pg_snapshot_xmax(here)::text::bigint + write_base())::text || ':'
        || coalesce(
            (select string_agg((xip::text::bigint + write_base())::text, ',' order by xip)
             from pg_snapshot_xip(here) as xip), '')
    )::pg_snapshot;
comment on function shifted_snapshot(pg_snapshot) is 'A snapshot of this cluster, with the base added to each number.';

create function write_snapshot() returns pg_snapshot
    language sql stable
    return case when write_base() = 0 then pg_current_snapshot()
        else shifted_snapshot(pg_current_snapshot()) end;
comment on function write_snapshot() is 'The present snapshot, in the numbers of the column xid.';

create function write_horizon() returns xid8
    language sql stable
    return case when write_base() = 0 then pg_snapshot_xmin(pg_current_snapshot())
        else (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + write_base())::text::xid8 end;
comment on function write_horizon() is 'Every transaction with a smaller number has ended: no more rows come before it.';

alter table entry alter column xid set default write_id();
alter table fact alter column xid set default write_id();
alter table notice_fact alter column xid set default write_id();
alter table verdict alter column xid set default write_id();
alter table quarantine alter column xid set default write_id();
comment on column entry.xid is 'Number of the transaction that appended the event (write_id). A reader continues after (xid, id) and misses nothing.';
comment on column fact.xid is 'Number of the transaction that appended the fact (write_id). A version of a verdict records the snapshot that it was made from, and so exactly the facts that it could see.';
comment on column verdict.xid is 'Number of the transaction that wrote the report (write_id).';
comment on column quarantine.xid is 'Number of the transaction that stored the row (write_id).';

create table write_cluster (
    one boolean primary key default true check (one),
    system_identifier bigint not null,
    adopted_at timestamptz not null default now()
);
comment on table write_cluster is 'The cluster of PostgreSQL whose transactions number the rows: one row. Another cluster is adopted by `onrecord migrate`.';
comment on column write_cluster.one is 'Always true, so that there is one row.';
comment on column write_cluster.system_identifier is 'Identifier that initdb gave the cluster; 0 where it may not be read.';
comment on column write_cluster.adopted_at is 'When the service first migrated the database in this cluster.';

create function system_identifier() returns bigint
    language plpgsql stable
as $$
begin
    return (select control.system_identifier from pg_control_system() as control);
exception
    when insufficient_privilege then return 0;
end $$;
comment on function system_identifier() is 'Identifier of this cluster; 0 where it may not be read.';

create function cluster_is_adopted() returns boolean
    language sql stable
begin atomic
    select exists (select from write_cluster where write_cluster.system_identifier = system_identifier());
end;
comment on function cluster_is_adopted() is 'Whether the numbers of this cluster follow those of all rows. Until then the ledger takes no partitions and no leases.';

create function adopt_cluster() returns boolean
    language plpgsql
as $$
declare
    last bigint;
begin
    lock table public.write_cluster in exclusive mode;
    if exists (select from public.write_cluster where write_cluster.system_identifier = public.system_identifier()) then
        return false;
    end if;
    select max(xid::text::bigint) into last from (
        select max(xid::text::bigint)::text as xid from public.entry
        union all select max(xid::text::bigint)::text from public.fact
        union all select max(xid::text::bigint)::text from public.notice_fact
        union all select max(xid::text::bigint)::text from public.verdict
        union all select max(xid::text::bigint)::text from public.quarantine
        union all select max(pg_snapshot_xmax(snapshot)::text::bigint)::text from public.verdict) as written;
    if last >= public.write_id()::text::bigint then
        execute format(
            'create or replace function public.write_base() returns bigint language sql immutable parallel safe return %s::bigint',
            last + 1);
    end if;
    -- Readers of the spool compare with transactions of this cluster.
    update public.spool set xid = default where xid >= pg_current_xact_id();
    insert into public.write_cluster (system_identifier) values (public.system_identifier())
        on conflict (one) do update set system_identifier = excluded.system_identifier, adopted_at = now();
    return true;
end $$;
comment on function adopt_cluster() is 'Lets the numbers of this cluster follow those that the tables have, if the database was restored here from another cluster. Returns whether it was.';

select adopt_cluster();
