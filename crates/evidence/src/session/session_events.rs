//! Assigns the events of a call to its sessions.
//!
//! A participant event belongs to the session of its participantId. An attachment belongs to the
//! participantId session that [`owner`] finds, else to a session of its own. A presence on rosters
//! belongs to the sessions of its raw id that overlap it, else to a session of its own.
//!
//! # Why
//!
//! *Rosters stand in for missing participant events.* If no participant event states the joining or
//! the leaving of a session, the roster's states it: a Teams meeting has no participant events at all,
//! and a session that only its client states would count as lost although the roster lists it. A
//! roster never overrules a participant event, which names the join itself.
//!
//! *A roster does not name devices.* It states the joining of a session only if the session is the only
//! one of its raw id at that time, because it does not state which of two devices joined. It states the
//! leaving of all sessions of the raw id, because a participant that is not listed is present on no
//! device. It states neither if an earlier or later roster presence contradicts it.

use std::collections::{BTreeMap, BTreeSet};

use super::attachment::{Attachment, ReportInstants};
use super::interval::PresenceInterval;
use super::key::{SessionKey, is_placeholder_raw_id, participant_id};
use super::roster::{self, CountedRoster, RosterPresence};
use crate::capture::span::Extent;
use crate::event::calling_event::{ObservedEvent, SessionStatement, Statement};
use crate::event::instant::Millis;

/// Maximum distance of a client's first report from the presence of the session that the client
/// belongs to, ms: `edge` of the rules of evidence.
const MAX_EDGE: Millis = 5_000;

/// Timeout after the last report of a client that did not leave, ms: the default of `stale` of the
/// rules of evidence.
const STALE_TIMEOUT: Millis = 90_000;

/// All sessions of a call with their events.
#[derive(Debug)]
pub(super) struct SessionResolution<'t> {
    /// The sessions by key.
    pub(super) sessions: BTreeMap<SessionKey<'t>, SessionEvents<'t>>,
}

/// By raw id: the sessions that have it, with the intervals in which they are present.
type PresenceIntervals<'t> = BTreeMap<&'t str, Vec<(SessionKey<'t>, PresenceInterval)>>;

/// The events of one session.
#[derive(Debug, Default)]
pub(super) struct SessionEvents<'t> {
    /// The participant events that state its joining.
    pub(super) joins: Vec<ParticipantEvent<'t>>,
    /// The participant events that state its leaving.
    pub(super) leaves: Vec<ParticipantEvent<'t>>,
    /// Its clients.
    pub(super) attachments: Vec<Attachment<'t>>,
    /// All raw ids that its participant has in any event.
    pub(super) raw_ids: BTreeSet<&'t str>,
    /// The roster presences of its participant while it is present.
    rosters: Vec<AssignedPresence<'t>>,
}

/// A participant event of Event Grid.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParticipantEvent<'t> {
    /// The event.
    pub(super) observed: &'t ObservedEvent,
    /// The statement of the event.
    pub(super) change: &'t SessionStatement,
}

/// A roster presence that belongs to a session.
#[derive(Clone, Copy, Debug)]
struct AssignedPresence<'t> {
    presence: RosterPresence<'t>,
    /// It belongs to no other session.
    is_exclusive: bool,
}

