//! What a follower has read and not appended yet, and the part of it that is appended next.
//!
//! # Why
//!
//! The messages of one partition are appended in their order, those of several in any order. A call with very
//! many messages is in one partition, and its transactions take long. So the few messages of the other
//! partitions come first, in a transaction of their own, also those that were read after the many.
//!
//! The client library has one queue for all partitions, so the many would also fill that. A partition of which many
//! messages are left in the backlog, because others came first or a transaction could not take them all, is not read.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ledger::append::decoded_message::{DecodedMessage, first_by_ids};

/// Minimum messages that are appended in several transactions for the sake of a few: a smaller number takes
/// little time, unless their transactions turn out to be slow.
const MIN_SEPARATE: usize = 500;
/// Time of a transaction from which on the few messages are appended by themselves, however many there are in all.
const SLOW: Duration = Duration::from_millis(300);
/// How many times as many messages as others the largest partition has, so that they come first by themselves.
const MANY_TIMES: usize = 8;

/// The messages that wait, each partition in the order of its log.
#[derive(Default)]
pub(super) struct Backlog {
    messages: Vec<DecodedMessage>,
    /// The partitions that are not read now, and where their reading continues.
    paused: BTreeMap<i32, i64>,
    /// Whether the last part was one of few messages. Then the many have their turn, whatever was read since.
    had_few: bool,
    /// Whether the last part that was not one of few messages took long.
    is_slow: bool,
}

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Adds what was read after the messages that wait. What was read of a paused partition is read again.
    pub(super) fn add(&mut self, read: Vec<DecodedMessage>) {
        let paused = &self.paused;
        let added = read.into_iter().filter(|message| !paused.contains_key(&message.partition));
        self.messages.extend(added);
    }

    /// Forgets the messages of some partitions, which are read again if this follower still owns them.
    pub(super) fn forget(&mut self, is_forgotten: impl Fn(i32) -> bool) {
        self.messages.retain(|message| !is_forgotten(message.partition));
        self.paused.retain(|partition, _| !is_forgotten(*partition));
    }

    /// Forgets everything after a failure. A transaction that failed may have taken too long.
    pub(super) fn clear(&mut self) {
        *self = Self { is_slow: true, ..Self::default() };
    }

    /// Pauses the partition that has very many messages left and may be read, if there is one, and returns it: the
    /// caller stops to read it. `next` has the next offset of each partition that is read.
    pub(super) fn pause(&mut self, next: &BTreeMap<i32, i64>) -> Option<i32> {
        let numbers = self.numbers();
        let (partition, largest) = numbers.iter().max_by_key(|(_, number)| **number)?;
        let others = self.messages.len() - largest;
        if *largest < MIN_SEPARATE || others * MANY_TIMES > *largest {
            return None;
        }
        // Without another partition that is read nothing waits for it. What a paused one has is known.
        if next.len() < 2 || self.paused.contains_key(partition) {
            return None;
        }
        let offset = next.get(partition)?;
        self.paused.insert(*partition, *offset);
        Some(*partition)
    }

    /// The paused partitions that have few messages by now, and where they are read on.
    pub(super) fn resume(&mut self) -> Vec<(i32, i64)> {
        let numbers = self.numbers();
        let has_few =
            |partition: &i32| numbers.get(partition).copied().unwrap_or(0) < MIN_SEPARATE / 2;
        let resumed: Vec<(i32, i64)> =
            self.paused.iter().filter(|(it, _)| has_few(it)).map(|(it, at)| (*it, *at)).collect();
        self.paused.retain(|partition, _| !has_few(partition));
        resumed
    }

    /// How many messages of each partition wait.
    fn numbers(&self) -> BTreeMap<i32, usize> {
        let mut numbers = BTreeMap::new();
        for message in &self.messages {
            *numbers.entry(message.partition).or_default() += 1;
        }
        numbers
    }

    /// Takes the messages that are appended next, at most `max`, which name at most `max_ids` different ids: those
    /// of the partitions with few, if one has very many. Of two parts in succession, the many are in one at least.
    pub(super) fn take_part(&mut self, max: usize, max_ids: usize) -> Vec<DecodedMessage> {
        let numbers = self.numbers();
        let number_of = |message: &DecodedMessage| numbers.get(&message.partition).copied();
        self.messages.sort_by_cached_key(|message| (number_of(message), message.partition));
        let min = if self.is_slow { 0 } else { MIN_SEPARATE };
        let few = if self.had_few { 0 } else { few_first(numbers.values().copied(), min) };
        self.had_few = few > 0;
        let max = if self.had_few { few.min(max) } else { max };
        let length = first_by_ids(self.messages.get(..max).unwrap_or(&self.messages), max_ids);
        let later = self.messages.split_off(length);
        std::mem::replace(&mut self.messages, later)
    }

    /// Notes how long the transaction of the part took that was taken last.
    pub(super) fn took(&mut self, time: Duration) {
        if !self.had_few {
            self.is_slow = time >= SLOW;
        }
    }
}

