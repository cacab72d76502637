-- Roll-ups of statistics: the numbers of whole hours and days, made once and read many times.
--
-- # Why
--
-- *An answer is exact at each instant.* A transaction that changes what an hour counts adds a row of
-- rollup_change, so both become visible at once. A reader takes the roll-up of an hour without such a row, and
-- counts the rows of every other hour. Maintenance removes the rows of rollup_change first and counts in a later
-- statement, whose snapshot includes every transaction that wrote them.
--
-- *Nothing waits.* rollup_change has no key: two transactions that change the same hour write a row each.

create table rollup_change (
    tenant text not null,
    subject text not null check (subject in ('calls', 'terms', 'notices', 'captures', 'exceptions')),
    hour timestamptz not null
);
create index rollup_change_of on rollup_change (tenant, subject, hour);
comment on table rollup_change is 'Hours whose numbers changed since their roll-up was made, and hours that have none yet. Maintenance removes a row when it makes the roll-up.';
comment on column rollup_change.tenant is 'Tenant of what changed.';
comment on column rollup_change.subject is 'What is counted: calls (lengths), terms (calls with each term), notices (latencies), captures (lengths) or exceptions (time to close).';
comment on column rollup_change.hour is 'Start of the hour, in UTC.';

create table rollup_period (
    tenant text not null,
    subject text not null,
    resolution text not null check (resolution in ('hour', 'day')),
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    primary key (tenant, subject, resolution, starts_at)
);
comment on table rollup_period is 'Hours and days, in UTC, whose roll-up was made. It holds as long as rollup_change has no row of the hour, or of an hour of the day.';
comment on column rollup_period.tenant is 'Tenant of what is counted.';
comment on column rollup_period.subject is 'What is counted; see rollup_change.subject.';
comment on column rollup_period.resolution is 'hour or day.';
comment on column rollup_period.starts_at is 'Start of the hour or day.';
comment on column rollup_period.ends_at is 'End of the hour or day: the start of the next one.';

create table rollup_bucket (
    tenant text not null,
    subject text not null,
    resolution text not null,
    starts_at timestamptz not null,
    category text not null,
    series text not null,
    outcome text not null,
    in_time boolean not null,
    le_ms bigint,
    items bigint not null,
    sum_ms bigint
);
create index rollup_bucket_of on rollup_bucket (tenant, subject, resolution, starts_at);
comment on table rollup_bucket is 'The numbers of the periods of rollup_period: buckets of histograms. A period without rows counts nothing.';
comment on column rollup_bucket.tenant is 'Tenant of what is counted.';
comment on column rollup_bucket.subject is 'What is counted; see rollup_change.subject.';
comment on column rollup_bucket.resolution is 'hour or day.';
comment on column rollup_bucket.starts_at is 'Start of the hour or day, as in rollup_period.';
comment on column rollup_bucket.category is 'recording or transcription; the severity of exceptions; the term of calls.';
comment on column rollup_bucket.series is 'The step of a notice; the kind of captures and exceptions.';
comment on column rollup_bucket.outcome is 'The outcome of obligations; the start source of captures; the state of exceptions; stated or presumed for the end of calls.';
comment on column rollup_bucket.in_time is 'True: obligations that were met in time.';
comment on column rollup_bucket.le_ms is 'Upper bound of the bucket in ms, included (reading.bucket_ms). Null: never reached, or still open.';
comment on column rollup_bucket.items is 'Number of obligations, captures, exceptions or calls in the bucket.';
comment on column rollup_bucket.sum_ms is 'Sum of their lengths in ms. Null: they have none.';

-- What each subject counts in a period. The planner puts them into the statement that calls them.

create function counted_calls(of_tenant text, from_at timestamptz, to_at timestamptz)
    returns table (category text, series text, outcome text, in_time boolean, le_ms bigint, items bigint, sum_ms bigint)
    language sql stable
begin atomic
    select 'call', 'length', case when call.end_presumed then 'presumed' else 'stated' end, false,
        reading.bucket_ms(reading.elapsed_ms(call.started_at, call.ended_at)), count(*), sum(reading.elapsed_ms(call.started_at, call.ended_at))::bigint
    from call
    where call.tenant = of_tenant and call.started_at >= from_at and call.started_at < to_at
    group by 3, 5;
end;
comment on function counted_calls is 'The histogram of the lengths of the calls that started in a period.';

create function counted_terms(of_tenant text, from_at timestamptz, to_at timestamptz)
    returns table (category text, series text, outcome text, in_time boolean, le_ms bigint, items bigint, sum_ms bigint)
    language sql stable
