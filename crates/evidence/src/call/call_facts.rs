//! The stored entries of one call, and which of them an earlier verdict version was computed from.
//!
//! # Why
//!
//! *A verdict version names its facts by a revision.* Facts are only added. So the anchors of the
//! call and the [`Revision`] of the store at the time of reading determine the facts exactly, and
//! no copy of them is kept with each version.

use std::collections::BTreeSet;

use crate::event::calling_event::ObservedEvent;
use crate::event::instant::Millis;
use crate::notice::notice_fact::{self, NoticeFact};
use crate::session::resolution::{ResolvedSessions, resolve};

/// The number of a write to the store. All entries of one write become visible together.
pub type WriteId = i64;

/// A consistent state of the store, as one reader saw it. The store implements it; the rules only
/// ask which writes it includes.
pub trait Revision {
    /// Whether the revision includes this write.
    fn includes(&self, write: WriteId) -> bool;
}

/// One stored entry of a call: an [`ObservedEvent`] or a [`NoticeFact`].
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEntry<C> {
    /// The anchor under which it was appended.
    pub anchor: String,
    /// The write that appended it.
    pub write: WriteId,
    /// Earlier values of its instant (Unix milliseconds), each with the write that replaced it by
    /// that of an earlier copy, in the order of the writes.
    pub previous_times: Vec<(WriteId, Millis)>,
    /// The event or notice fact.
    pub content: C,
}

impl<C: Clone> StoredEntry<C> {
    /// The entry as it was at a revision; `time` is the instant of its content.
    fn at_revision(
        &self,
        revision: &impl Revision,
        anchors: &BTreeSet<&str>,
        time: fn(&mut C) -> &mut Millis,
    ) -> Option<Self> {
        if !anchors.contains(self.anchor.as_str()) || !revision.includes(self.write) {
            return None;
        }
        let mut entry = self.clone();
        // The first change that the revision does not include holds the value before it.
        let mut previous = self.previous_times.iter();
        if let Some((_, at)) = previous.find(|(write, _)| !revision.includes(*write)) {
            *time(&mut entry.content) = *at;
        }
        Some(entry)
    }
}

/// The stored entries of one call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallFacts {
    /// The observed events.
    pub events: Vec<StoredEntry<ObservedEvent>>,
    /// The notice facts.
    pub notices: Vec<StoredEntry<NoticeFact>>,
}

impl CallFacts {
    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len() + self.notices.len()
    }

    /// Whether it has no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The anchors under which its entries were appended.
    #[must_use]
    pub fn anchors(&self) -> BTreeSet<&str> {
        let events = self.events.iter().map(|entry| entry.anchor.as_str());
        let notices = self.notices.iter().map(|entry| entry.anchor.as_str());
        events.chain(notices).collect()
    }

    /// The entries under these anchors, as they were at a revision.
    #[must_use]
    pub fn at_revision(&self, revision: &impl Revision, anchors: &BTreeSet<&str>) -> Self {
        let events = self.events.iter();
        let notices = self.notices.iter();
        Self {
            events: events
                .filter_map(|entry| entry.at_revision(revision, anchors, |event| &mut event.at))
                .collect(),
            notices: notices
                .filter_map(|entry| entry.at_revision(revision, anchors, |notice| &mut notice.at))
                .collect(),
        }
    }

    /// Adds the entries of another one.
    pub fn extend(&mut self, other: Self) {
        self.events.extend(other.events);
        self.notices.extend(other.notices);
    }

    /// The observed events.
    pub fn events(&self) -> impl Iterator<Item = &ObservedEvent> {
        self.events.iter().map(|entry| &entry.content)
    }

    /// The instants until which its events and notice facts show that it goes on (Unix milliseconds).
    pub fn instants(&self) -> impl Iterator<Item = Millis> {
        let notices = self.notices.iter().map(|entry| entry.content.at);
        self.events().map(ObservedEvent::last_sign_at).chain(notices)
    }

    /// The sessions of the call, and the facts that the rules of evidence evaluate.
    #[must_use]
    pub fn resolved(&self) -> ResolvedSessions {
        let mut resolved = resolve(self.events());
        let notices = self.notices.iter().map(|entry| &entry.content);
        let attributed = notice_fact::attribute(&resolved, notices);
        resolved.add(attributed);
        resolved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::calling_event::{CallStarted, CallingEvent, Statement};
    use crate::event::ids::{Digest, Ids};

    /// A revision that includes all writes up to one.
    struct UpTo(WriteId);

    impl Revision for UpTo {
        fn includes(&self, write: WriteId) -> bool {
            write <= self.0
        }
    }

    fn entry(
        write: WriteId,
        t: Millis,
        previous: &[(WriteId, Millis)],
    ) -> StoredEntry<ObservedEvent> {
        let event = CallingEvent {
            statement: Statement::CallStarted(CallStarted {
                started_by: None,
                is_two_party: None,
                is_rooms_call: None,
                room_id: None,
            }),
            ids: Ids::default(),
            source_type: "test".to_owned(),
            generation: None,
            redacted: Vec::new(),
            flagged: Vec::new(),
        };
        StoredEntry {
            anchor: "here".to_owned(),
            write,
            previous_times: previous.to_vec(),
            content: ObservedEvent::new(Digest::of(&write.to_be_bytes()), t, event),
        }
    }

    fn instants(call_facts: &CallFacts, revision: &UpTo, anchor: &str) -> Vec<Millis> {
        let seen = call_facts.at_revision(revision, &BTreeSet::from([anchor]));
        seen.instants().collect()
    }

    #[test]
    fn a_revision_has_the_entries_of_its_writes_under_the_given_anchors() {
        let call_facts = CallFacts {
            events: [(5, 50), (7, 70), (12, 120)].map(|(write, t)| entry(write, t, &[])).to_vec(),
            notices: Vec::new(),
        };
        assert_eq!(instants(&call_facts, &UpTo(7), "here"), [50, 70]);
        assert_eq!(instants(&call_facts, &UpTo(12), "here"), [50, 70, 120]);
        assert_eq!(instants(&call_facts, &UpTo(12), "elsewhere"), [] as [Millis; 0]);
    }

    #[test]
    fn a_revision_has_the_instant_before_an_earlier_copy_arrived() {
        let call_facts =
            CallFacts { events: vec![entry(5, 10, &[(8, 30), (11, 20)])], notices: Vec::new() };
        for (last_write, t) in [(6, 30), (8, 20), (9, 20), (12, 10)] {
            assert_eq!(instants(&call_facts, &UpTo(last_write), "here"), [t]);
        }
    }
}