impl<'t> SessionResolution<'t> {
    /// Assigns the events of a call, each once, to sessions.
    pub(super) fn of(events: &[&'t ObservedEvent]) -> Self {
        let rosters = roster::presences(events);
        let mut resolution = Self::of_participant_events(events);
        resolution.add_attachments(Attachment::all(events));
        let intervals = resolution.intervals(SessionEvents::interval);
        for (raw_id, presences) in rosters {
            let others = intervals.get(raw_id).map_or(&[][..], Vec::as_slice);
            resolution.add_rosters(raw_id, presences, others);
        }
        resolution
    }

    /// The name of the session of each attachment.
    pub(super) fn session_of(&self) -> BTreeMap<String, String> {
        let sessions = self.sessions.iter();
        let attachments = sessions
            .flat_map(|(key, session)| session.attachments.iter().map(move |it| (it.id, key)));
        attachments.map(|(id, key)| (id.to_owned(), key.to_string())).collect()
    }

    /// The sessions that participant events name.
    fn of_participant_events(events: &[&'t ObservedEvent]) -> Self {
        let mut sessions = BTreeMap::<SessionKey<'_>, SessionEvents<'_>>::new();
        for &observed in events {
            let (change, joined) = match &observed.event.statement {
                Statement::SessionJoined(change) => (change, true),
                Statement::SessionLeft(change) => (change, false),
                _ => continue,
            };
            let raw_id = change.participant.as_ref().map(|participant| participant.raw_id.as_str());
            let key = match participant_id(&observed.event.ids) {
                Some(id) => SessionKey::Participant(id),
                None => SessionKey::RawId(raw_id.unwrap_or_default()),
            };
            let session = sessions.entry(key).or_default();
            let changes = if joined { &mut session.joins } else { &mut session.leaves };
            changes.push(ParticipantEvent { observed, change });
            session.raw_ids.extend(raw_id);
        }
        Self { sessions }
    }

    /// Assigns each attachment to a session.
    fn add_attachments(&mut self, attachments: Vec<Attachment<'t>>) {
        let mut without_participant_id = Vec::new();
        for attachment in attachments {
            match attachment.participant_id() {
                Some(id) => self.add_attachment(SessionKey::Participant(id), attachment),
                None => without_participant_id.push(attachment),
            }
        }
        // The candidates of an attachment must not depend on the assignment of the others.
        let candidates = self.intervals(SessionEvents::interval_of_participant);
        for attachment in without_participant_id {
            self.add_attachment(owner(&attachment, &candidates), attachment);
        }
    }

    fn add_attachment(&mut self, key: SessionKey<'t>, attachment: Attachment<'t>) {
        let session = self.sessions.entry(key).or_default();
        session.raw_ids.extend(attachment.raw_id());
        session.attachments.push(attachment);
    }

    /// Assigns the roster presences of a raw id. `others` are the sessions of the raw id by other
    /// events.
    fn add_rosters(
        &mut self,
        raw_id: &'t str,
        presences: Vec<RosterPresence<'t>>,
        others: &[(SessionKey<'t>, PresenceInterval)],
    ) {
        for presence in presences {
            let interval = presence.interval();
            let mut keys: Vec<SessionKey<'t>> = others
                .iter()
                .filter(|(_, other)| other.overlaps(interval))
                .map(|(key, _)| key.clone())
                .collect();
            if keys.is_empty() {
                keys.push(SessionKey::Roster(raw_id, presence.joined.counts_at));
            }
            let is_exclusive = keys.len() == 1;
            for key in keys {
                let session = self.sessions.entry(key).or_default();
                session.raw_ids.insert(raw_id);
                session.rosters.push(AssignedPresence { presence, is_exclusive });
            }
        }
    }

    /// The sessions of each raw id with their intervals.
    fn intervals(
        &self,
        interval: impl Fn(&SessionEvents<'t>) -> PresenceInterval,
    ) -> PresenceIntervals<'t> {
        let mut intervals = PresenceIntervals::new();
        for (key, session) in &self.sessions {
            let interval = interval(session);
            for &raw_id in &session.raw_ids {
                let of_raw_id = intervals.entry(raw_id).or_default();
                of_raw_id.push((key.clone(), interval));
            }
        }
        intervals
    }
}

/// The session of an attachment without a participantId: the only candidate of its raw id that is
/// present at its first report, else a session of its own.
fn owner<'t>(attachment: &Attachment<'t>, candidates: &PresenceIntervals<'t>) -> SessionKey<'t> {
    let own = SessionKey::Attachment(attachment.id);
    let raw_id = attachment.raw_id().filter(|raw_id| !is_placeholder_raw_id(raw_id));
    let (Some(raw_id), Some(first)) = (raw_id, attachment.first_report()) else {
        return own;
    };
    let of_raw_id = candidates.get(raw_id).into_iter().flatten();
    let mut near = of_raw_id.filter(|(_, interval)| interval.is_near(first, MAX_EDGE));
    match (near.next(), near.next()) {
        (Some((only, _)), None) => only.clone(),
        _ => own,
    }
}

impl<'t> SessionEvents<'t> {
    /// The interval of the session by its participant events; by its reports if it has none.
    fn interval_of_participant(&self) -> PresenceInterval {
        if self.joins.is_empty() && self.leaves.is_empty() {
            return self.interval();
        }
        let (joined, left) = (extent(&self.joins), extent(&self.leaves));
        PresenceInterval::new(joined.first, left.last.filter(|_| joined.last <= left.last))
    }

    /// The interval of the session by all events except rosters. As in the rules of evidence, a later
    /// joining or report makes a leaving void, and a session that only its client states is lost
    /// [`STALE_TIMEOUT`] after its last report.
    fn interval(&self) -> PresenceInterval {
        let (joined, left) = (extent(&self.joins), extent(&self.leaves));
        let reports = ReportInstants::of(&self.attachments);
        let first = match (joined.first, left.first) {
            // The event of the joining is missing, so the first report does not state the joining.
            (None, Some(_)) => None,
            _ => [joined.first, reports.all.first].into_iter().flatten().min(),
        };
        let stated = left.last.max(reports.leaving.last);
        let stayed = joined.last.max(reports.staying.last);
        let has_other_source = joined.first.is_some() || left.first.is_some();
        let last_report = reports.all.last.filter(|_| !has_other_source);
        let lost = last_report.map(|last| last.saturating_add(STALE_TIMEOUT));
        PresenceInterval::new(first, stated.filter(|_| stayed <= stated).or(lost))
    }

    /// The roster presence whose start states the joining, if no participant event does.
    pub(super) fn joined_by_roster(&self) -> Option<RosterPresence<'t>> {
        let start = |it: &&AssignedPresence<'_>| it.presence.joined.counts_at;
        let first = self.rosters.iter().min_by_key(start)?;
        (self.joins.is_empty() && first.is_exclusive).then_some(first.presence)
    }

    /// The roster that states the leaving, if no participant event does.
    pub(super) fn left_by_roster(&self) -> Option<CountedRoster<'t>> {
        let end = |it: &&AssignedPresence<'_>| {
            it.presence.left.map_or(Millis::MAX, |left| left.counts_at)
        };
        let last = self.rosters.iter().max_by_key(end)?;
        last.presence.left.filter(|_| self.leaves.is_empty())
    }

    /// Whether a participant event or a roster of the session names the raw id.
    pub(super) fn platform_names(&self, raw_id: &str) -> bool {
        let changes = self.joins.iter().chain(&self.leaves);
        let mut in_events = changes.filter_map(|it| it.change.participant.as_ref());
        in_events.any(|participant| participant.raw_id == raw_id)
            || self.roster_presences().any(|presence| presence.participant.raw_id == raw_id)
    }

    /// The roster presences of the participant while the session is present.
    pub(super) fn roster_presences(&self) -> impl Iterator<Item = RosterPresence<'t>> {
        self.rosters.iter().map(|it| it.presence)
    }
}

fn extent(changes: &[ParticipantEvent<'_>]) -> Extent {
    let mut extent = Extent::default();
    changes.iter().for_each(|it| extent.add(it.observed.at));
    extent
}
