-- Roll-ups of the schema reading: histograms by hour, which can be added. Percentiles cannot.

create function reading.bucket_ms(length_ms bigint) returns bigint
    language sql immutable parallel safe
    return case
            when length_ms <= 0 then 0
            when length_ms = 1 then 1
            else ceil(2000 * power(2::float8, (floor(8 * ln((length_ms - 1) / 2000::float8) / ln(2::float8) + 1e-9) + 1) / 8) - 1e-6)::bigint end;
comment on function reading.bucket_ms is 'Upper bound of the bucket of a length, in ms: 0, or 2000 times a power of the eighth root of 2, rounded up.';

create function reading.hours(from_at timestamptz, to_at timestamptz, out hour timestamptz, out next_hour timestamptz) returns setof record
    language sql stable parallel safe rows 1000
begin atomic
    select hour, hour + interval '1 hour'
    from generate_series(date_trunc('hour', from_at, 'UTC'), to_at, interval '1 hour') as hour;
end;
comment on function reading.hours is 'The hours, in UTC, from that of one instant to that of another. A view reads each of them by an index on tenant and time.';

create view reading.notice_latency_hourly with (security_invoker = true) as
select
    counted.tenant,
    hours.hour,
    counted.type,
    counted.step,
    counted.outcome,
    counted.le_ms,
    counted.obligations,
    counted.latency_sum_ms
from reading.hours((select min(due_at) from obligation), (select max(due_at) from obligation)) as hours
cross join lateral (
    select
        obligation.tenant,
        obligation.type,
        reached.step,
        case
            when obligation.status in ('MET', 'LATE') then 'told'
            when obligation.status in ('UNCONFIRMED', 'UNDELIVERED', 'NOT_SENT') then 'never_told'
            when obligation.status = 'BRIEF' then 'brief'
            else 'pending' end as outcome,
        reading.bucket_ms(reached.after_ms) as le_ms,
        count(*) as obligations,
        sum(reached.after_ms)::bigint as latency_sum_ms
    from obligation
    cross join lateral (values
        ('dispatched', case when obligation.dispatched_at is not null then greatest(0, reading.elapsed_ms(obligation.due_at, obligation.dispatched_at)) end),
        ('delivered', case when obligation.delivered_at is not null then greatest(0, reading.elapsed_ms(obligation.due_at, obligation.delivered_at)) end),
        ('shown', case when obligation.shown_at is not null then greatest(0, reading.elapsed_ms(obligation.due_at, obligation.shown_at)) end)) as reached (step, after_ms)
    where obligation.due_at >= hours.hour and obligation.due_at < hours.next_hour and obligation.status <> 'NOT_OURS'
    group by 1, 2, 3, 4, 5) as counted;
comment on view reading.notice_latency_hourly is 'Histogram of the latency of notices, for each hour of due_at; add obligations over any rows to merge them · row: a bucket; key: tenant, hour, type, step, outcome, le_ms; join: none; rows per hour: 0 to 200 · no row: no obligation of ours was due · none · computed by each query';
comment on column reading.notice_latency_hourly.tenant is 'Tenant of the row · name · never null · none · with the record';
comment on column reading.notice_latency_hourly.hour is 'Start of the hour in UTC in which the notices were due · instant · never null · none · computed by each query';
comment on column reading.notice_latency_hourly.type is 'recording or transcription · code · never null · none · computed by each query';
comment on column reading.notice_latency_hourly.step is 'Which latency: to dispatched, delivered or shown · code · never null · none · computed by each query';
comment on column reading.notice_latency_hourly.outcome is 'told, never_told, brief or pending, as in obligations; a share counts the first two · code · never null · none · computed by each query';
comment on column reading.notice_latency_hourly.le_ms is 'Upper bound of the bucket, included: 0, or 2000 times a power of the eighth root of 2, so 2000 is a bound and a value is at most 9 % below its bound · ms · the step was never reached; these sort above every bound · none · computed by each query';
comment on column reading.notice_latency_hourly.obligations is 'Number of obligations in the bucket · count · never null · none · computed by each query';
comment on column reading.notice_latency_hourly.latency_sum_ms is 'Sum of their latencies · ms · the step was never reached · none · computed by each query';

create view reading.captures_hourly with (security_invoker = true) as
select
    counted.tenant,
    hours.hour,
    counted.type,
    counted.kind,
    counted.start_source,
    counted.le_ms,
    counted.captures,
    counted.duration_sum_ms
from reading.hours((select min(started_at) from capture), (select max(started_at) from capture)) as hours
cross join lateral (
    select
        capture.tenant,
        capture.type,
        case when capture.kinds = '{}' then 'unknown' else array_to_string(capture.kinds, '+') end as kind,
        capture.start_source,
        reading.bucket_ms(reading.elapsed_ms(capture.started_at, capture.ended_at)) as le_ms,
        count(*) as captures,
        sum(reading.elapsed_ms(capture.started_at, capture.ended_at))::bigint as duration_sum_ms
    from capture
    where capture.started_at >= hours.hour and capture.started_at < hours.next_hour
    group by 1, 2, 3, 4, 5) as counted;
comment on view reading.captures_hourly is 'Histogram of the length of captures, for each hour in which they started; add captures over any rows to merge them · row: a bucket; key: tenant, hour, type, kind, start_source, le_ms; join: none; rows per hour: 0 to 100 · no row: no capture started · none · computed by each query';
comment on column reading.captures_hourly.tenant is 'Tenant of the row · name · never null · none · with the record';
comment on column reading.captures_hourly.hour is 'Start of the hour in UTC in which the captures started · instant · never null · none · computed by each query';
comment on column reading.captures_hourly.type is 'recording or transcription · code · never null · none · computed by each query';
comment on column reading.captures_hourly.kind is 'Products that capture, joined by +; unknown: no provider names one · code · never null · none · computed by each query';
comment on column reading.captures_hourly.start_source is 'Source that determines the start: file, provider or report · code · never null · none · computed by each query';
comment on column reading.captures_hourly.le_ms is 'Upper bound of the bucket, included: 0, or 2000 times a power of the eighth root of 2 · ms · the captures go on; these sort above every bound · none · computed by each query';
comment on column reading.captures_hourly.captures is 'Number of captures in the bucket · count · never null · none · computed by each query';
comment on column reading.captures_hourly.duration_sum_ms is 'Sum of their lengths · ms · the captures go on · none · computed by each query';
