-- What calls are listed by: each value that a filter may name, in the order in which lists show calls.
--
-- # Why
--
-- A filter on a column of `call` reads all calls of the tenant where its value is rare, and an index for
-- each column is written with each evaluation of a call. A row of `call_term` is written only when the value
-- of the call changes, and a list of the calls with a value is one range of one index, whatever the planner
-- estimates.

alter table call
    add column kind text check (kind in ('room', 'meeting', 'two_party', 'group')),
    add column apps text[] not null default '{}',
    add column terms_digest bigint,
    add column xid xid8 not null default write_id();
-- The tenant is not first here: for look-ups by the primary key, of a table that was never analyzed, the
-- planner takes another index that begins with the tenant for equally good.
create index call_changes on call (xid, tenant, call);
drop index call_started_at;
create index call_started_at on call (started_at desc, tenant);
comment on column call.kind is 'Kind of the call: room, meeting, two_party or group, the first that an event states. Null: no event states it.';
comment on column call.apps is 'Client applications that reports of the call name.';
comment on column call.terms_digest is 'Digest of what the evaluation says of the terms of the call: only another one lets the evaluation refresh them. Null: not evaluated since call_term exists.';
comment on column call.xid is 'Number of the transaction that last evaluated the call, or changed what lists show of it (write_id). A reader continues after (xid, call) and misses no change.';

create table call_term (
    tenant text not null,
    term text not null,
    started_at timestamptz not null,
    call text not null,
    primary key (tenant, term, started_at, call)
);
create index call_term_call on call_term (tenant, call);
-- The estimated number of calls with a value rests on these.
alter table call_term alter column term set statistics 1000;
comment on table call_term is 'The values that filters of lists of calls name: one row for each value of each call, in the order of the start.';
comment on column call_term.tenant is 'Tenant of the call.';
comment on column call_term.term is 'Name and value of the filter: state=open, verdict=PENDING, participant= and a raw id, name= and a display name in small letters.';
comment on column call_term.started_at is 'Start of the call, as in call.';
comment on column call_term.call is 'Id of the call.';

create table name_part (
    tenant text not null,
    part text collate "C" not null,
    name text not null,
    primary key (tenant, part, name)
);
comment on table name_part is 'The display names of participants by each of their parts, so that a part of a name is found by an index.';
comment on column name_part.tenant is 'Tenant of the calls of the participant.';
comment on column name_part.part is 'At most 12 characters of the name, from one of its first 64 characters on.';
comment on column name_part.name is 'The display name in small letters.';

create function refresh_call_terms(of_tenant text, of_calls text[]) returns void
    language plpgsql set enable_seqscan = off
as $$
begin
    -- Another transaction that changes what the terms rest on waits here, and then sees what this one wrote.
    perform from unnest(of_calls) as asked (call)
        cross join lateral (
            select from call where call.tenant = of_tenant and call.call = asked.call for update offset 0) as locked;
    with wanted as materialized (
        select found.call, term.term, found.started_at
        from unnest(of_calls) as asked (call)
        cross join lateral (
            select call.call, call.started_at, call.ended_at, call.kind, call.apps, call.group_id from call
            where call.tenant = of_tenant and call.call = asked.call offset 0) as found
        cross join lateral (
            select unnest(array['call=' || found.call,
                case when found.ended_at is null then 'state=open' else 'state=ended' end,
                'kind=' || coalesce(found.kind, 'unknown'),
                'group=' || found.group_id,
                -- The number of binary digits of the length in ms, and the second of them: two terms for each power of 2.
                'length=' || lpad(length(measured.digits)::text, 2, '0') || substr(measured.digits || '0', 2, 1)]) as term
                from (select ltrim(greatest((extract(epoch from found.ended_at - found.started_at) * 1000)::bigint, case when found.ended_at is not null then 1 end)::bit(64)::text, '0') as digits) as measured
            union all select distinct unnest(array['app=' || named.app, 'app=' || split_part(named.app, '/', 1)])
                from unnest(found.apps) as named (app)
            union all select distinct unnest(array['participant=' || session.raw_id, 'name=' || lower(session.display_name)]) from session
                where session.tenant = of_tenant and session.call = found.call
            union all select 'type=' || coalesce(captured.type, 'none')
                from (select distinct capture.type from capture where capture.tenant = of_tenant and capture.call = found.call) as captured
                right join (values (true)) as one (row) on true
            union all select unnest(array['verdict=' || latest.verdict, 'consent=' || case
                    when worst.declined then 'DECLINED' when worst.required then 'OUTSTANDING' when worst.given then 'GIVEN' else 'NOT_REQUIRED' end])
                from (
                    select verdict.verdict from verdict where verdict.tenant = of_tenant and verdict.call = found.call
                    order by verdict.version desc limit 1) as latest
                cross join lateral (
                    select bool_or(obligation.consent = 'DECLINED') as declined, bool_or(obligation.consent = 'REQUIRED') as required,
                        bool_or(obligation.consent = 'GIVEN') as given
                    from obligation
                    where obligation.tenant = of_tenant and obligation.call = found.call and obligation.status <> 'NOT_OURS') as worst
            union all select case when bool_or(exception.closed_at is null) then 'exceptions=open' when count(*) = 0 then 'exceptions=none' else 'exceptions=closed' end
                from exception where exception.tenant = of_tenant and exception.call = found.call) as term
        where term.term is not null),
    stored as materialized (
        select had.call, had.term, had.started_at, had.place
        from unnest(of_calls) as asked (call)
        cross join lateral (
            select call_term.ctid as place, call_term.call, call_term.term, call_term.started_at from call_term
            where call_term.tenant = of_tenant and call_term.call = asked.call offset 0) as had),
    removed as (
        delete from call_term where ctid = any (array(
            select stored.place from stored
            where not exists (
                select from wanted where wanted.call = stored.call and wanted.term = stored.term and wanted.started_at = stored.started_at)))),
    added as materialized (
        select wanted.call, wanted.term, wanted.started_at from wanted
        where not exists (
            select from stored where stored.call = wanted.call and stored.term = wanted.term and stored.started_at = wanted.started_at)),
    named as (
        insert into name_part (tenant, part, name)
        select distinct of_tenant, substr(new.name, start, 12), new.name
        from (select distinct substr(added.term, 6) as name from added where added.term like 'name=%') as new
        left join lateral (
            select true as is_there from name_part
            where name_part.tenant = of_tenant and name_part.part = left(new.name, 12) collate "C" and name_part.name = new.name offset 0) as known on true
        cross join generate_series(1, least(length(new.name), 64)) as start
        where known.is_there is null
        order by 2, 3
        on conflict do nothing)
    insert into call_term (tenant, term, started_at, call)
    select of_tenant, added.term, added.started_at, added.call from added;
