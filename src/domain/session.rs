//! Who is who: from the testimonies of one call to its sessions, and to the facts that name them.
//!
//! Event Grid names a `participantId` per join, rosters name raw ids, clients name their attachment
//! and, if they can, a `participantId`. [`resolve`] decides which of these are one session, on the
//! whole set at once, before the rules of evidence are asked:
//!
//! * a session is a participantId;
//! * an attachment that names one belongs to it; else to the one participantId session of its
//!   token's raw id that is present at its first report, `EDGE` more or less; else it is a session
//!   of its own;
//! * what rosters show is a session only where no other session of that raw id overlaps it.
//!
//! # Why
//!
//! *Everything is decided anew with every event.* A session's name and the facts that name it are a
//! function of the set of testimonies, so that no order of arrival can leave two sessions behind
//! where there is one. Whoever stores facts replaces those of a call, and whoever stores what a
//! client did stores the client's attachment, which outlives every change of mind.
//!
//! *An attachment that two sessions could own owns neither.* To guess would make the showing on one
//! device the proof that the other was told.
//!
//! *One attachment is in one session.* One that names several participantIds (its app rejoined and
//! kept it) is taken by the first that it names, in the order of its own count: later reports then
//! cannot move what earlier ones proved.
//!
//! *What the client says of its raw id is asserted.* An attachment that names a participantId
//! belongs to it even if Event Grid knows that one by another raw id (a Teams identity in our own
//! client has two); [`Trust`] tells whether the platform ever named the raw id of the token.
//!
//! *A conflict is settled like one of facts.* Of two events with one key and different contents the
//! one whose JSON sorts first counts, and the key is listed in [`Resolved::conflicts`].
//!
//! *Limits are no settings.* Names of sessions are stored; they must not move with a tuning.

mod attachment;
mod cast;
mod facts;
mod name;
mod roster;
mod stay;
mod who;

use std::collections::{BTreeMap, BTreeSet};

use super::calling_event::{CallingEvent, Testimony};
use super::fact::Fact;
use super::ids::Digest;
use super::instant::Millis;
use super::notice_fact::Attributed;
use cast::Cast;

pub use who::{AttachmentWho, SessionWho, Trust};

/// How far a client's first report may lie outside the presence of the session that it belongs to,
/// ms: `edge` of the evidence rules.
const EDGE: Millis = 5_000;

/// How long after its last report a client that did not take leave is still believed to be there,
/// ms: the default of `stale` of the evidence rules.
const BELIEVED_SILENT: Millis = 90_000;

/// What the testimonies of one call come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// What the rules of evidence fold, by id; each id once. The notice facts of the call are
    /// beside it: [`super::notice_fact::attribute`].
    pub facts: Vec<Fact>,
    /// Who the sessions are that the facts name, by name.
    pub sessions: Vec<SessionWho>,
    /// The keys under which different events came, sorted; one of each is in the facts.
    pub conflicts: Vec<Digest>,
    session_of: BTreeMap<String, String>,
}

impl Resolved {
    /// Adds what is said of notices.
    pub fn add(&mut self, notices: Attributed) {
        self.facts.extend(notices.facts);
        self.sessions.extend(notices.sessions);
        self.sessions
            .sort_unstable_by(|one, other| one.session.cmp(&other.session));
    }

    /// The session that a client's attachment belongs to; `None` before its first report.
    #[must_use]
    pub fn session_of(&self, attachment: &str) -> Option<&str> {
        self.session_of.get(attachment).map(String::as_str)
    }

    /// The session of a raw id, if it has exactly one in the call: whose a stream without an
    /// attachment is.
    #[must_use]
    pub fn only_session_of(&self, raw_id: &str) -> Option<&str> {
        if name::is_placeholder_raw_id(raw_id) {
            return None;
        }
        let mut sessions = self.sessions.iter().filter(|who| who.is_known_as(raw_id));
        match (sessions.next(), sessions.next()) {
            (Some(only), None) => Some(&only.session),
            _ => None,
        }
    }
}

/// The session of an attachment that never reported, and still speaks: one of its own.
#[must_use]
pub fn session_of_silent(attachment: &str) -> String {
    name::SessionKey::Attachment(attachment).to_string()
}

/// Turns the testimonies of one call into facts about its sessions. Any permutation of them, with
/// any of them doubled, gives the same answer.
#[must_use]
pub fn resolve<'t>(testimonies: impl IntoIterator<Item = &'t Testimony>) -> Resolved {
    let mut conflicts = BTreeSet::new();
    let testimonies = each_once(testimonies, &mut conflicts);
    let cast = Cast::of(&testimonies);
    Resolved {
        facts: facts::of(&testimonies, &cast),
        sessions: who::of(&cast),
        conflicts: conflicts.into_iter().collect(),
        session_of: cast.session_of(),
    }
}

/// One testimony per key, in the order of keys.
fn each_once<'t>(
    testimonies: impl IntoIterator<Item = &'t Testimony>,
    conflicts: &mut BTreeSet<Digest>,
) -> Vec<&'t Testimony> {
    let mut ordered: Vec<&Testimony> = testimonies.into_iter().collect();
    ordered.sort_unstable_by_key(|testimony| (testimony.id, testimony.t));
    let mut once: Vec<&Testimony> = Vec::with_capacity(ordered.len());
    for testimony in ordered {
        match once.last_mut() {
            Some(kept) if kept.id == testimony.id => {
                // The same event came again, later at the earliest: when it came first counts.
                if kept.event == testimony.event {
                    continue;
                }
                conflicts.insert(testimony.id);
                if rank(&testimony.event) < rank(&kept.event) {
                    *kept = testimony;
                }
            }
            _ => once.push(testimony),
        }
    }
    once
}

/// Which of two contents counts: by what a fold reads first, so that a board, which keeps nothing
/// else, decides as the ledger does.
fn rank(event: &CallingEvent) -> (String, String) {
    // Members in the order of their declaration: equal events are written alike, others are not.
    let written = |event: &CallingEvent| serde_json::to_string(event).unwrap_or_default();
    (written(&event.clone().lean()), written(event))
}

#[cfg(test)]
mod laws;
#[cfg(test)]
pub(in crate::domain) mod testimonies;
#[cfg(test)]
mod tests;
