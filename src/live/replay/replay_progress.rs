//! The progress of the replay, and what may be announced at each stage.
//!
//! # Why
//!
//! *A goal per partition.* A level in the middle of the log was never true, so nothing is announced
//! until the replay has reached the end that the log had when the replay began. The same holds for
//! a node that fell behind while it was live.
//!
//! *A log without progress counts as unavailable.* Kafka may fail during the replay, or a partition
//! may have no leader. The spool is then the only source, and its events must not wait
//! (`ONE_STORE_LIVE`). The same holds for a partition of a live node that has messages and delivers
//! none, because the client for reading failed: silence alone would look like a log without events.

use std::collections::BTreeMap;

use onrecord_evidence::event::instant::Millis;

/// Timeout without progress after which the replay counts as stuck, ms.
const STUCK_TIMEOUT: Millis = 2_000;
/// Timeout without a message of a partition that has some, after which the partition is stalled, ms.
const STALL_TIMEOUT: Millis = 5_000;
/// The same while it is read to its end, ms: the others may have the turn for a while.
const CATCH_UP_STALL_TIMEOUT: Millis = 30_000;
/// Maximum age of a message at which the reader surely has not fallen behind, ms.
const MAX_LAG: Millis = 5_000;
/// Interval between checks for a lag, ms.
const LAG_CHECK_INTERVAL: Millis = 1_000;

/// What may be announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ReplayStage {
    /// The log, or a part of it, is unavailable: levels from what is known.
    #[default]
    Disconnected,
    /// The log is being read to its end: nothing, because a level in the middle of the log was never
    /// true.
    CatchingUp,
    /// The log is read as it grows: levels and changes.
    Live,
}

/// The progress of all partitions.
#[derive(Debug)]
pub(crate) struct ReplayProgress {
    /// `None`: not known yet.
    partition_count: Option<i32>,
    partitions: BTreeMap<i32, PartitionProgress>,
    /// When a message was read last, ms.
    last_read_at: Millis,
    /// When the lag was checked last, ms.
    last_lag_check_at: Millis,
    /// Where the replay begins, by the log's time, ms.
    start: Millis,
}

/// The progress of one partition.
#[derive(Debug)]
struct PartitionProgress {
    next: i64,
    /// The offset to be reached before anything is announced; `None`: not known.
    goal: Option<i64>,
    /// The log's time of the message read last, ms.
    at: Millis,
    /// Since when the log has been known to have more than the position, ms; `None`: it has not.
    waiting_since: Option<Millis>,
    /// Whether no message has arrived for long although the log has some.
    is_stalled: bool,
}

impl PartitionProgress {
    fn reached_goal(&self) -> bool {
        self.goal.is_some_and(|goal| self.next >= goal)
    }

    /// Records an end of the log that was queried.
    fn observe_end(&mut self, end: i64, now: Millis) {
        if self.next >= end {
            self.waiting_since = None;
        } else {
            let since = *self.waiting_since.get_or_insert(now);
            let timeout = if self.reached_goal() { STALL_TIMEOUT } else { CATCH_UP_STALL_TIMEOUT };
            self.is_stalled |= now - since >= timeout;
        }
        if self.is_stalled || self.goal.is_none() {
            self.goal = Some(end);
        }
    }
}

impl ReplayProgress {
    /// No partition is known. The replay will begin at `start`, by the log's time (ms).
    pub(crate) fn new(start: Millis) -> Self {
        Self {
            partition_count: None,
            partitions: BTreeMap::new(),
            last_read_at: Millis::MIN,
            last_lag_check_at: Millis::MIN,
            start,
        }
    }

    /// Records the number of partitions and the known ends. Returns the partitions that can be read
    /// and are not read yet.
    pub(crate) fn observe_partitions(
        &mut self,
        partition_count: i32,
        ends: &[(i32, i64)],
        now: Millis,
    ) -> Vec<i32> {
        self.partition_count = Some(partition_count);
        let mut new = Vec::new();
        for (partition, end) in ends {
            match self.partitions.get_mut(partition) {
                Some(progress) => progress.observe_end(*end, now),
                None => new.push(*partition),
            }
        }
        new
    }

    /// Records that a partition is read from `next` on; its end is `goal`.
    pub(crate) fn start_partition(&mut self, partition: i32, next: i64, goal: i64, now: Millis) {
        let progress = PartitionProgress {
            next,
            goal: Some(goal),
            at: self.start,
            waiting_since: None,
            is_stalled: false,
        };
        self.partitions.insert(partition, progress);
        self.last_read_at = now;
    }

    /// Records new positions after a repair; the goals are unknown again.
    pub(crate) fn reset_positions(&mut self, positions: &BTreeMap<i32, i64>, now: Millis) {
        for (partition, progress) in &mut self.partitions {
            if let Some(next) = positions.get(partition) {
                progress.next = *next;
                progress.goal = None;
                progress.waiting_since = None;
                progress.is_stalled = false;
            }
        }
        self.last_read_at = now;
    }