end $$;
comment on function refresh_call_terms is 'Makes the rows of call_term of these calls what their other rows say; of a call that is gone it removes them. The last statement of each transaction that changes a call or its exceptions.';

create function estimated_calls(of_tenant text, of_terms text[], from_at timestamptz, to_at timestamptz) returns bigint
    language plpgsql
as $$
declare
    plan json;
begin
    execute format(
        'explain (format json) select from public.call_term where tenant = %L and term = any (%L) and started_at >= %L and started_at < %L',
        of_tenant, of_terms, from_at, to_at) into plan;
    return (plan #>> '{0,Plan,Plan Rows}')::numeric::bigint;
end $$;
comment on function estimated_calls is 'The number of rows of call_term with one of these terms, as the planner estimates it from its statistics.';

-- The calls that exist: their kinds and applications as their events state them, and their terms.
update call set kind = stated.kind, apps = stated.apps
from (
    select alias.tenant, alias.resolves_to as call,
        case
            when bool_or((entry.event ->> 'is_rooms_call')::boolean) then 'room'
            when bool_or(entry.event ->> 'thread_id' like '19:meeting\_%') then 'meeting'
            when bool_or((entry.event ->> 'is_two_party')::boolean) then 'two_party'
            when bool_or(not (entry.event ->> 'is_two_party')::boolean) then 'group' end as kind,
        coalesce(array_agg(distinct entry.event ->> 'app') filter (where entry.event ->> 'app' is not null), '{}') as apps
    from call_alias as alias
    join entry on entry.tenant = alias.tenant and entry.anchor = alias.anchor
    where entry.type in ('call.started', 'report')
    group by 1, 2) as stated
where call.tenant = stated.tenant and call.call = stated.call;
update call set kind = 'group' where kind is null and group_id is not null;
select refresh_call_terms(tenant, array_agg(call)) from call group by tenant, left(md5(call), 2);

create or replace function readable_tables() returns table (name text, of_tenant boolean)
    language sql immutable
begin atomic
    select * from (values
        ('entry', true), ('fact', true), ('alias_link', true), ('call_alias', true), ('call', true),
        ('session', true), ('capture', true), ('notice_fact', true), ('notice_text', true), ('verdict', true),
        ('obligation', true), ('quarantine', true), ('exception', true), ('exception_history', true),
        ('rejection', true), ('pending_merge', true), ('postponed_call', true), ('call_term', true), ('name_part', true),
        ('role_heartbeat', false), ('spool_use', false), ('stream_gap', false)) as readable (name, of_tenant);
end;
select admit_readers();

create or replace function adopt_cluster() returns boolean
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
        union all select max(xid::text::bigint)::text from public.call
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
