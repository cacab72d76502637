-- What the terms of a call have to be, made of its other rows: the projection of the ledger makes them of the facts.
-- Tests install it, to compare the two, and where they write rows of calls themselves.

create function terms_of_rows(of_tenant text, of_calls text[]) returns void
    language plpgsql set enable_seqscan = off
as $$
begin
    -- Another transaction that changes what the terms rest on waits here, and then sees what this one wrote.
    -- A row that this transaction wrote is locked already.
    perform from unnest(of_calls) as asked (call)
        cross join lateral (
            select from call where call.tenant = of_tenant and call.call = asked.call and call.xmin <> pg_current_xact_id()::xid
            for update offset 0) as locked;
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
        on conflict do nothing),
    -- The number of calls with a term, and their lengths, are other ones in these hours.
    marked as (
        insert into rollup_change (tenant, subject, hour)
        select of_tenant, counted.subject, touched.hour
        from (
            select date_trunc('hour', stored.started_at, 'UTC') as hour from stored
            union select date_trunc('hour', wanted.started_at, 'UTC') from wanted) as touched
        cross join (values ('calls'), ('terms')) as counted (subject))
    insert into call_term (tenant, term, started_at, call)
    select of_tenant, added.term, added.started_at, added.call from added;
end $$;
