-- A roll-up is a row for each histogram, no longer for each of its buckets: a reader of some weeks adds histograms, of
-- which there are a tenth as many, and each table and index is that much smaller.

create table rollup_histogram (
    tenant text not null,
    subject text not null,
    resolution text not null,
    starts_at timestamptz not null,
    category text not null,
    series text not null,
    outcome text not null,
    in_time boolean not null,
    bounds_ms bigint[] not null,
    items bigint[] not null,
    never bigint not null,
    sum_ms bigint,
    check (cardinality(bounds_ms) = cardinality(items))
);
comment on table rollup_histogram is 'The numbers of the periods of rollup_period: histograms. A period without rows counts nothing.';
comment on column rollup_histogram.tenant is 'Tenant of what is counted.';
comment on column rollup_histogram.subject is 'What is counted; see rollup_change.subject.';
comment on column rollup_histogram.resolution is 'hour or day.';
comment on column rollup_histogram.starts_at is 'Start of the hour or day, as in rollup_period.';
comment on column rollup_histogram.category is 'recording or transcription; the severity of exceptions; the term of calls.';
comment on column rollup_histogram.series is 'The step of a notice; the kind of captures and exceptions.';
comment on column rollup_histogram.outcome is 'The outcome of obligations; the start source of captures; the state of exceptions; stated or presumed for the end of calls.';
comment on column rollup_histogram.in_time is 'True: obligations that were met in time.';
comment on column rollup_histogram.bounds_ms is 'Upper bounds of the buckets in ms, included (reading.bucket_ms), ascending.';
comment on column rollup_histogram.items is 'Number of obligations, captures, exceptions or calls in each of the buckets.';
comment on column rollup_histogram.never is 'Number of those without a length: never reached, or still open.';
comment on column rollup_histogram.sum_ms is 'Sum of their lengths in ms. Null: they have none.';

insert into rollup_histogram (tenant, subject, resolution, starts_at, category, series, outcome, in_time, bounds_ms, items, never, sum_ms)
select tenant, subject, resolution, starts_at, category, series, outcome, in_time,
    coalesce(array_agg(le_ms order by le_ms) filter (where le_ms is not null), '{}'),
    coalesce(array_agg(items order by le_ms) filter (where le_ms is not null), '{}'),
    coalesce(sum(items) filter (where le_ms is null), 0), sum(sum_ms)
from rollup_bucket
group by 1, 2, 3, 4, 5, 6, 7, 8;
create index rollup_histogram_of on rollup_histogram (tenant, subject, resolution, starts_at);
drop table rollup_bucket;

-- As before, but for the rows that it writes.
-- One step of maintenance. Every statement has a snapshot of its own, so the numbers are counted in a later one
-- than the one that removes the changes.
create or replace function make_rollups(before_hour timestamptz, most integer) returns bigint
    language plpgsql set enable_seqscan = off
as $$
declare
    tenants text[];
    subjects text[];
    hours timestamptz[];
    taken bigint;
