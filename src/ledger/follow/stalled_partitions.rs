//! Detects partitions whose position does not move although their log goes on.
//!
//! # Why
//!
//! A client may answer for the ends of a partition and still deliver none of its messages.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Minimum time without a move of the position after which a partition is stalled.
const MIN_STALL: Duration = Duration::from_secs(15);

/// Per partition that has unread messages its position, and since when it is there.
#[derive(Debug, Default)]
pub(super) struct StalledPartitions(BTreeMap<i32, (i64, Instant)>);

impl StalledPartitions {
    /// Notes the position of a partition, and the end of its log.
    pub(super) fn observe(&mut self, partition: i32, next_offset: i64, end: i64, now: Instant) {
        if next_offset >= end {
            self.forget(partition);
            return;
        }
        let (position, since) = self.0.entry(partition).or_insert((next_offset, now));
        if *position != next_offset {
            (*position, *since) = (next_offset, now);
        }
    }

    /// Forgets a partition that is not read now.
    pub(super) fn forget(&mut self, partition: i32) {
        self.0.remove(&partition);
    }

    pub(super) fn forget_all(&mut self) {
        self.0.clear();
    }

    /// The partitions that are stalled.
    pub(super) fn partitions(&self, now: Instant) -> impl Iterator<Item = i32> + '_ {
        let stalled = move |(_, (_, since)): &(&i32, &(i64, Instant))| {
            now.saturating_duration_since(*since) >= MIN_STALL
        };
        self.0.iter().filter(stalled).map(|(partition, _)| *partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_stalled_if_its_position_stays_before_the_end_of_the_log() {
        let began = Instant::now();
        let mut stalled = StalledPartitions::default();
        stalled.observe(0, 5, 9, began);
        stalled.observe(1, 9, 9, began);
        stalled.observe(2, 5, 9, began);
        stalled.observe(3, 5, 9, began);
        let later = began + MIN_STALL;
        stalled.observe(0, 5, 12, later);
        stalled.observe(1, 9, 10, later);
        stalled.observe(2, 6, 9, later);
        stalled.observe(3, 9, 9, later);
        assert_eq!(stalled.partitions(later).collect::<Vec<_>>(), [0]);
        stalled.forget(0);
        assert_eq!(stalled.partitions(later).count(), 0);
    }
}
