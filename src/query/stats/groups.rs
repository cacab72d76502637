//! The numbers of an interval, in groups of what is counted alike: the parts that the store returned, added.

use std::collections::BTreeMap;

use super::histogram::Histogram;
use crate::postgres::HistogramRow;

/// What those of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupKey {
    /// recording or transcription; the severity of exceptions; a term of calls.
    pub category: String,
    /// The step of a notice; the kind of captures and exceptions.
    pub series: String,
    /// The outcome of obligations; the start source of captures; the state of exceptions.
    pub outcome: String,
    /// Met in time.
    pub in_time: bool,
}

/// A histogram of each group.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<GroupKey, Histogram>);

impl Groups {
    /// Adds the parts of each interval, by its number.
    pub(super) fn by_interval(parts: Vec<HistogramRow>) -> BTreeMap<i64, Self> {
        let mut intervals: BTreeMap<i64, Self> = BTreeMap::new();
        for part in parts {
            let buckets = part.bounds_ms.into_iter().zip(part.items).collect();
            let histogram = Histogram::of(buckets, part.never, part.sum_ms.unwrap_or(0));
            let key = GroupKey {
                category: part.category,
                series: part.series,
                outcome: part.outcome,
                in_time: part.in_time,
            };
            intervals.entry(part.place).or_default().add(key, &histogram);
        }
        intervals
    }

    /// The sum of all intervals.
    pub(super) fn total(intervals: &BTreeMap<i64, Self>) -> Self {
        let mut total = Self::default();
        for (key, histogram) in intervals.values().flat_map(|groups| &groups.0) {
            total.add(key.clone(), histogram);
        }
        total
    }

    fn add(&mut self, key: GroupKey, histogram: &Histogram) {
        self.0.entry(key).or_default().merge(histogram);
    }

    /// How many there are in these groups.
    pub(super) fn count(&self, is_counted: impl Fn(&GroupKey) -> bool) -> i64 {
        self.0.iter().filter(|(key, _)| is_counted(key)).map(|(_, it)| it.count()).sum()
    }

    /// How many there are by a part of the key.
    pub(super) fn count_by(
        &self,
        name: impl Fn(&GroupKey) -> Option<&str>,
    ) -> BTreeMap<String, i64> {
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        for (key, histogram) in &self.0 {
            if let Some(name) = name(key) {
                *counts.entry(name.to_owned()).or_default() += histogram.count();
            }
        }
        counts
    }

    /// The sum of the histograms of these groups.
    pub(super) fn histogram(&self, is_counted: impl Fn(&GroupKey) -> bool) -> Histogram {
        let mut sum = Histogram::default();
        for (_, histogram) in self.0.iter().filter(|(key, _)| is_counted(key)) {
            sum.merge(histogram);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(place: i64, category: &str, buckets: &[(i64, i64)], never: i64) -> HistogramRow {
        HistogramRow {
            place,
            category: category.to_owned(),
            series: "shown".to_owned(),
            outcome: "told".to_owned(),
            in_time: true,
            bounds_ms: buckets.iter().map(|(bound, _)| *bound).collect(),
            items: buckets.iter().map(|(_, items)| *items).collect(),
            never,
            sum_ms: Some(10),
        }
    }

    #[test]
    fn the_parts_of_an_interval_are_added_and_the_total_is_the_sum_of_the_intervals() {
        let intervals = Groups::by_interval(vec![
            part(1, "recording", &[(100, 2), (200, 1)], 1),
            part(1, "recording", &[(200, 4)], 0),
            part(3, "recording", &[(100, 5)], 0),
            part(3, "transcription", &[], 7),
        ]);
        let of = |groups: &Groups, category: &str| groups.histogram(|key| key.category == category);
        let first = Histogram::of(vec![(100, 2), (200, 5)], 1, 20);
        assert_eq!(of(&intervals[&1], "recording"), first);
        assert_eq!(intervals.keys().copied().collect::<Vec<_>>(), [1, 3]);
        let total = Groups::total(&intervals);
        assert_eq!(of(&total, "recording"), Histogram::of(vec![(100, 7), (200, 5)], 1, 30));
        assert_eq!(total.count(|_| true), 20);
        let counts = total.count_by(|key| Some(&key.category));
        assert_eq!((counts["recording"], counts["transcription"]), (13, 7));
    }
}