    /// Records that a message was read, which the log stored at `at`.
    pub(crate) fn record_read(&mut self, partition: i32, offset: i64, at: Millis, now: Millis) {
        if let Some(progress) = self.partitions.get_mut(&partition) {
            progress.next = offset + 1;
            progress.at = at;
            progress.waiting_since = None;
            progress.is_stalled = false;
            self.last_read_at = now;
        }
    }

    /// Whether a message stored at `at` suggests that the reader has fallen behind, so that the
    /// ends must be queried.
    pub(crate) fn seems_late(&self, at: Millis, now: Millis) -> bool {
        !self.is_unread()
            && now - at > MAX_LAG
            && now.saturating_sub(self.last_lag_check_at) > LAG_CHECK_INTERVAL
    }

    /// Sets the goals to the ends that were queried; a partition without an answer has an unknown
    /// goal.
    pub(crate) fn set_goals(&mut self, ends: &[(i32, i64)], now: Millis) {
        self.last_lag_check_at = now;
        self.last_read_at = now;
        for (partition, progress) in &mut self.partitions {
            let end = ends.iter().find(|(seen, _)| seen == partition);
            progress.goal = end.map(|(_, end)| *end);
        }
    }

    /// Whether a part of the log must still be read before levels are true.
    pub(crate) fn is_unread(&self) -> bool {
        self.partitions.is_empty()
            || self.partitions.values().any(|progress| !progress.reached_goal())
    }

    /// Whether every partition is being read, as far as is known.
    pub(crate) fn is_complete(&self) -> bool {
        let read = i32::try_from(self.partitions.len()).unwrap_or(i32::MAX);
        self.partition_count.is_some_and(|count| read >= count)
            && self.partitions.values().all(|progress| progress.goal.is_some())
    }

    /// What may be announced now.
    pub(crate) fn stage(&self, now: Millis) -> ReplayStage {
        if self.partitions.is_empty() || self.partitions.values().any(|it| it.is_stalled) {
            return ReplayStage::Disconnected;
        }
        if self.is_unread() {
            return if now.saturating_sub(self.last_read_at) <= STUCK_TIMEOUT {
                ReplayStage::CatchingUp
            } else {
                ReplayStage::Disconnected
            };
        }
        if self.is_complete() { ReplayStage::Live } else { ReplayStage::Disconnected }
    }

