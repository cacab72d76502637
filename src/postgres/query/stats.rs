//! Statistics: counts and histograms by interval. Each interval is a range of an index on tenant and time.

use chrono::{DateTime, Utc};

use super::snapshot::TenantSnapshot;
use crate::postgres::StoreError;

/// The bounds of intervals in order.
#[derive(Debug, Default)]
pub struct StatIntervals {
    pub starts: Vec<DateTime<Utc>>,
    pub ends: Vec<DateTime<Utc>>,
}

/// The number of calls with a term that started in an interval.
#[derive(Debug, sqlx::FromRow)]
pub struct TermCountRow {
    /// Number of the interval, from 1.
    pub place: i64,
    pub term: String,
    pub calls: i64,
}

/// A bucket of a histogram in an interval.
#[derive(Debug, sqlx::FromRow)]
pub struct BucketRow {
    /// Number of the interval, from 1.
    pub place: i64,
    /// recording or transcription; the severity of exceptions.
    pub group: String,
    /// The step of a notice; the kind of captures and exceptions.
    pub series: String,
    /// The outcome of obligations; the start source of captures; the state of exceptions.
    pub outcome: String,
    /// Met in time.
    pub in_time: bool,
    /// Upper bound in ms. `None`: never reached, or still open.
    pub le_ms: Option<i64>,
    pub count: i64,
    pub sum_ms: Option<i64>,
}

/// What statistics are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatSubject {
    /// By the start of the call; the histogram is of their lengths.
    Calls,
    /// By the instant at which they were due; the histograms are of the latencies.
    Notices,
    /// By their start; the histogram is of their lengths.
    Captures,
    /// By their first opening; the histogram is of the time to close.
    Exceptions,
}

impl TenantSnapshot {
    /// How many calls with each of these terms started in each interval.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn term_counts(
        &mut self,
        intervals: &StatIntervals,
        terms: &[&str],
    ) -> Result<Vec<TermCountRow>, StoreError> {
        self.avoid_scans().await?;
        let query = sqlx::query_as(COUNT_TERMS).bind(self.tenant.as_str());
        let query = query.bind(&intervals.starts).bind(&intervals.ends).bind(terms);
        Ok(query.fetch_all(&mut *self.transaction).await?)
    }

    /// The histograms of a subject in each interval.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn histograms(
        &mut self,
        subject: StatSubject,
        intervals: &StatIntervals,
    ) -> Result<Vec<BucketRow>, StoreError> {
        self.avoid_scans().await?;
        let statement = match subject {
            StatSubject::Calls => SELECT_CALL_LENGTHS,
            StatSubject::Notices => SELECT_NOTICE_LATENCIES,
            StatSubject::Captures => SELECT_CAPTURE_LENGTHS,
            StatSubject::Exceptions => SELECT_EXCEPTION_LENGTHS,
        };
        let query = sqlx::query_as(statement).bind(self.tenant.as_str());
        let query = query.bind(&intervals.starts).bind(&intervals.ends);
        Ok(query.fetch_all(&mut *self.transaction).await?)
    }
}

statements! {
    const COUNT_TERMS: &str =
        "select part.place, counted.term, counted.calls
         from unnest($2::timestamptz[], $3::timestamptz[]) with ordinality as part (starts, ends, place)
         cross join unnest($4::text[]) as asked (term)
         cross join lateral (
             select asked.term, count(*) as calls from call_term
             where call_term.tenant = $1 and call_term.term = asked.term and call_term.started_at >= part.starts and call_term.started_at < part.ends) as counted
         where counted.calls > 0";

    const SELECT_CALL_LENGTHS: &str =
        "select part.place, 'call' as \"group\", 'length' as series, case when counted.end_presumed then 'presumed' else 'stated' end as outcome, false as in_time,
             counted.le_ms, counted.count, counted.sum_ms
         from unnest($2::timestamptz[], $3::timestamptz[]) with ordinality as part (starts, ends, place)
         cross join lateral (
             select call.end_presumed, reading.bucket_ms(reading.elapsed_ms(call.started_at, call.ended_at)) as le_ms, count(*) as count,
                 sum(reading.elapsed_ms(call.started_at, call.ended_at))::bigint as sum_ms
             from call where call.tenant = $1 and call.started_at >= part.starts and call.started_at < part.ends
             group by 1, 2) as counted";

    /// As the view `reading.notice_latency_hourly`, for other intervals.
    const SELECT_NOTICE_LATENCIES: &str =
        "select part.place, counted.type as \"group\", counted.step as series, counted.outcome, counted.in_time, counted.le_ms, counted.count, counted.sum_ms
         from unnest($2::timestamptz[], $3::timestamptz[]) with ordinality as part (starts, ends, place)
         cross join lateral (
             select obligation.type, reached.step,
                 case
                     when obligation.status in ('MET', 'LATE') then 'told'
                     when obligation.status in ('UNCONFIRMED', 'UNDELIVERED', 'NOT_SENT') then 'never_told'
                     when obligation.status = 'BRIEF' then 'brief'
                     else 'pending' end as outcome,
                 obligation.status = 'MET' as in_time,
                 reading.bucket_ms(reached.after_ms) as le_ms, count(*) as count, sum(reached.after_ms)::bigint as sum_ms
             from obligation
             cross join lateral (values
                 ('dispatched', case when obligation.dispatched_at is not null then greatest(0, reading.elapsed_ms(obligation.due_at, obligation.dispatched_at)) end),
                 ('delivered', case when obligation.delivered_at is not null then greatest(0, reading.elapsed_ms(obligation.due_at, obligation.delivered_at)) end),
                 ('shown', case when obligation.shown_at is not null then greatest(0, reading.elapsed_ms(obligation.due_at, obligation.shown_at)) end)) as reached (step, after_ms)
             where obligation.tenant = $1 and obligation.due_at >= part.starts and obligation.due_at < part.ends and obligation.status <> 'NOT_OURS'
             group by 1, 2, 3, 4, 5) as counted";

    /// As the view `reading.captures_hourly`, for other intervals.
    const SELECT_CAPTURE_LENGTHS: &str =
        "select part.place, counted.type as \"group\", counted.kind as series, counted.start_source as outcome, false as in_time, counted.le_ms, counted.count, counted.sum_ms
         from unnest($2::timestamptz[], $3::timestamptz[]) with ordinality as part (starts, ends, place)
         cross join lateral (
             select capture.type, case when capture.kinds = '{}' then 'unknown' else array_to_string(capture.kinds, '+') end as kind, capture.start_source,
                 reading.bucket_ms(reading.elapsed_ms(capture.started_at, capture.ended_at)) as le_ms, count(*) as count,
                 sum(reading.elapsed_ms(capture.started_at, capture.ended_at))::bigint as sum_ms
             from capture where capture.tenant = $1 and capture.started_at >= part.starts and capture.started_at < part.ends
             group by 1, 2, 3, 4) as counted";

    const SELECT_EXCEPTION_LENGTHS: &str =
        "select part.place, counted.severity as \"group\", counted.kind as series, counted.state as outcome, false as in_time, counted.le_ms, counted.count, counted.sum_ms
         from unnest($2::timestamptz[], $3::timestamptz[]) with ordinality as part (starts, ends, place)
         cross join lateral (
             select found.severity, found.kind, found.state, reading.bucket_ms(found.time_to_close_ms) as le_ms, count(*) as count,
                 sum(found.time_to_close_ms)::bigint as sum_ms
             from reading.exceptions as found where found.tenant = $1 and found.opened_at >= part.starts and found.opened_at < part.ends
             group by 1, 2, 3, 4) as counted";
}
