//! A histogram to which buckets are added, and percentiles of it. What was never reached is counted: it is above every
//! bound.

use serde::Serialize;
use utoipa::ToSchema;

/// Numbers by the upper bounds of their buckets in ms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Histogram {
    /// Bounds, ascending, each once, with the numbers of their buckets. Thousands of histograms are added for an
    /// answer, and to merge two lists takes a fraction of the time of a search for each bucket.
    buckets: Vec<(i64, i64)>,
    never: i64,
    sum_ms: i64,
}

/// Lengths as a histogram.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Histogram)]
pub(crate) struct HistogramView {
    /// How many there are, those without a length included.
    count: i64,
    /// How many have no length: never reached, or still open.
    never: i64,
    /// The sum of the lengths, in milliseconds.
    sum_ms: i64,
    /// 50 of a hundred are not longer than this bound of a bucket, in milliseconds; at most 9 %
    /// above the value. Null: so many have no length.
    #[schema(required = true)]
    p50_ms: Option<i64>,
    /// 95 of a hundred are not longer than this bound of a bucket, in milliseconds; at most 9 %
    /// above the value. Null: so many have no length.
    #[schema(required = true)]
    pub p95_ms: Option<i64>,
    /// 99 of a hundred are not longer than this bound of a bucket, in milliseconds; at most 9 %
    /// above the value. Null: so many have no length.
    #[schema(required = true)]
    p99_ms: Option<i64>,
    /// Numbers by the upper bound of their bucket. Buckets can be added over intervals and answers;
    /// percentiles cannot.
    buckets: Vec<BucketView>,
}

/// A bucket of a histogram.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = HistogramBucket)]
struct BucketView {
    /// The upper bound, in milliseconds, included.
    le_ms: i64,
    /// How many are in this bucket alone.
    count: i64,
}

impl Histogram {
    /// The sum of buckets, each an upper bound and how many are in it. A bound may occur twice.
    pub(super) fn of(buckets: Vec<(i64, i64)>, never: i64, sum_ms: i64) -> Self {
        let mut histogram = Self { buckets, never, sum_ms };
        histogram.add_equal_bounds();
        histogram
    }

    /// Adds another one.
    pub(super) fn merge(&mut self, other: &Self) {
        self.buckets.extend(&other.buckets);
        self.add_equal_bounds();
        self.never += other.never;
        self.sum_ms += other.sum_ms;
    }

    fn add_equal_bounds(&mut self) {
        // Two lists in order, one after the other, are merged by this sort and not sorted.
        self.buckets.sort_by_key(|(bound, _)| *bound);
        self.buckets.dedup_by(|later, first| {
            let is_same = later.0 == first.0;
            if is_same {
                first.1 += later.1;
            }
            is_same
        });
    }

    /// How many there are, those without a length included.
    pub(super) fn count(&self) -> i64 {
        self.buckets.iter().map(|(_, count)| count).sum::<i64>() + self.never
    }

    /// The bound below which this many of a hundred are.
    fn percentile(&self, percent: i64) -> Option<i64> {
        // The rank of the nearest, from 1.
        let rank = (self.count() * percent + 99) / 100;
        let mut below = 0;
        let reached = self.buckets.iter().find(|(_, count)| {
            below += count;
            below >= rank
        });
        reached.map(|(le_ms, _)| *le_ms)
    }

    pub(super) fn view(&self) -> HistogramView {
        HistogramView {
            count: self.count(),
            never: self.never,
            sum_ms: self.sum_ms,
            p50_ms: self.percentile(50),
            p95_ms: self.percentile(95),
            p99_ms: self.percentile(99),
            buckets: self
                .buckets
                .iter()
                .map(|(le_ms, count)| BucketView { le_ms: *le_ms, count: *count })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn those_that_were_never_told_are_above_every_bound() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.view().p50_ms, None);
        histogram.merge(&Histogram::of(vec![(1_000, 90), (2_000, 7)], 3, 94_000));
        let view = histogram.view();
        assert_eq!((view.count, view.never, view.sum_ms), (100, 3, 94_000));
        assert_eq!((view.p50_ms, view.p95_ms, view.p99_ms), (Some(1_000), Some(2_000), None));
    }

    proptest! {
        #[test]
        fn merged_histograms_have_the_percentiles_of_all_values(
            one in prop::collection::vec(prop::option::of(0_i64..50), 0..60),
            other in prop::collection::vec(prop::option::of(0_i64..50), 0..60),
        ) {
            let of = |values: &[Option<i64>]| {
                let reached = values.iter().flatten().map(|value| (*value, 1)).collect();
                let never = values.iter().filter(|value| value.is_none()).count();
                Histogram::of(reached, never.try_into().unwrap(), values.iter().flatten().sum())
            };
            let mut merged = of(&one);
            merged.merge(&of(&other));
            let mut all: Vec<Option<i64>> = [one, other].concat();
            prop_assert_eq!(&merged, &of(&all));
            all.sort_by_key(|value| value.unwrap_or(i64::MAX));
            for percent in [50, 95, 99] {
                let rank = (all.len() * percent).div_ceil(100);
                let expected = rank.checked_sub(1).and_then(|place| all[place]);
                prop_assert_eq!(merged.percentile(i64::try_from(percent).unwrap()), expected);
            }
        }
    }
}
