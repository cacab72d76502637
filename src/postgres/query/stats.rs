//! Statistics: counts and histograms by interval.
//!
//! # Why
//!
//! *An interval is made of roll-ups as far as they hold*: of its whole days, then its whole hours, in UTC. What is
//! left, and every hour that changed since its roll-up was made, is counted from the rows, by an index on tenant
//! and time. All of it is of one snapshot, so the sum is exact (`migrations/20261207000001_rollups.sql`).

use chrono::{DateTime, Utc};

use super::snapshot::TenantSnapshot;
use crate::postgres::StoreError;

/// The bounds of intervals in order.
#[derive(Debug, Default)]
pub struct StatIntervals {
    pub starts: Vec<DateTime<Utc>>,
    pub ends: Vec<DateTime<Utc>>,
}

/// A bucket of a histogram in an interval.
#[derive(Debug, sqlx::FromRow)]
pub struct BucketRow {
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
        self.plan_once().await?;
        sqlx::query(GROUP_BY_HASH).execute(&mut *self.transaction).await?;
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

/// The buckets of each interval: those of the roll-ups that hold, and those of the function that counts the rest. A
/// change of a period is a scalar, not `exists`, so that it is looked up by its hour, however many others there are.
macro_rules! buckets {
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
             select bucket.place, bucket.category, bucket.series, bucket.outcome, bucket.in_time, bucket.le_ms,
                 sum(bucket.items)::bigint as count, sum(bucket.sum_ms)::bigint as sum_ms
             from (
                 select rolled.place, found.category, found.series, found.outcome, found.in_time, found.le_ms, found.items, found.sum_ms from rolled
                 cross join lateral (
                     select * from rollup_bucket
                     where rollup_bucket.tenant = $1 and rollup_bucket.subject = $2 and rollup_bucket.resolution = rolled.resolution
                         and rollup_bucket.starts_at = rolled.starts_at offset 0) as found
                 union all
                 select rest.place, counted.* from rest cross join lateral ", $counted, "($1, rest.starts, rest.ends) as counted) as bucket
             group by 1, 2, 3, 4, 5, 6"
        )
    };
}

statements! {
    /// To sort the buckets of some weeks takes three times as long, and their groups fit into the memory.
    const GROUP_BY_HASH: &str =
        "select set_config('enable_sort', 'off', true), set_config('hash_mem_multiplier', '8', true)";

    const COUNT_CALLS: &str = buckets!("counted_calls");

    const COUNT_TERMS: &str = buckets!("counted_terms");

    const COUNT_NOTICES: &str = buckets!("counted_notices");

    const COUNT_CAPTURES: &str = buckets!("counted_captures");

    const COUNT_EXCEPTIONS: &str = buckets!("counted_exceptions");
}