/// How many messages come first by themselves, of partitions with these numbers of messages, if they are at least
/// `min` together.
fn few_first(numbers: impl Iterator<Item = usize> + Clone, min: usize) -> usize {
    let largest = numbers.clone().max().unwrap_or(0);
    if numbers.clone().sum::<usize>() < min {
        return 0;
    }
    numbers.filter(|number| number * MANY_TIMES <= largest).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::{ConsumedMessage, Topic};

    /// A message of no known form, which names no id.
    fn message(partition: i32, offset: i64) -> DecodedMessage {
        let consumed = ConsumedMessage { partition, offset, broker_time: 0, wire: None };
        DecodedMessage::of(Topic::Events, consumed)
    }

    fn positions(messages: &[DecodedMessage]) -> Vec<(i32, i64)> {
        messages.iter().map(|message| (message.partition, message.offset)).collect()
    }

    #[test]
    fn few_messages_come_before_very_many_also_if_they_were_read_later() {
        let mut backlog = Backlog::default();
        backlog.add((0..1_000).map(|offset| message(0, offset)).collect());
        backlog.add(vec![message(2, 7), message(1, 5), message(2, 8), message(0, 1_000)]);
        assert_eq!(positions(&backlog.take_part(900, 100)), [(1, 5), (2, 7), (2, 8)]);
        let many = positions(&backlog.take_part(900, 100));
        assert!(many.into_iter().eq((0..900).map(|offset| (0, offset))));
        let rest = positions(&backlog.take_part(900, 100));
        assert!(rest.into_iter().eq((900..=1_000).map(|offset| (0, offset))));
        assert!(backlog.is_empty());
    }

    #[test]
    fn very_many_messages_have_their_turn_though_few_others_arrive_all_the_time() {
        let mut backlog = Backlog::default();
        backlog.add((0..2_000).map(|offset| message(0, offset)).collect());
        for turn in 0..8 {
            backlog.add(vec![message(1, turn)]);
            backlog.take_part(500, 100);
        }
        // Four parts of 500, each with the one that was read just before.
        assert_eq!(backlog.len(), 2_000 - 4 * 499);
    }

    #[test]
    fn partitions_with_similar_numbers_are_appended_together() {
        assert_eq!(few_first([500, 400, 90].into_iter(), MIN_SEPARATE), 0);
        assert_eq!(few_first([500, 400, 60, 2].into_iter(), MIN_SEPARATE), 62);
        assert_eq!(few_first([MIN_SEPARATE - 2, 1].into_iter(), MIN_SEPARATE), 0);
        assert_eq!(few_first([].into_iter(), 0), 0);
    }

    #[test]
    fn a_few_come_first_before_not_so_many_whose_transactions_are_slow() {
        let mut backlog = Backlog::default();
        let read = |from| (from..from + 100).map(|offset| message(0, offset)).collect();
        backlog.add(read(0));
        backlog.add(vec![message(1, 0)]);
        assert_eq!(backlog.take_part(900, 100).len(), 101);
        backlog.took(SLOW);
        backlog.add(read(100));
        backlog.add(vec![message(1, 1)]);
        assert_eq!(backlog.take_part(900, 100).len(), 1);
        // The short time of the few says nothing about the many.
        backlog.took(Duration::ZERO);
        assert_eq!(backlog.take_part(900, 100).len(), 100);
        assert!(backlog.is_slow);
        backlog.took(Duration::ZERO);
        assert!(!backlog.is_slow);
    }

    #[test]
    fn a_partition_with_very_many_messages_is_not_read_until_it_has_few() {
        let next = BTreeMap::from([(0, 600), (1, 6)]);
        let mut backlog = Backlog::default();
        backlog.add((0..499).map(|offset| message(0, offset)).collect());
        assert_eq!(backlog.pause(&next), None);
        backlog.add((499..600).map(|offset| message(0, offset)).collect());
        backlog.add(vec![message(1, 5)]);
        assert_eq!(backlog.pause(&BTreeMap::from([(0, 600)])), None);
        assert_eq!(backlog.pause(&next), Some(0));
        // It is not read any more.
        assert_eq!(backlog.pause(&BTreeMap::from([(1, 6), (2, 7)])), None);
        backlog.add(vec![message(0, 600), message(2, 7)]);
        assert_eq!(positions(&backlog.take_part(900, 100)), [(1, 5), (2, 7)]);
        assert_eq!(backlog.take_part(300, 100).len(), 300);
        assert_eq!(backlog.resume(), []);
        assert_eq!(backlog.take_part(100, 100).len(), 100);
        assert_eq!(backlog.resume(), [(0, 600)]);
        assert_eq!((backlog.len(), backlog.resume()), (200, Vec::new()));
    }

    #[test]
    fn a_paused_partition_that_is_forgotten_is_not_read_on() {
        let mut backlog = Backlog::default();
        backlog.add((0..600).map(|offset| message(0, offset)).collect());
        assert_eq!(backlog.pause(&BTreeMap::from([(0, 600), (1, 0)])), Some(0));
        backlog.forget(|partition| partition == 0);
        assert_eq!((backlog.len(), backlog.resume()), (0, Vec::new()));
    }

    #[test]
    fn what_is_forgotten_is_not_appended() {
        let mut backlog = Backlog::default();
        backlog.add(vec![message(0, 1), message(1, 1), message(0, 2)]);
        backlog.forget(|partition| partition == 0);
        assert_eq!((backlog.len(), positions(&backlog.take_part(9, 1))), (1, vec![(1, 1)]));
    }
}
