//! Messages that PostgreSQL could not append alone: each delays its partition for seconds, and goes to
//! quarantine only if it is shown that the message is the cause.
//!
//! # Why
//!
//! Locks, memory or time that are missing say little about a message: another transaction may have
//! them, and give them back. So a message is tried again for minutes. If others are appended meanwhile
//! and it is not, the store is not the cause.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Minimum time for which a message is tried again before it may go to quarantine.
const MIN_TIME: Duration = Duration::from_secs(180);
/// Interval between the first two attempts; each further one is twice as long.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum interval between two attempts.
const MAX_INTERVAL: Duration = Duration::from_secs(10);

/// The message at the position of each delayed partition.
#[derive(Debug, Default)]
pub(super) struct DelayedMessages(BTreeMap<i32, DelayedMessage>);

#[derive(Debug)]
struct DelayedMessage {
    offset: i64,
    failed_first_at: Instant,
    failures: u32,
    /// How many batches the followers of the topic had appended when it failed last.
    appended: u64,
    /// When its partition is read again; `None`: it is read.
    resumes_at: Option<Instant>,
}

/// What follows when PostgreSQL could not append a single message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageFate {
    /// Its partition is not read for a while.
    Delayed,
    /// The message is the cause: it goes to quarantine.
    SetAside,
}

impl DelayedMessages {
    /// Notes that this message could not be appended. `appended` counts the batches that the followers
    /// of the topic have appended.
    pub(super) fn failed(
        &mut self,
        partition: i32,
        offset: i64,
        appended: u64,
        now: Instant,
    ) -> MessageFate {
        let delayed = self.0.entry(partition).or_insert(DelayedMessage {
            offset,
            failed_first_at: now,
            failures: 0,
            appended,
            resumes_at: None,
        });
        if delayed.offset != offset {
            *delayed = DelayedMessage { offset, failed_first_at: now, failures: 0, ..*delayed };
        }
        let lasts = now.saturating_duration_since(delayed.failed_first_at) >= MIN_TIME;
        if lasts && appended > delayed.appended {
            return MessageFate::SetAside;
        }
        let interval = FIRST_INTERVAL.saturating_mul(1 << delayed.failures.min(10));
        delayed.failures += 1;
        delayed.appended = appended;
        delayed.resumes_at = Some(now + interval.min(MAX_INTERVAL));
        MessageFate::Delayed
    }

    /// Whether this is a delayed message: it is tried alone, and before what follows it.
    pub(super) fn has(&self, partition: i32, offset: i64) -> bool {
        self.0.get(&partition).is_some_and(|delayed| delayed.offset == offset)
    }

    /// Whether the partition is not read now.
    pub(super) fn is_paused(&self, partition: i32) -> bool {
        self.0.get(&partition).is_some_and(|delayed| delayed.resumes_at.is_some())
    }

    /// The partitions that have to be read again now.
    pub(super) fn due(&self, now: Instant) -> Vec<i32> {
        let due = |delayed: &DelayedMessage| delayed.resumes_at.is_some_and(|at| at <= now);
        let partitions = self.0.iter().filter(|(_, delayed)| due(delayed));
        partitions.map(|(partition, _)| *partition).collect()
    }

    /// Notes that the partition is read again.
    pub(super) fn resumed(&mut self, partition: i32) {
        if let Some(delayed) = self.0.get_mut(&partition) {
            delayed.resumes_at = None;
        }
    }

    /// Notes that the position of the partition has moved to this offset.
    pub(super) fn moved(&mut self, partition: i32, next_offset: i64) {
        if self.0.get(&partition).is_some_and(|delayed| delayed.offset < next_offset) {
            self.0.remove(&partition);
        }
    }

    /// Forgets a partition that another follower reads now.
    pub(super) fn forget(&mut self, partition: i32) {
        self.0.remove(&partition);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Partition and offset of each.
    pub(super) fn positions(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        self.0.iter().map(|(partition, delayed)| (*partition, delayed.offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_delayed_for_longer_each_time_and_its_partition_is_not_read_meanwhile() {
        let (mut delayed, began) = (DelayedMessages::default(), Instant::now());
        let mut now = began;
        for seconds in [1, 2, 4, 8, 10, 10] {
            assert_eq!(delayed.failed(3, 7, 0, now), MessageFate::Delayed);
            assert!(delayed.has(3, 7) && delayed.is_paused(3));
            now += Duration::from_secs(seconds);
            assert!(delayed.due(now - Duration::from_millis(1)).is_empty());
            assert_eq!(delayed.due(now), [3]);
            delayed.resumed(3);
            assert_eq!((delayed.due(now), delayed.is_paused(3)), (Vec::new(), false));
        }
        delayed.moved(3, 7);
        assert!(delayed.has(3, 7));
        delayed.moved(3, 8);
        assert!(delayed.is_empty());
    }

    #[test]
    fn a_store_that_appends_nothing_sets_no_message_aside() {
        let (mut delayed, mut now) = (DelayedMessages::default(), Instant::now());
        for _ in 0..1_000 {
            assert_eq!(delayed.failed(0, 1, 42, now), MessageFate::Delayed);
            now += Duration::from_secs(10);
        }
    }

    #[test]
    fn a_message_is_set_aside_after_minutes_in_which_others_are_appended() {
        let (mut delayed, began) = (DelayedMessages::default(), Instant::now());
        assert_eq!(delayed.failed(0, 1, 1, began), MessageFate::Delayed);
        let later = began + MIN_TIME;
        assert_eq!(delayed.failed(0, 1, 9, later - Duration::from_secs(1)), MessageFate::Delayed);
        // None was appended since the last attempt: the store may be the cause again.
        assert_eq!(delayed.failed(0, 1, 9, later), MessageFate::Delayed);
        assert_eq!(delayed.failed(0, 1, 10, later), MessageFate::SetAside);
        // The next message of the partition has its own time.
        assert_eq!(delayed.failed(0, 2, 11, later), MessageFate::Delayed);
        assert_eq!(delayed.failed(0, 2, 12, later), MessageFate::Delayed);
    }
}