    /// The log's time through which all partitions are read, ms; `None`: no partition is behind.
    pub(crate) fn read_to(&self) -> Option<Millis> {
        let behind = self.partitions.values().filter(|progress| !progress.reached_goal());
        behind.map(|progress| progress.at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Millis = 1_000;

    /// Two partitions, each with ten messages to be read.
    fn started() -> ReplayProgress {
        let mut progress = ReplayProgress::new(START);
        assert_eq!(progress.stage(0), ReplayStage::Disconnected);
        assert_eq!(progress.observe_partitions(2, &[(0, 10), (1, 10)], 0), [0, 1]);
        assert_eq!(progress.stage(0), ReplayStage::Disconnected);
        for partition in [0, 1] {
            progress.start_partition(partition, 0, 10, 0);
        }
        progress
    }

    fn read_to_the_end(progress: &mut ReplayProgress, now: Millis) {
        for partition in [0, 1] {
            progress.record_read(partition, 9, now, now);
        }
    }

    #[test]
    fn the_stage_is_live_after_every_partition_has_reached_its_goal() {
        let mut progress = started();
        assert_eq!(progress.stage(0), ReplayStage::CatchingUp);
        progress.record_read(0, 9, 50_000, 100);
        assert_eq!(progress.stage(100), ReplayStage::CatchingUp);
        progress.record_read(1, 8, 40_000, 100);
        assert_eq!(progress.stage(100), ReplayStage::CatchingUp);
        progress.record_read(1, 9, 50_000, 100);
        assert_eq!(progress.stage(100), ReplayStage::Live);
        assert!(!progress.is_unread());
    }

    #[test]
    fn a_stuck_replay_is_disconnected_until_it_moves() {
        let mut progress = started();
        progress.record_read(0, 3, 50_000, 100);
        assert_eq!(progress.stage(2_100), ReplayStage::CatchingUp);
        assert_eq!(progress.stage(2_101), ReplayStage::Disconnected);
        assert!(progress.is_unread());
        progress.record_read(0, 4, 50_000, 9_000);
        assert_eq!(progress.stage(9_000), ReplayStage::CatchingUp);
    }

    #[test]
    fn without_one_partition_the_others_are_read_and_the_stage_is_disconnected() {
        let mut progress = ReplayProgress::new(START);
        assert_eq!(progress.observe_partitions(2, &[(0, 10)], 0), [0]);
        progress.start_partition(0, 0, 10, 0);
        assert_eq!(progress.stage(0), ReplayStage::CatchingUp);
        progress.record_read(0, 9, 50_000, 0);
        assert_eq!(progress.stage(0), ReplayStage::Disconnected);
        assert!(!progress.is_unread());
        // Its leader is available again.
        assert_eq!(progress.observe_partitions(2, &[(0, 12), (1, 10)], 0), [1]);
        progress.start_partition(1, 0, 10, 5);
        assert_eq!(progress.stage(5), ReplayStage::CatchingUp);
        progress.record_read(1, 9, 50_000, 6);
        assert_eq!(progress.stage(6), ReplayStage::Live);
    }

    #[test]
    fn the_log_time_is_that_of_the_partition_furthest_behind() {
        let mut progress = started();
        assert_eq!(progress.read_to(), Some(START));
        progress.record_read(0, 3, 50_000, 0);
        assert_eq!(progress.read_to(), Some(START));
        progress.record_read(1, 3, 40_000, 0);
        assert_eq!(progress.read_to(), Some(40_000));
        // A partition that reached its goal does not count.
        progress.record_read(1, 9, 41_000, 0);
        assert_eq!(progress.read_to(), Some(50_000));
        read_to_the_end(&mut progress, 0);
        assert_eq!(progress.read_to(), None);
    }

    #[test]
    fn a_lag_returns_to_catching_up_and_a_clock_difference_does_not() {
        let mut progress = started();
        read_to_the_end(&mut progress, 100_000);
        assert!(!progress.seems_late(95_000, 100_000));
        assert!(progress.seems_late(94_999, 100_000));
        progress.set_goals(&[(0, 10), (1, 10)], 100_000);
        assert_eq!(progress.stage(100_000), ReplayStage::Live);
        assert!(!progress.seems_late(0, 101_000));
        assert!(progress.seems_late(0, 101_001));
        progress.set_goals(&[(0, 900), (1, 10)], 101_001);
        assert_eq!(progress.stage(101_001), ReplayStage::CatchingUp);
        progress.record_read(0, 899, 101_000, 101_500);
        assert_eq!(progress.stage(101_500), ReplayStage::Live);
        // An unknown end is not reached.
        progress.set_goals(&[(1, 10)], 200_000);
        assert_eq!(progress.stage(200_000), ReplayStage::CatchingUp);
        assert_eq!(progress.observe_partitions(2, &[(0, 900), (1, 10)], 0), Vec::<i32>::new());
        assert_eq!(progress.stage(200_000), ReplayStage::Live);
    }

    #[test]
    fn reset_positions_return_to_catching_up() {
        let mut progress = started();
        read_to_the_end(&mut progress, 100);
        progress.reset_positions(&BTreeMap::from([(0, 0), (1, 10)]), 200);
        assert_eq!(progress.stage(200), ReplayStage::CatchingUp);
        progress.observe_partitions(2, &[(0, 10), (1, 10)], 0);
        assert_eq!(progress.stage(200), ReplayStage::CatchingUp);
        progress.record_read(0, 9, 200, 300);
        assert_eq!(progress.stage(300), ReplayStage::Live);
    }

    #[test]
    fn a_live_partition_of_which_nothing_arrives_for_long_is_disconnected_until_something_does() {
        let mut progress = started();
        read_to_the_end(&mut progress, 0);
        let quiet = [(0, 10), (1, 10)];
        for now in [0, STALL_TIMEOUT, 10 * STALL_TIMEOUT] {
            progress.observe_partitions(2, &quiet, now);
            assert_eq!(progress.stage(now), ReplayStage::Live, "the log has no more");
        }
        let grown = [(0, 12), (1, 10)];
        progress.observe_partitions(2, &grown, 60_000);
        progress.observe_partitions(2, &grown, 60_000 + STALL_TIMEOUT - 1);
        assert_eq!(progress.stage(60_000 + STALL_TIMEOUT), ReplayStage::Live);
        progress.observe_partitions(2, &grown, 60_000 + STALL_TIMEOUT);
        assert_eq!(progress.stage(60_000 + STALL_TIMEOUT), ReplayStage::Disconnected);
        // Messages of the other partition change nothing.
        progress.record_read(1, 10, 66_000, 66_000);
        assert_eq!(progress.stage(66_000), ReplayStage::Disconnected);
        progress.record_read(0, 10, 66_000, 66_000);
        assert_eq!(progress.stage(66_000), ReplayStage::CatchingUp);
        progress.record_read(0, 11, 66_000, 66_000);
        assert_eq!(progress.stage(66_000), ReplayStage::Live);
    }

    #[test]
    fn a_partition_that_is_read_to_its_end_may_wait_longer_for_its_turn() {
        let mut progress = started();
        let ends = [(0, 10), (1, 10)];
        progress.observe_partitions(2, &ends, 0);
        progress.record_read(0, 3, 0, CATCH_UP_STALL_TIMEOUT - 1);
        progress.observe_partitions(2, &ends, CATCH_UP_STALL_TIMEOUT - 1);
        assert_eq!(progress.stage(CATCH_UP_STALL_TIMEOUT - 1), ReplayStage::CatchingUp);
        progress.observe_partitions(2, &ends, CATCH_UP_STALL_TIMEOUT);
        assert_eq!(progress.stage(CATCH_UP_STALL_TIMEOUT), ReplayStage::Disconnected);
    }
}