begin atomic
    select counted.term, 'term', '', false, null::bigint, counted.calls, null::bigint
    from unnest(array['state=open', 'state=ended', 'type=recording', 'type=transcription',
        'verdict=COMPLIANT', 'verdict=EXCEPTIONS', 'verdict=PENDING', 'verdict=UNOBSERVED',
        'consent=DECLINED', 'consent=OUTSTANDING', 'consent=GIVEN', 'consent=NOT_REQUIRED',
        'kind=room', 'kind=meeting', 'kind=two_party', 'kind=group', 'kind=unknown',
        'exceptions=open', 'exceptions=closed']) as asked (term)
    cross join lateral (
        select asked.term, count(*) as calls from call_term
        where call_term.tenant = of_tenant and call_term.term = asked.term and call_term.started_at >= from_at and call_term.started_at < to_at) as counted
    where counted.calls > 0;
end;
comment on function counted_terms is 'The numbers of calls with each of the terms that statistics count, of those that started in a period.';

create function counted_notices(of_tenant text, from_at timestamptz, to_at timestamptz)
    returns table (category text, series text, outcome text, in_time boolean, le_ms bigint, items bigint, sum_ms bigint)
    language sql stable
begin atomic
    select obligation.type, reached.step,
        case
            when obligation.status in ('MET', 'LATE') then 'told'
            when obligation.status in ('UNCONFIRMED', 'UNDELIVERED', 'NOT_SENT') then 'never_told'
            when obligation.status = 'BRIEF' then 'brief'
            else 'pending' end,
        obligation.status = 'MET', reading.bucket_ms(reached.after_ms), count(*), sum(reached.after_ms)::bigint
    from obligation
    cross join lateral (values
        ('dispatched', case when obligation.dispatched_at is not null then greatest(0, reading.elapsed_ms(obligation.due_at, obligation.dispatched_at)) end),
        ('delivered', case when obligation.delivered_at is not null then greatest(0, reading.elapsed_ms(obligation.due_at, obligation.delivered_at)) end),
        ('shown', case when obligation.shown_at is not null then greatest(0, reading.elapsed_ms(obligation.due_at, obligation.shown_at)) end)) as reached (step, after_ms)
    where obligation.tenant = of_tenant and obligation.due_at >= from_at and obligation.due_at < to_at and obligation.status <> 'NOT_OURS'
    group by 1, 2, 3, 4, 5;
end;
comment on function counted_notices is 'The histograms of the latencies of the notices that were due in a period, as in reading.notice_latency_hourly.';

create function counted_captures(of_tenant text, from_at timestamptz, to_at timestamptz)
    returns table (category text, series text, outcome text, in_time boolean, le_ms bigint, items bigint, sum_ms bigint)
    language sql stable
begin atomic
    select capture.type, case when capture.kinds = '{}' then 'unknown' else array_to_string(capture.kinds, '+') end, capture.start_source, false,
        reading.bucket_ms(reading.elapsed_ms(capture.started_at, capture.ended_at)), count(*), sum(reading.elapsed_ms(capture.started_at, capture.ended_at))::bigint
    from capture
    where capture.tenant = of_tenant and capture.started_at >= from_at and capture.started_at < to_at
    group by 1, 2, 3, 5;
end;
comment on function counted_captures is 'The histogram of the lengths of the captures that started in a period, as in reading.captures_hourly.';

create function counted_exceptions(of_tenant text, from_at timestamptz, to_at timestamptz)
    returns table (category text, series text, outcome text, in_time boolean, le_ms bigint, items bigint, sum_ms bigint)
    language sql stable
begin atomic
    select found.severity, found.kind, found.state, false, reading.bucket_ms(found.time_to_close_ms), count(*), sum(found.time_to_close_ms)::bigint
    from reading.exceptions as found
    where found.tenant = of_tenant and found.opened_at >= from_at and found.opened_at < to_at
    group by 1, 2, 3, 5;
end;
comment on function counted_exceptions is 'The histogram of the time to close of the exceptions that were opened in a period.';

-- What changes an hour. The instant by which a row is counted never changes.

create function mark_changed_hours() returns trigger
    language plpgsql
as $$
begin
    case tg_argv[0]
        when 'notices' then
            insert into public.rollup_change (tenant, subject, hour)
            select distinct changed.tenant, 'notices', date_trunc('hour', changed.due_at, 'UTC') from changed;
        when 'captures' then
            insert into public.rollup_change (tenant, subject, hour)
            select distinct changed.tenant, 'captures', date_trunc('hour', changed.started_at, 'UTC') from changed;
        when 'exceptions' then
            insert into public.rollup_change (tenant, subject, hour)
            select distinct changed.tenant, 'exceptions', date_trunc('hour', changed.opened_at, 'UTC') from changed;
    end case;
    return null;
end $$;
comment on function mark_changed_hours is 'Adds the hours of changed rows to rollup_change.';

create trigger obligation_is_counted after insert on obligation referencing new table as changed
    for each statement execute function mark_changed_hours('notices');
create trigger obligation_is_counted_again after update on obligation referencing new table as changed
    for each statement execute function mark_changed_hours('notices');
