//! Resolves the sessions of a call: from the events of one call to its sessions and to the facts about
//! them.
//!
//! Event Grid names a `participantId` for each join, rosters name raw ids, clients name their
//! attachment and, if they know it, a `participantId`. [`resolve`] decides which of these are one
//! session, on the whole set of events at once, before the rules of evidence are applied:
//!
//! * A session is a participantId.
//! * An attachment that names a participantId belongs to its session. Any other attachment belongs to
//!   the only participantId session of its token's raw id that is present at the attachment's first
//!   report, give or take five seconds; else it is a session of its own.
//! * A roster presence is a session of its own only if no other session of the raw id overlaps it.
//!
//! # Why
//!
//! *The resolution is computed anew with each event.* The name of a session and the facts about it are
//! a function of the set of events, so no order of arrival leaves two sessions where there is one
//! (`ORDER_FREE`). A module that stores facts replaces all facts of the call; a module that stores an
//! action of a client stores the client's attachment, which never changes.
//!
//! *An attachment that could belong to two sessions belongs to neither.* A guess would make a notice
//! shown on one device the proof that the other device showed it.
//!
//! *An attachment belongs to one session.* If it names several participantIds (the app rejoined and
//! kept its attachment), the first one in the order of its sequence decides, so that later reports
//! cannot move what earlier ones proved.
//!
//! *The raw id of a client is asserted.* An attachment that names a participantId belongs to its session
//! even if Event Grid states another raw id for it: a Teams identity in the tenant's own app has two.
//! [`Trust`] states whether the platform named the raw id of the token in the session.
//!
//! *A conflict is resolved like a conflict of facts.* Of two events with one key and different contents,
//! the one whose JSON sorts first counts, and [`ResolvedSessions::conflicts`] contains the key.
//!
//! *The limits are constants, not settings.* The names of sessions are stored and must not depend on a
//! configuration.

use std::collections::{BTreeMap, BTreeSet};

use super::session_events::SessionResolution;
use crate::event::calling_event::{CallingEvent, ObservedEvent};
use crate::event::ids::Digest;
use crate::fact::kinds::Fact;

pub use super::description::{AttachmentDescription, SessionDescription, Trust};
pub use super::key::session_of_attachment;

/// The facts and sessions that statements about notices add to a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttributedFacts {
    /// The facts of the statements that belong to a session.
    pub facts: Vec<Fact>,
    /// The sessions of these facts that no other event states, sorted by name.
    pub sessions: Vec<SessionDescription>,
}

/// The sessions of one call, and the facts about the call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResolvedSessions {
    /// The facts that the rules of evidence read, sorted by id; each id once. They do not contain the
    /// notice facts of the call: see [`crate::notice::notice_fact::attribute`].
    pub facts: Vec<Fact>,
    /// The sessions that the facts name, sorted by name.
    pub sessions: Vec<SessionDescription>,
    /// The keys that several different events have, sorted. The facts contain one event of each key.
    pub conflicts: Vec<Digest>,
    session_of: BTreeMap<String, String>,
}

impl ResolvedSessions {
    /// Adds the facts and sessions of statements about notices.
    pub fn add(&mut self, notices: AttributedFacts) {
        self.facts.extend(notices.facts);
        self.sessions.extend(notices.sessions);
        self.sessions.sort_unstable_by(|one, other| one.session.cmp(&other.session));
    }

    /// The session of an attachment; `None` before its first report.
    #[must_use]
    pub fn session_of(&self, attachment: &str) -> Option<&str> {
        self.session_of.get(attachment).map(String::as_str)
    }

    /// The session of a raw id that has exactly one session in the call. A stream without an attachment
    /// belongs to it.
    #[must_use]
    pub fn only_session_of(&self, raw_id: &str) -> Option<&str> {
        if super::key::is_placeholder_raw_id(raw_id) {
            return None;
        }
        let mut sessions = self.sessions.iter().filter(|it| it.has_raw_id(raw_id));
        match (sessions.next(), sessions.next()) {
            (Some(only), None) => Some(&only.session),
            _ => None,
        }
    }
}

/// Resolves the sessions of one call. The result does not depend on the order or the repetition of
/// events.
#[must_use]
pub fn resolve<'t>(events: impl IntoIterator<Item = &'t ObservedEvent>) -> ResolvedSessions {
    let mut conflicts = BTreeSet::new();
    let events = each_once(events, &mut conflicts);
    let resolution = SessionResolution::of(&events);
    ResolvedSessions {
        facts: super::facts::of(&events, &resolution),
        sessions: super::description::of(&resolution),
        conflicts: conflicts.into_iter().collect(),
        session_of: resolution.session_of(),
    }
}

/// One event for each key, in the order of keys.
fn each_once<'t>(
    events: impl IntoIterator<Item = &'t ObservedEvent>,
    conflicts: &mut BTreeSet<Digest>,
) -> Vec<&'t ObservedEvent> {
    let mut ordered: Vec<&ObservedEvent> = events.into_iter().collect();
    ordered.sort_unstable_by_key(|observed| (observed.id, observed.at));
    ordered.dedup_by(|later, kept| {
        if later.id != kept.id {
            return false;
        }
        // If the same event arrived again, its earliest instant counts.
        if later.event != kept.event {
            conflicts.insert(kept.id);
            if rank(&later.event) < rank(&kept.event) {
                *kept = later;
            }
        }
        true
    });
    ordered
}

/// The order of different events with one key. It compares what the projection reads first, so that
/// the live state, which stores nothing else, selects the same event as the ledger.
fn rank(event: &CallingEvent) -> (String, String) {
    // The members have the order of their declaration, so equal events have equal JSON.
    let json = |event: &CallingEvent| serde_json::to_string(event).unwrap_or_default();
    (json(&event.clone().for_projection()), json(event))
}

#[cfg(test)]
mod tests;
