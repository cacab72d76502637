//! What a follower has read and not appended yet, and the part of it that is appended next.
//!
//! # Why
//!
//! The messages of one partition are appended in their order, those of several in any order. A call with very
//! many messages is in one partition, and its transactions take long. So the few messages of the other
//! partitions come first, in a transaction of their own, also those that were read after the many.

use std::collections::BTreeMap;

use crate::ledger::append::decoded_message::{DecodedMessage, first_by_ids};

/// Minimum messages that are appended in several transactions for the sake of a few: a smaller number takes
/// little time.
const MIN_SEPARATE: usize = 500;
/// How many times as many messages as others the largest partition has, so that they come first by themselves.
const MANY_TIMES: usize = 8;

/// The messages that wait, each partition in the order of its log.
#[derive(Default)]
pub(super) struct Backlog(Vec<DecodedMessage>);

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what was read after the messages that wait.
    pub(super) fn add(&mut self, read: Vec<DecodedMessage>) {
        self.0.extend(read);
    }

    /// Forgets the messages of some partitions, which are read again if this follower still owns them.
    pub(super) fn forget(&mut self, is_forgotten: impl Fn(i32) -> bool) {
        self.0.retain(|message| !is_forgotten(message.partition));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes the messages that are appended next, at most `max`, which name at most `max_ids` different ids: those
    /// of the partitions with few, if one has very many.
    pub(super) fn take_part(&mut self, max: usize, max_ids: usize) -> Vec<DecodedMessage> {
        let mut numbers: BTreeMap<i32, usize> = BTreeMap::new();
        for message in &self.0 {
            *numbers.entry(message.partition).or_default() += 1;
        }
        let number_of = |message: &DecodedMessage| numbers.get(&message.partition).copied();
        self.0.sort_by_cached_key(|message| (number_of(message), message.partition));
        let max = match few_first(numbers.values().copied()) {
            0 => max,
            few => few.min(max),
        };
        let length = first_by_ids(self.0.get(..max).unwrap_or(&self.0), max_ids);
        let later = self.0.split_off(length);
        std::mem::replace(&mut self.0, later)
    }
}

/// How many messages come first by themselves, of partitions with these numbers of messages.
fn few_first(numbers: impl Iterator<Item = usize> + Clone) -> usize {
    let largest = numbers.clone().max().unwrap_or(0);
    if numbers.clone().sum::<usize>() < MIN_SEPARATE {
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
    fn partitions_with_similar_numbers_are_appended_together() {
        assert_eq!(few_first([500, 400, 90].into_iter()), 0);
        assert_eq!(few_first([500, 400, 60, 2].into_iter()), 62);
        assert_eq!(few_first([MIN_SEPARATE - 2, 1].into_iter()), 0);
        assert_eq!(few_first([].into_iter()), 0);
    }

    #[test]
    fn what_is_forgotten_is_not_appended() {
        let mut backlog = Backlog::default();
        backlog.add(vec![message(0, 1), message(1, 1), message(0, 2)]);
        backlog.forget(|partition| partition == 0);
        assert_eq!((backlog.len(), positions(&backlog.take_part(9, 1))), (1, vec![(1, 1)]));
    }
}
