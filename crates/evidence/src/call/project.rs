//! From the observed events of a call to its snapshot. Live state, ledger and command line all use
//! this function, so they agree.

use std::collections::BTreeSet;

use super::outsider_level::{OutsiderLevel, outsider_levels};
use super::parameters::Parameters;
use super::snapshot::{CallSnapshot, call_snapshot};
use crate::event::calling_event::ObservedEvent;
use crate::event::instant::Millis;
use crate::notice::notice_fact::{self, NoticeFact};
use crate::report::flag::Flag;
use crate::session::resolution::{ResolvedSessions, SessionDescription, resolve};
use crate::session::trust::CallTrust;

/// A call at an instant, as its events show it.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectedCall {
    /// The sessions of the call, with the participants that they belong to.
    pub sessions: Vec<SessionDescription>,
    /// The snapshot: indications, captures, flags.
    pub snapshot: CallSnapshot,
    /// The attachments whose session is present in the open call. Before the snapshot's
    /// [`CallSnapshot::next_change`], a report of one of them that repeats its last one changes
    /// nothing. Empty if an event lies in the future.
    pub present_attachments: BTreeSet<String>,
    /// What the platform states about the call, by which the grade of a listener is determined.
    pub trust: CallTrust,
    /// The own levels of the clients of outsiders, sorted by attachment and raw id. Their streams state
    /// the stronger of the call's level and their own
    /// ([`Indications::strongest`](crate::notice::indication::Indications::strongest)). The snapshot's
    /// [`CallSnapshot::next_change`] includes their changes.
    pub outsiders: Vec<OutsiderLevel>,
}

/// Resolves the sessions of a call and computes its snapshot at `now` (Unix milliseconds) from its
/// events and notice facts. Neither order nor repetition matters (`ORDER_FREE`).
#[must_use]
pub fn project_call<'t>(
    events: impl IntoIterator<Item = &'t ObservedEvent>,
    notices: impl IntoIterator<Item = &'t NoticeFact>,
    now: Millis,
    parameters: &Parameters,
) -> ProjectedCall {
    let mut all_past = true;
    let events = events.into_iter().inspect(|event| all_past &= event.at <= now);
    let mut resolved = resolve(events);
    let attributed = notice_fact::attribute(&resolved, notices);
    resolved.add(attributed);
    let (outsiders, next_change) = outsider_levels(&resolved, now, parameters);
    let ResolvedSessions { facts, sessions, conflicts, trust, .. } = resolved;
    let mut snapshot = call_snapshot(&facts, now, parameters);
    snapshot.next_change = [snapshot.next_change, next_change].into_iter().flatten().min();
    snapshot.flags.extend(conflicts.iter().map(|key| Flag::Conflict(key.to_string())));
    // An event of the future takes part in session resolution already, but its facts do not count
    // yet: when they do, a repeated report may change something.
    let present_attachments =
        if all_past { present_attachments(&sessions, &snapshot) } else { BTreeSet::new() };
    ProjectedCall { sessions, snapshot, present_attachments, trust, outsiders }
}

fn present_attachments(
    sessions: &[SessionDescription],
    snapshot: &CallSnapshot,
) -> BTreeSet<String> {
    if snapshot.call.is_none_or(|call| call.ended_at.is_some()) {
        return BTreeSet::new();
    }
    let present: BTreeSet<&str> = snapshot
        .sessions
        .iter()
        .filter(|session| session.left_at.is_none())
        .map(|session| session.id.as_str())
        .collect();
    let (here, gone): (Vec<&SessionDescription>, Vec<&SessionDescription>) =
        sessions.iter().partition(|session| present.contains(session.session.as_str()));
    let attachments = |sessions: &[&SessionDescription]| -> BTreeSet<String> {
        let clients = sessions.iter().flat_map(|session| &session.attachments);
        clients.map(|client| client.attachment.clone()).collect()
    };
    // An attachment that two participants use may be in both.
    &attachments(&here) - &attachments(&gone)
}
