//! How a client belongs to a call: what the platform states about the call, and the [`Witness`] of a
//! client by it.
//!
//! # Why
//!
//! *The answer is a function of the set of events.* A client is an outsider only as long as no event
//! of the platform names its participant. When a late event names it, all its reports count as if it
//! had been named at once (`ORDER_FREE`).
//!
//! *Only the platform states the ids of a call.* A client may state any group or meeting id, so a grant
//! that names it proves nothing about the call of the report. The serverCallId that a client states is
//! different: by it the report came into this call. A presumed end is no event of the platform: the
//! service made it from the ids that were known, which may be those of a client.

use std::collections::BTreeSet;

use crate::event::calling_event::{ObservedEvent, Participant, Statement};
use crate::fact::kinds::Witness;
use crate::identity::grant::{Grant, call_reference};
use crate::identity::placeholder::{is_placeholder, is_placeholder_raw_id};

/// What the platform states about a call: its participants and its ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallTrust {
    /// The raw ids that participant events and rosters name, without placeholders.
    persons: TextSet,
    /// The ids of the call, as [`call_reference`] writes them.
    ids: TextSet,
}

/// A sorted set of a few texts, in little memory: live state keeps one for each call of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct TextSet(Vec<Box<str>>);

impl TextSet {
    fn contains(&self, text: &str) -> bool {
        self.0.binary_search_by(|known| (**known).cmp(text)).is_ok()
    }

    /// The set of the texts of both.
    fn union(&self, other: &Self) -> Self {
        self.0.iter().chain(&other.0).map(|text| &**text).collect()
    }
}

impl<T: Into<Box<str>>> FromIterator<T> for TextSet {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut texts: Vec<Box<str>> = texts.into_iter().map(Into::into).collect();
        texts.sort_unstable();
        texts.dedup();
        texts.shrink_to_fit();
        Self(texts)
    }
}

impl CallTrust {
    /// What the platform states in the events of one call, each once.
    pub(super) fn of(events: &[&ObservedEvent]) -> Self {
        let mut persons = BTreeSet::new();
        let mut ids: BTreeSet<&str> = BTreeSet::new();
        for &observed in events {
            match &observed.event.statement {
                Statement::SessionJoined(change) | Statement::SessionLeft(change) => {
                    persons.extend(change.participant.iter().map(raw_id));
                }
                Statement::Roster(roster) => {
                    persons.extend(roster.participants.iter().map(raw_id));
                }
                Statement::CallStarted(started) => ids.extend(started.room_id.as_deref()),
                Statement::Report(_) => continue,
                Statement::CallEnded(ended) if ended.presumed => continue,
                _ => {}
            }
            let named = &observed.event.ids;
            let named = [&named.correlation_id, &named.server_call_id, &named.group_id];
            ids.extend(named.into_iter().flatten().map(String::as_str));
        }
        persons.retain(|raw_id| !is_placeholder_raw_id(raw_id));
        ids.retain(|id| !is_placeholder(id));
        Self {
            persons: persons.into_iter().collect(),
            ids: ids.into_iter().map(call_reference).collect(),
        }
    }

    /// Restores what the platform states from the texts of [`CallTrust::persons`] and
    /// [`CallTrust::ids`].
    #[must_use]
    pub fn from_texts(
        persons: impl IntoIterator<Item = String>,
        ids: impl IntoIterator<Item = String>,
    ) -> Self {
        Self { persons: persons.into_iter().collect(), ids: ids.into_iter().collect() }
    }

    /// The raw ids of the participants that participant events and rosters name.
    #[must_use]
    pub fn persons(&self) -> &[Box<str>] {
        &self.persons.0
    }

    /// The ids of the call, as [`call_reference`] writes them.
    #[must_use]
    pub fn ids(&self) -> &[Box<str>] {
        &self.ids.0
    }

    /// What the platform states in the events of two parts of one call.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self { persons: self.persons.union(&other.persons), ids: self.ids.union(&other.ids) }
    }

    /// Whether the platform names one of these raw ids.
    pub fn names_any<'p>(&self, persons: impl IntoIterator<Item = &'p str>) -> bool {
        // A set without placeholders contains none.
        persons.into_iter().any(|raw_id| self.persons.contains(raw_id))
    }

    /// Whether the platform names any participant of the call.
    #[must_use]
    pub fn names_a_participant(&self) -> bool {
        !self.persons.0.is_empty()
    }

    /// Whether a grant names the call by an id that the platform states.
    #[must_use]
    pub fn is_granted(&self, grant: &Grant) -> bool {
        grant.calls().iter().any(|call| self.ids.contains(call))
    }

    /// How a client belongs to the call. `persons` are the raw id of its token and the other raw ids of
    /// the same person; `server_call_ids` are those that the client itself states, in any form.
    pub fn witness_of<'p, 's>(
        &self,
        persons: impl IntoIterator<Item = &'p str>,
        grant: &Grant,
        server_call_ids: impl IntoIterator<Item = &'s str>,
    ) -> Witness {
        if self.names_any(persons) {
            return Witness::Platform;
        }
        let states_granted = || {
            let mut stated = server_call_ids.into_iter().map(call_reference);
            stated.any(|reference| grant.names_call(&reference))
        };
        if !grant.calls().is_empty() && (self.is_granted(grant) || states_granted()) {
            return Witness::Granted;
        }
        if self.names_a_participant() { Witness::Outsider } else { Witness::Asserted }
    }
}

fn raw_id(participant: &Participant) -> &str {
    &participant.raw_id
}