begin
    perform pg_advisory_xact_lock(7305511204812);
    -- Of the many rows of an hour that still changes one is enough.
    if (select count(*) from (select from rollup_change as change where change.hour >= before_hour limit 501) as changes) > 500 then
        with removed as (
            delete from rollup_change as change where change.hour >= before_hour returning change.tenant, change.subject, change.hour)
        insert into rollup_change (tenant, subject, hour) select distinct removed.tenant, removed.subject, removed.hour from removed;
    end if;
    with due as materialized (
        select distinct first.tenant, first.subject, first.hour
        from (select change.tenant, change.subject, change.hour from rollup_change as change where change.hour < before_hour limit 20000) as first
        limit most),
    removed as (
        delete from rollup_change as change using due
        where change.tenant = due.tenant and change.subject = due.subject and change.hour = due.hour)
    select array_agg(due.tenant), array_agg(due.subject), array_agg(due.hour), count(*) into tenants, subjects, hours, taken from due;
    if taken = 0 then
        return 0;
    end if;
    -- A day that is over is made of its hours, so those that were never counted are counted too.
    select array_agg(needed.tenant), array_agg(needed.subject), array_agg(needed.hour) into tenants, subjects, hours
    from (
        select due.tenant, due.subject, due.hour from unnest(tenants, subjects, hours) as due (tenant, subject, hour)
        union
        select due.tenant, due.subject, of_day.hour
        from (select distinct one.tenant, one.subject, date_trunc('day', one.hour, 'UTC') as day from unnest(tenants, subjects, hours) as one (tenant, subject, hour)) as due
        cross join lateral generate_series(due.day, due.day + interval '23 hours', interval '1 hour') as of_day (hour)
        where due.day + interval '1 day' <= before_hour
            and not exists (
                select from rollup_period as period
                where period.tenant = due.tenant and period.subject = due.subject and period.resolution = 'hour' and period.starts_at = of_day.hour)) as needed;
    delete from rollup_histogram as histogram using unnest(tenants, subjects, hours) as due (tenant, subject, hour)
        where histogram.tenant = due.tenant and histogram.subject = due.subject and histogram.resolution = 'hour' and histogram.starts_at = due.hour;
    insert into rollup_histogram (tenant, subject, resolution, starts_at, category, series, outcome, in_time, bounds_ms, items, never, sum_ms)
        select due.tenant, due.subject, 'hour', due.hour, counted.category, counted.series, counted.outcome, counted.in_time,
            coalesce(array_agg(counted.le_ms order by counted.le_ms) filter (where counted.le_ms is not null), '{}'),
            coalesce(array_agg(counted.items order by counted.le_ms) filter (where counted.le_ms is not null), '{}'),
            coalesce(sum(counted.items) filter (where counted.le_ms is null), 0), sum(counted.sum_ms)
        from unnest(tenants, subjects, hours) as due (tenant, subject, hour)
        cross join lateral (
            select * from counted_calls(due.tenant, due.hour, due.hour + interval '1 hour') where due.subject = 'calls'
            union all select * from counted_terms(due.tenant, due.hour, due.hour + interval '1 hour') where due.subject = 'terms'
            union all select * from counted_notices(due.tenant, due.hour, due.hour + interval '1 hour') where due.subject = 'notices'
            union all select * from counted_captures(due.tenant, due.hour, due.hour + interval '1 hour') where due.subject = 'captures'
            union all select * from counted_exceptions(due.tenant, due.hour, due.hour + interval '1 hour') where due.subject = 'exceptions') as counted
        group by 1, 2, 3, 4, 5, 6, 7, 8;
    insert into rollup_period (tenant, subject, resolution, starts_at, ends_at)
        select due.tenant, due.subject, 'hour', due.hour, due.hour + interval '1 hour' from unnest(tenants, subjects, hours) as due (tenant, subject, hour)
        on conflict do nothing;
    -- The last hour of a day that goes on may change no more, and the day is to be made then.
    insert into rollup_change (tenant, subject, hour)
        select due.tenant, due.subject, due.day + interval '23 hours'
        from (
            select distinct one.tenant, one.subject, date_trunc('day', one.hour, 'UTC') as day from unnest(tenants, subjects, hours) as one (tenant, subject, hour)) as due
        where due.day + interval '1 day' > before_hour
            and not exists (
                select from rollup_change as change
                where change.tenant = due.tenant and change.subject = due.subject and change.hour = due.day + interval '23 hours');
    select array_agg(due.tenant), array_agg(due.subject), array_agg(due.day) into tenants, subjects, hours
    from (
        select distinct one.tenant, one.subject, date_trunc('day', one.hour, 'UTC') as day from unnest(tenants, subjects, hours) as one (tenant, subject, hour)) as due
    where due.day + interval '1 day' <= before_hour;
    delete from rollup_histogram as histogram using unnest(tenants, subjects, hours) as due (tenant, subject, day)
        where histogram.tenant = due.tenant and histogram.subject = due.subject and histogram.resolution = 'day' and histogram.starts_at = due.day;
    insert into rollup_histogram (tenant, subject, resolution, starts_at, category, series, outcome, in_time, bounds_ms, items, never, sum_ms)
        select bucket.tenant, bucket.subject, 'day', bucket.day, bucket.category, bucket.series, bucket.outcome, bucket.in_time,
            coalesce(array_agg(bucket.le_ms order by bucket.le_ms) filter (where bucket.le_ms is not null), '{}'),
            coalesce(array_agg(bucket.items order by bucket.le_ms) filter (where bucket.le_ms is not null), '{}'),
            coalesce(sum(bucket.items) filter (where bucket.le_ms is null), 0), sum(bucket.sum_ms)
        from (
            select due.tenant, due.subject, due.day, hourly.category, hourly.series, hourly.outcome, hourly.in_time, counted.le_ms,
                sum(counted.items)::bigint as items, sum(counted.sum_ms)::bigint as sum_ms
            from unnest(tenants, subjects, hours) as due (tenant, subject, day)
            join rollup_histogram as hourly on hourly.tenant = due.tenant and hourly.subject = due.subject and hourly.resolution = 'hour'
                and hourly.starts_at >= due.day and hourly.starts_at < due.day + interval '1 day'
            cross join lateral (
                select held.le_ms, held.items, null::bigint as sum_ms from unnest(hourly.bounds_ms, hourly.items) as held (le_ms, items)
                union all select null, hourly.never, hourly.sum_ms) as counted
            group by 1, 2, 3, 4, 5, 6, 7, 8) as bucket
        group by 1, 2, 3, 4, 5, 6, 7, 8;
    insert into rollup_period (tenant, subject, resolution, starts_at, ends_at)
        select due.tenant, due.subject, 'day', due.day, due.day + interval '1 day' from unnest(tenants, subjects, hours) as due (tenant, subject, day)
        on conflict do nothing;
    return taken;
end $$;

-- The list of readable tables, with this one instead of the other.
do $$
declare
    listed text := (
        select string_agg(format('(%L, %L::boolean)', readable.name, readable.of_tenant), ', ')
        from (
            select name, of_tenant from readable_tables() where name <> 'rollup_bucket'
            union all values ('rollup_histogram', true)) as readable (name, of_tenant));
begin
    execute format(
        'create or replace function readable_tables() returns table (name text, of_tenant boolean) language sql immutable
         begin atomic select * from (values %s) as readable (name, of_tenant); end', listed);
end $$;

select admit_readers();
