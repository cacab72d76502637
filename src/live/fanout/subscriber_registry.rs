//! All subscribers of one tenant, and the indexes by which they are found.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use metrics::{Counter, counter};

use super::message::StreamMessage;
use super::subscriber::{SendOutcome, StreamSubscriber, SubscriberId, SubscriptionScope};
use crate::telemetry::names;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::Anchor;

#[derive(Default)]
pub(crate) struct SubscriberRegistry {
    subscribers: HashMap<SubscriberId, StreamSubscriber>,
    /// Subscribers of one call, by each anchor that may name it.
    by_anchor: HashMap<Anchor, BTreeSet<SubscriberId>>,
    by_person: HashMap<String, BTreeSet<SubscriberId>>,
    tenant_wide: BTreeSet<SubscriberId>,
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

    /// The subscribers whose scope names one of these anchors.
    pub(crate) fn by_anchors<'a>(
        &self,
        anchors: impl IntoIterator<Item = &'a Anchor>,
    ) -> BTreeSet<SubscriberId> {
        let named = anchors
            .into_iter()
            .filter_map(|anchor| self.by_anchor.get(anchor));
        named.flatten().copied().collect()
    }

    /// The subscribers to all calls of one of these persons.
    pub(crate) fn by_persons<'a>(
        &self,
        persons: impl IntoIterator<Item = &'a str>,
    ) -> BTreeSet<SubscriberId> {
        let of = persons
            .into_iter()
            .filter_map(|person| self.by_person.get(person));
        of.flatten().copied().collect()
    }

    pub(crate) fn tenant_wide(&self) -> &BTreeSet<SubscriberId> {
        &self.tenant_wide
    }

    pub(crate) fn add(&mut self, id: SubscriberId, subscriber: StreamSubscriber) {
        for anchor in subscriber.scope.one_call().into_iter().flatten() {
            self.by_anchor.entry(anchor).or_default().insert(id);
        }
        match &subscriber.scope {
            SubscriptionScope::Person(person) => {
                self.by_person.entry(person.clone()).or_default().insert(id);
            }
            SubscriptionScope::Everything => {
                self.tenant_wide.insert(id);
            }
            SubscriptionScope::Attachment { .. } | SubscriptionScope::Call { .. } => {}
        }
        self.subscribers.insert(id, subscriber);
    }

    pub(crate) fn remove(&mut self, id: SubscriberId) {
        let Some(subscriber) = self.subscribers.remove(&id) else {
            return;
        };
        for anchor in subscriber.scope.one_call().into_iter().flatten() {
            remove_from_index(&mut self.by_anchor, &anchor, id);
        }
        match &subscriber.scope {
            SubscriptionScope::Person(person) => remove_from_index(&mut self.by_person, person, id),
            SubscriptionScope::Everything => {
                self.tenant_wide.remove(&id);
            }
            SubscriptionScope::Attachment { .. } | SubscriptionScope::Call { .. } => {}
        }
    }

    /// Puts a message into a subscriber's queue. A subscriber that does not take it is removed.
    pub(crate) fn send(&mut self, id: SubscriberId, message: StreamMessage, now: Millis) -> bool {
        let Some(subscriber) = self.subscribers.get_mut(&id) else {
            return false;
        };
        let kind = message.kind.as_str();
        match subscriber.send(message, now) {
            SendOutcome::Queued => {
                let counted = self.sent.entry(kind);
                counted
                    .or_insert_with(|| counter!(names::NOTICES, "kind" => kind))
                    .increment(1);
                true
            }
            SendOutcome::Dropped { slow } => {
                if slow {
                    counter!(names::STREAMS_DROPPED).increment(1);
                }
                self.remove(id);
                false
            }
        }
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

fn remove_from_index<K: std::hash::Hash + Eq>(
    index: &mut HashMap<K, BTreeSet<SubscriberId>>,
    key: &K,
    id: SubscriberId,
) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}
