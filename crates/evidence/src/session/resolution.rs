//! Resolves the sessions of a call: from the events of one call to its sessions and to the facts about
//! them.
//!
//! Event Grid names a `participantId` for each join, rosters name raw ids, clients name their
//! attachment and, if they know it, a `participantId`. [`resolve`] decides which of these are one
//! session, on the whole set of events at once, before the rules of evidence are applied:
//!
//! * A session is a participantId.
//! * An attachment that names a participantId belongs to its session if a participant event with this
//!   participantId names the person of the attachment's token, or if the token grants the
//!   participantId. Any other attachment belongs to the only participantId session of its person that
//!   is present at the attachment's first report, give or take five seconds; else it is a session of
//!   its own.
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
//! *An attachment belongs to one session.* If it names several participantIds of its person (the app
//! rejoined and kept its attachment), the first one in the order of its sequence decides, so that later
//! reports cannot move what earlier ones proved.
//!
//! *A person has several raw ids.* A Teams identity in the tenant's own app has two. The token lists
//! them, so that a participant event or a roster with either one names the person.
//!
//! *A claim is refused, not lost.* The reports of a client that names a participantId of another
//! participant count for a session of its own, which has the flag
//! [`ClaimRefused`](super::description::SessionFlag::ClaimRefused).
//!
//! *A conflict is resolved like a conflict of facts.* Of two events with one key and different contents,
//! the one whose JSON sorts first counts, and [`ResolvedSessions::conflicts`] contains the key.
//!
//! *The limits are constants, not settings.* The names of sessions are stored and must not depend on a
//! configuration.

use std::collections::{BTreeMap, BTreeSet};

use super::session_events::{ClientNames, SessionResolution};
use super::trust::CallTrust;
use crate::event::calling_event::{CallingEvent, ObservedEvent};
use crate::event::ids::Digest;
use crate::fact::kinds::Fact;
use crate::identity::placeholder::is_placeholder_raw_id;

pub use super::description::{AttachmentDescription, SessionDescription, SessionFlag};
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
    /// What the platform states about the call: who may speak.
    pub trust: CallTrust,
    /// By attachment and raw id.
    clients: BTreeMap<String, BTreeMap<String, ClientNames>>,
}

/// A client that reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client<'r> {
    /// Its attachment.
    pub(crate) attachment: &'r str,
    /// The raw id of its token.
    pub(crate) raw_id: &'r str,
    /// The reporter of its facts.
    pub(crate) reporter: &'r str,
}

impl ResolvedSessions {
    /// Adds the facts and sessions of statements about notices.
    pub fn add(&mut self, notices: AttributedFacts) {
        self.facts.extend(notices.facts);
        self.sessions.extend(notices.sessions);
        self.sessions.sort_unstable_by(|one, other| one.session.cmp(&other.session));
    }

    /// The session of the attachment of a participant; `None` before its first report.
    #[must_use]
    pub fn session_of(&self, attachment: &str, raw_id: &str) -> Option<&str> {
        self.clients.get(attachment)?.get(raw_id).map(|names| names.session.as_str())
    }

    /// The clients that reported, sorted by attachment and raw id.
    pub(crate) fn clients(&self) -> impl Iterator<Item = Client<'_>> {
        self.clients.iter().flat_map(|(attachment, of_attachment)| {
            let clients = of_attachment.iter();
            clients.map(|(raw_id, ClientNames { reporter, .. })| Client {
                attachment,
                raw_id,
                reporter,
            })
        })
    }

    /// Whether any participant reported with the attachment.
    #[must_use]
    pub fn has_reports(&self, attachment: &str) -> bool {
        self.clients.contains_key(attachment)
    }

    /// The session of a raw id that has exactly one session in the call. A stream without an attachment
    /// belongs to it.
    #[must_use]
    pub fn only_session_of(&self, raw_id: &str) -> Option<&str> {
        if is_placeholder_raw_id(raw_id) {
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
    let trust = CallTrust::of(&events);
    let resolution = SessionResolution::of(&events, &trust);
    ResolvedSessions {
        facts: super::facts::of(&events, &resolution),
        sessions: super::description::of(&resolution),
        conflicts: conflicts.into_iter().collect(),
        clients: resolution.clients(),
        trust,
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