create trigger obligation_is_not_counted after delete on obligation referencing old table as changed
    for each statement execute function mark_changed_hours('notices');
create trigger capture_is_counted after insert on capture referencing new table as changed
    for each statement execute function mark_changed_hours('captures');
create trigger capture_is_counted_again after update on capture referencing new table as changed
    for each statement execute function mark_changed_hours('captures');
create trigger capture_is_not_counted after delete on capture referencing old table as changed
    for each statement execute function mark_changed_hours('captures');
create trigger exception_is_counted after insert on exception referencing new table as changed
    for each statement execute function mark_changed_hours('exceptions');
create trigger exception_is_counted_again after update on exception referencing new table as changed
    for each statement execute function mark_changed_hours('exceptions');
create trigger exception_is_not_counted after delete on exception referencing old table as changed
    for each statement execute function mark_changed_hours('exceptions');

create or replace function refresh_call_terms(of_tenant text, of_calls text[]) returns void
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

-- One step of maintenance. Every statement has a snapshot of its own, so the numbers are counted in a later one
-- than the one that removes the changes.
create function make_rollups(before_hour timestamptz, most integer) returns bigint
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
    delete from rollup_bucket as bucket using unnest(tenants, subjects, hours) as due (tenant, subject, hour)
        where bucket.tenant = due.tenant and bucket.subject = due.subject and bucket.resolution = 'hour' and bucket.starts_at = due.hour;
    insert into rollup_bucket (tenant, subject, resolution, starts_at, category, series, outcome, in_time, le_ms, items, sum_ms)
        select due.tenant, due.subject, 'hour', due.hour, counted.*
        from unnest(tenants, subjects, hours) as due (tenant, subject, hour)
        cross join lateral (
            select * from counted_calls(due.tenant, due.hour, due.hour + interval '1 hour') where due.subject = 'calls'
            union all select * from counted_terms(due.tenant, due.hour, due.hour + interval '1 hour') where due.subject = 'terms'
            union all select * from counted_notices(due.tenant, due.hour, due.hour + interval '1 hour') where due.subject = 'notices'
            union all select * from counted_captures(due.tenant, due.hour, due.hour + interval '1 hour') where due.subject = 'captures'
            union all select * from counted_exceptions(due.tenant, due.hour, due.hour + interval '1 hour') where due.subject = 'exceptions') as counted;
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
    delete from rollup_bucket as bucket using unnest(tenants, subjects, hours) as due (tenant, subject, day)
        where bucket.tenant = due.tenant and bucket.subject = due.subject and bucket.resolution = 'day' and bucket.starts_at = due.day;
    insert into rollup_bucket (tenant, subject, resolution, starts_at, category, series, outcome, in_time, le_ms, items, sum_ms)
        select due.tenant, due.subject, 'day', due.day, hourly.category, hourly.series, hourly.outcome, hourly.in_time, hourly.le_ms, sum(hourly.items)::bigint, sum(hourly.sum_ms)::bigint
        from unnest(tenants, subjects, hours) as due (tenant, subject, day)
        join rollup_bucket as hourly on hourly.tenant = due.tenant and hourly.subject = due.subject and hourly.resolution = 'hour'
            and hourly.starts_at >= due.day and hourly.starts_at < due.day + interval '1 day'
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9;
    insert into rollup_period (tenant, subject, resolution, starts_at, ends_at)
        select due.tenant, due.subject, 'day', due.day, due.day + interval '1 day' from unnest(tenants, subjects, hours) as due (tenant, subject, day)
        on conflict do nothing;
    return taken;
end $$;
comment on function make_rollups is 'Makes the roll-ups of up to this number of changed hours before an hour, and of the days that they belong to. Returns how many changed hours it took; fewer than asked for: there are no more.';

-- The hours that exist have no roll-up yet.
insert into rollup_change (tenant, subject, hour)
select distinct call.tenant, counted.subject, date_trunc('hour', call.started_at, 'UTC') from call cross join (values ('calls'), ('terms')) as counted (subject)
union all select distinct obligation.tenant, 'notices', date_trunc('hour', obligation.due_at, 'UTC') from obligation
union all select distinct capture.tenant, 'captures', date_trunc('hour', capture.started_at, 'UTC') from capture
union all select distinct exception.tenant, 'exceptions', date_trunc('hour', exception.opened_at, 'UTC') from exception;

-- The list of readable tables, and these.
do $$
declare
    listed text := (
        select string_agg(format('(%L, %L::boolean)', readable.name, readable.of_tenant), ', ')
        from (
            select name, of_tenant from readable_tables()
            union all values ('rollup_change', true), ('rollup_period', true), ('rollup_bucket', true)) as readable (name, of_tenant));
begin
    execute format(
        'create or replace function readable_tables() returns table (name text, of_tenant boolean) language sql immutable
         begin atomic select * from (values %s) as readable (name, of_tenant); end', listed);
end $$;

select admit_readers();
