-- The terms of a call come from its projection.
--
-- # Why
--
-- The projection has all that the terms of a call rest on, besides its exceptions. refresh_call_terms() read it
-- back from six tables, in the transaction of the ledger.

create function store_call_terms(
    of_tenant text, of_calls text[], call_starts timestamptz[], term_calls text[], term_starts timestamptz[], terms text[], gone text[]) returns void
    language plpgsql set enable_seqscan = off
as $$
begin
    with wanted as materialized (
        -- A reader searches names by the same lower().
        select projected.call, case when starts_with(projected.term, 'name=') then lower(projected.term) else projected.term end as term, projected.started_at
        from unnest(term_calls, term_starts, terms) as projected (call, started_at, term)
        union
        select projected.call, held.term, projected.started_at
        from unnest(of_calls, call_starts) as projected (call, started_at)
        cross join lateral (
            select case when bool_or(exception.closed_at is null) then 'exceptions=open' when count(*) = 0 then 'exceptions=none' else 'exceptions=closed' end as term
            from exception where exception.tenant = of_tenant and exception.call = projected.call) as held),
    stored as materialized (
        select had.call, had.term, had.started_at, had.place
        from unnest(of_calls || gone) as asked (call)
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
        from (select distinct substr(added.term, 6) as name from added where starts_with(added.term, 'name=')) as new
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
            union select date_trunc('hour', projected.started_at, 'UTC') from unnest(call_starts) as projected (started_at)) as touched
        cross join (values ('calls'), ('terms')) as counted (subject))
    insert into call_term (tenant, term, started_at, call)
    select of_tenant, added.term, added.started_at, added.call from added;
end $$;
comment on function store_call_terms is 'Replaces the rows of call_term of calls by the terms of their projections, and by the one of their exceptions; removes those of calls that are gone. Called in the transaction that writes the rows of the calls, after their exceptions.';

create function refresh_exception_terms(of_tenant text, of_calls text[]) returns void
    language plpgsql set enable_seqscan = off
as $$
begin
    -- Another transaction that projects the call, or changes its exceptions, waits here, and then sees what this one
    -- wrote. A row that this transaction wrote is locked already.
    perform from unnest(of_calls) as asked (call)
        cross join lateral (
            select from call where call.tenant = of_tenant and call.call = asked.call and call.xmin <> pg_current_xact_id()::xid
            for update offset 0) as locked;
    with wanted as materialized (
        select found.call, held.term, found.started_at
        from (select distinct asked.call from unnest(of_calls) as asked (call)) as asked
        cross join lateral (
            select call.call, call.started_at from call where call.tenant = of_tenant and call.call = asked.call offset 0) as found
        cross join lateral (
            select case when bool_or(exception.closed_at is null) then 'exceptions=open' when count(*) = 0 then 'exceptions=none' else 'exceptions=closed' end as term
            from exception where exception.tenant = of_tenant and exception.call = found.call) as held),
    changed as materialized (
        select wanted.call, wanted.term, wanted.started_at from wanted
        where not exists (
            select from call_term as stored
            where stored.tenant = of_tenant and stored.term = wanted.term and stored.started_at = wanted.started_at and stored.call = wanted.call)),
    removed as (
        delete from call_term as stored using changed
        where stored.tenant = of_tenant and stored.call = changed.call and starts_with(stored.term, 'exceptions=')),
    marked as (
        insert into rollup_change (tenant, subject, hour)
        select distinct of_tenant, 'terms', date_trunc('hour', changed.started_at, 'UTC') from changed)
    insert into call_term (tenant, term, started_at, call)
    select of_tenant, changed.term, changed.started_at, changed.call from changed;
end $$;
comment on function refresh_exception_terms is 'Makes the rows of call_term about exceptions what the exceptions of these calls say. The last statement of each transaction that changes an exception and does not project its call.';

drop function refresh_call_terms;
