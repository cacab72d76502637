//! Statistics: counts and histograms by interval.
//!
//! # Why
//!
//! *An interval is made of roll-ups as far as they hold*: of its whole days, then its whole hours, in UTC. What is
//! left, and every hour that changed since its roll-up was made, is counted from the rows, by an index on tenant
//! and time. All of it is of one snapshot, so the sum is exact (`migrations/20261207000001_rollups.sql`).
//!
//! *The parts are added here, not by PostgreSQL*: to group their buckets took it most of the time of an answer.

use chrono::{DateTime, Utc};

use super::snapshot::TenantSnapshot;
use crate::postgres::StoreError;

/// The bounds of intervals in order.
#[derive(Debug, Default)]
pub struct StatIntervals {
    pub starts: Vec<DateTime<Utc>>,
    pub ends: Vec<DateTime<Utc>>,
}

/// A histogram of a part of an interval: of one of its roll-ups, or of its rows that no roll-up counts.
#[derive(Debug, sqlx::FromRow)]
pub struct HistogramRow {
    /// Number of the interval, from 1.
    pub place: i64,
    /// recording or transcription; the severity of exceptions; a term of calls.
    pub category: String,
    /// The step of a notice; the kind of captures and exceptions.
    pub series: String,
    /// The outcome of obligations; the start source of captures; the state of exceptions.
    pub outcome: String,
    /// Met in time.
    pub in_time: bool,
    /// Upper bounds of the buckets in ms, in any order, of which one may occur twice.
    pub bounds_ms: Vec<i64>,
    /// How many are in each of the buckets.
    pub items: Vec<i64>,
    /// How many have no length: never reached, or still open.
    pub never: i64,
    /// Sum of the lengths. `None`: they have none.
    pub sum_ms: Option<i64>,
}

/// What statistics are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatSubject {
    /// By the start of the call; the histogram is of their lengths.
    Calls,
    /// The numbers of calls with a term, by the start of the call.
    Terms,
    /// By the instant at which they were due; the histograms are of the latencies.
    Notices,
    /// By their start; the histogram is of their lengths.
    Captures,
    /// By their first opening; the histogram is of the time to close.
    Exceptions,
}

impl StatSubject {
    /// Its name in the roll-ups.
    const fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Terms => "terms",
            Self::Notices => "notices",
            Self::Captures => "captures",
            Self::Exceptions => "exceptions",
        }
    }
}

impl TenantSnapshot {
    /// The histograms of a subject in each interval, in parts that the caller adds.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn histograms(
        &mut self,
        subject: StatSubject,
        intervals: &StatIntervals,
    ) -> Result<Vec<HistogramRow>, StoreError> {
        self.plan_once().await?;
        let statement = match subject {
            StatSubject::Calls => COUNT_CALLS,
            StatSubject::Terms => COUNT_TERMS,
            StatSubject::Notices => COUNT_NOTICES,
            StatSubject::Captures => COUNT_CAPTURES,
            StatSubject::Exceptions => COUNT_EXCEPTIONS,
        };
        let query = sqlx::query_as(statement).bind(self.tenant.as_str()).bind(subject.name());
        let query = query.bind(&intervals.starts).bind(&intervals.ends);
        Ok(query.fetch_all(&mut *self.transaction).await?)
    }
}

/// The histograms of each interval: those of the roll-ups that hold, and those of the function that counts the rest. A
/// change of a period is a scalar, not `exists`, so that it is looked up by its hour, however many others there are.
macro_rules! parts {
    ($counted:literal) => {
        concat!(
            "with part as materialized (
                 select part.place, part.starts, part.ends from unnest($3::timestamptz[], $4::timestamptz[]) with ordinality as part (starts, ends, place)),
             day as materialized (
                 select part.place, period.starts_at, period.ends_at from part
                 cross join lateral (
                     select found.starts_at, found.ends_at from rollup_period as found
                     where found.tenant = $1 and found.subject = $2 and found.resolution = 'day'
                         and found.starts_at >= part.starts and found.starts_at < part.ends and found.ends_at <= part.ends offset 0) as period
                 where (
                     select true from rollup_change as change
                     where change.tenant = $1 and change.subject = $2 and change.hour >= period.starts_at and change.hour < period.ends_at limit 1) is null),
             left_by_days as materialized (
                 select part.place, lower(gap.range) as starts, upper(gap.range) as ends from part
                 left join (
                     select day.place, range_agg(tstzrange(day.starts_at, day.ends_at)) as ranges from day group by day.place) as held
                     on held.place = part.place
                 cross join lateral unnest(tstzmultirange(tstzrange(part.starts, part.ends)) - coalesce(held.ranges, '{}')) as gap (range)),
             hour as materialized (
                 select gap.place, period.starts_at, period.ends_at from left_by_days as gap
                 cross join lateral (
                     select found.starts_at, found.ends_at from rollup_period as found
                     where found.tenant = $1 and found.subject = $2 and found.resolution = 'hour'
                         and found.starts_at >= gap.starts and found.starts_at < gap.ends and found.ends_at <= gap.ends offset 0) as period
                 where (
                     select true from rollup_change as change
                     where change.tenant = $1 and change.subject = $2 and change.hour = period.starts_at limit 1) is null),
             rolled as (
                 select day.place, 'day' as resolution, day.starts_at, day.ends_at from day
                 union all select hour.place, 'hour', hour.starts_at, hour.ends_at from hour),
             rest as materialized (
                 select part.place, lower(rest.range) as starts, upper(rest.range) as ends from part
                 left join (
                     select rolled.place, range_agg(tstzrange(rolled.starts_at, rolled.ends_at)) as ranges from rolled group by rolled.place) as held
                     on held.place = part.place
                 cross join lateral unnest(tstzmultirange(tstzrange(part.starts, part.ends)) - coalesce(held.ranges, '{}')) as rest (range))
             select rolled.place, found.category, found.series, found.outcome, found.in_time, found.bounds_ms, found.items, found.never, found.sum_ms from rolled
             cross join lateral (
                 select * from rollup_histogram
                 where rollup_histogram.tenant = $1 and rollup_histogram.subject = $2 and rollup_histogram.resolution = rolled.resolution
                     and rollup_histogram.starts_at = rolled.starts_at offset 0) as found
             union all
             select rest.place, counted.category, counted.series, counted.outcome, counted.in_time,
                 coalesce(array_agg(counted.le_ms) filter (where counted.le_ms is not null), '{}'),
                 coalesce(array_agg(counted.items) filter (where counted.le_ms is not null), '{}'),
                 coalesce(sum(counted.items) filter (where counted.le_ms is null), 0)::bigint, sum(counted.sum_ms)::bigint
             from rest cross join lateral ", $counted, "($1, rest.starts, rest.ends) as counted
             group by 1, 2, 3, 4, 5"
        )
    };
}

statements! {
    const COUNT_CALLS: &str = parts!("counted_calls");

    const COUNT_TERMS: &str = parts!("counted_terms");

    const COUNT_NOTICES: &str = parts!("counted_notices");

    const COUNT_CAPTURES: &str = parts!("counted_captures");

    const COUNT_EXCEPTIONS: &str = parts!("counted_exceptions");
}
