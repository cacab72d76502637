//! Everybody who listens to calls of one tenant, and how they are found.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use metrics::{Counter, counter};

use super::listener::{Listener, ListenerId, Reach, Told};
use super::message::Message;
use crate::domain::alias::Anchor;
use crate::domain::instant::Millis;
use crate::telemetry::names;

#[derive(Default)]
pub(super) struct Audience {
    listeners: HashMap<ListenerId, Listener>,
    /// Listeners of one call, by every anchor that may name it.
    by_anchor: HashMap<Anchor, BTreeSet<ListenerId>>,
    by_person: HashMap<String, BTreeSet<ListenerId>>,
    of_everything: BTreeSet<ListenerId>,
    /// Messages by kind: looking a counter up costs more than the message.
    told: BTreeMap<&'static str, Counter>,
}

impl Audience {
    pub fn len(&self) -> usize {
        self.listeners.len()
    }

    pub fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    pub fn get(&self, id: ListenerId) -> Option<&Listener> {
        self.listeners.get(&id)
    }

    pub fn get_mut(&mut self, id: ListenerId) -> Option<&mut Listener> {
        self.listeners.get_mut(&id)
    }

    pub fn everybody(&self) -> Vec<ListenerId> {
        self.listeners.keys().copied().collect()
    }

    /// Those who named one of these anchors.
    pub fn at<'a>(&self, anchors: impl IntoIterator<Item = &'a Anchor>) -> BTreeSet<ListenerId> {
        let named = anchors
            .into_iter()
            .filter_map(|anchor| self.by_anchor.get(anchor));
        named.flatten().copied().collect()
    }

    /// Those who listen to all calls of one of these persons.
    pub fn of_persons<'a>(
        &self,
        persons: impl IntoIterator<Item = &'a str>,
    ) -> BTreeSet<ListenerId> {
        let of = persons
            .into_iter()
            .filter_map(|person| self.by_person.get(person));
        of.flatten().copied().collect()
    }

    pub fn of_everything(&self) -> &BTreeSet<ListenerId> {
        &self.of_everything
    }

    pub fn add(&mut self, id: ListenerId, listener: Listener) {
        for anchor in listener.reach.one_call().into_iter().flatten() {
            self.by_anchor.entry(anchor).or_default().insert(id);
        }
        match &listener.reach {
            Reach::Person(person) => {
                self.by_person.entry(person.clone()).or_default().insert(id);
            }
            Reach::Everything => {
                self.of_everything.insert(id);
            }
            Reach::Attachment { .. } | Reach::Call { .. } => {}
        }
        self.listeners.insert(id, listener);
    }

    pub fn remove(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.remove(&id) else {
            return;
        };
        for anchor in listener.reach.one_call().into_iter().flatten() {
            leave(&mut self.by_anchor, &anchor, id);
        }
        match &listener.reach {
            Reach::Person(person) => leave(&mut self.by_person, person, id),
            Reach::Everything => {
                self.of_everything.remove(&id);
            }
            Reach::Attachment { .. } | Reach::Call { .. } => {}
        }
    }

    /// Puts a message into a listener's queue. Whoever does not take it is dropped.
    pub fn tell(&mut self, id: ListenerId, message: Message, now: Millis) -> bool {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return false;
        };
        let kind = message.kind.as_str();
        match listener.tell(message, now) {
            Told::Queued => {
                let counted = self.told.entry(kind);
                counted
                    .or_insert_with(|| counter!(names::NOTICES, "kind" => kind))
                    .increment(1);
                true
            }
            Told::Dropped { slow } => {
                if slow {
                    counter!(names::STREAMS_DROPPED).increment(1);
                }
                self.remove(id);
                false
            }
        }
    }

    /// Everybody's queue ends.
    pub fn dismiss(&mut self) {
        *self = Self::default();
    }

    pub fn tell_everybody(&mut self, message: &Message, now: Millis) {
        for id in self.everybody() {
            self.tell(id, message.clone(), now);
        }
    }
}

fn leave<K: std::hash::Hash + Eq>(
    places: &mut HashMap<K, BTreeSet<ListenerId>>,
    place: &K,
    id: ListenerId,
) {
    if let Some(ids) = places.get_mut(place) {
        ids.remove(&id);
        if ids.is_empty() {
            places.remove(place);
        }
    }
}
