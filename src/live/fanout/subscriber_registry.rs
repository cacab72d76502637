//! All subscribers of one tenant, and the indexes by which they are found.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use metrics::{Counter, counter};

use super::message::{SeenLevel, StreamMessage};
use super::queue::NotQueued;
use super::subscriber::{StreamSubscriber, SubscriberId, SubscriptionScope};
use super::subscriber_set::SubscriberSet;
use crate::telemetry::names;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::Anchor;

/// By what a subscriber is found: its scope names it.
#[derive(PartialEq, Eq, Hash)]
pub(crate) enum SubscriberKey {
    /// An anchor that may name the one call of the scope.
    Call(Anchor),
    Person(String),
    Everything,
}

impl SubscriberKey {
    fn all_of(scope: &SubscriptionScope) -> Vec<Self> {
        match scope {
            SubscriptionScope::Person { subject, .. } => {
                vec![Self::Person(subject.raw_id.clone())]
            }
            SubscriptionScope::Everything => vec![Self::Everything],
            SubscriptionScope::Attachment { .. } | SubscriptionScope::Call { .. } => {
                scope.one_call().into_iter().flatten().map(Self::Call).collect()
            }
        }
    }
}

#[derive(Default)]
pub(crate) struct SubscriberRegistry {
    subscribers: HashMap<SubscriberId, StreamSubscriber>,
    by_key: HashMap<SubscriberKey, SubscriberSet>,
    /// Counters of sent messages by kind: looking a counter up costs more than sending the message.
    sent: BTreeMap<&'static str, Counter>,
}

impl SubscriberRegistry {
    pub(crate) fn len(&self) -> usize {
        self.subscribers.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
    }

    pub(crate) fn get(&self, id: SubscriberId) -> Option<&StreamSubscriber> {
        self.subscribers.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: SubscriberId) -> Option<&mut StreamSubscriber> {
        self.subscribers.get_mut(&id)
    }

    pub(crate) fn ids(&self) -> Vec<SubscriberId> {
        self.subscribers.keys().copied().collect()
    }

    /// The subscribers whose scope has one of these keys.
    pub(crate) fn find(
        &self,
        keys: impl IntoIterator<Item = SubscriberKey>,
    ) -> BTreeSet<SubscriberId> {
        let found = keys.into_iter().filter_map(|key| self.by_key.get(&key));
        found.flat_map(SubscriberSet::iter).collect()
    }

    pub(crate) fn add(&mut self, id: SubscriberId, subscriber: StreamSubscriber) {
        for key in SubscriberKey::all_of(&subscriber.scope) {
            let of_key = self.by_key.entry(key);
            of_key.and_modify(|ids| ids.insert(id)).or_insert(SubscriberSet::One(id));
        }
        self.subscribers.insert(id, subscriber);
    }

    pub(crate) fn remove(&mut self, id: SubscriberId) {
        let Some(subscriber) = self.subscribers.remove(&id) else {
            return;
        };
        for key in SubscriberKey::all_of(&subscriber.scope) {
            if let Some((key, ids)) = self.by_key.remove_entry(&key)
                && let Some(ids) = ids.without(id)
            {
                self.by_key.insert(key, ids);
            }
        }
    }

    /// Sends the level of a call to a subscriber, and keeps it as the one stated last. `None`: the
    /// call is unknown. Returns false if the subscriber did not take it.
    pub(crate) fn state(
        &mut self,
        id: SubscriberId,
        message: StreamMessage,
        call: Option<&Anchor>,
        level: SeenLevel,
        now: Millis,
    ) -> bool {
        let told = message.call.clone();
        let is_sent = self.send(id, message, now);
        if let Some(subscriber) = self.subscribers.get_mut(&id) {
            subscriber.set_stated(call, told.as_ref(), level);
        }
        is_sent
    }

    /// Puts a message into a subscriber's queue. A subscriber that does not take it is removed.
    pub(crate) fn send(&mut self, id: SubscriberId, message: StreamMessage, now: Millis) -> bool {
        let Some(subscriber) = self.subscribers.get_mut(&id) else {
            return false;
        };
        let kind = message.kind.as_str();
        match subscriber.send(message, now) {
            Ok(()) => {
                self.count_sent(kind);
                true
            }
            Err(reason) => {
                if reason == NotQueued::Full {
                    counter!(names::STREAMS_DROPPED).increment(1);
                }
                self.remove(id);
                false
            }
        }
    }

    /// Counts a message of this kind.
    pub(crate) fn count_sent(&mut self, kind: &'static str) {
        let counted = self.sent.entry(kind);
        counted.or_insert_with(|| counter!(names::NOTICES, "kind" => kind)).increment(1);
    }

    /// Removes all subscribers, which ends their queues.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn broadcast(&mut self, message: &StreamMessage, now: Millis) {
        for id in self.ids() {
            self.send(id, message.clone(), now);
        }
    }
}
