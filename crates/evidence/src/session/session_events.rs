//! Assigns the events of a call to its sessions.
//!
//! A participant event belongs to the session of its participantId. An attachment belongs to the
//! participantId that it names if [`SessionResolution::binds`] permits it, else to the participantId
//! session that [`owner`] finds, else to a session of its own. A presence on rosters belongs to the
//! sessions of its raw id that overlap it, else to a session of its own.
//!
//! # Why
//!
//! *A client speaks for its own participant only.* Any client with a token may name any participantId. A
//! report, a leaving or a consent for the session of another participant would count as that
//! participant's, so the platform or the grant of the token must say that the participantId is theirs.
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
use super::key::{SessionKey, participant_id};
use super::roster::{self, CountedRoster, RosterPresence};
use super::trust::CallTrust;
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
    /// A client names a participantId that is not its own.
    pub(super) has_refused_claim: bool,
    /// All raw ids that its participant has in any event.
    pub(super) raw_ids: BTreeSet<&'t str>,
    /// The roster presences of its participant while it is present.
    rosters: Vec<AssignedPresence<'t>>,
}

/// The names of the client of a participant in the facts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClientNames {
    /// The session.
    pub(super) session: String,
    /// The reporter.
    pub(super) reporter: String,
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
    pub(super) fn of(events: &[&'t ObservedEvent], trust: &CallTrust) -> Self {
        let rosters = roster::presences(events);
        let mut resolution = Self::of_participant_events(events);
        resolution.add_attachments(Attachment::all(events, trust), trust);
        let intervals = resolution.intervals(SessionEvents::interval);
        for (raw_id, presences) in rosters {
            let others = intervals.get(raw_id).map_or(&[][..], Vec::as_slice);
            resolution.add_rosters(raw_id, presences, others);
        }
        resolution
    }

    /// The clients that reported, by attachment and raw id.
    pub(super) fn clients(&self) -> BTreeMap<String, BTreeMap<String, ClientNames>> {
        let mut clients: BTreeMap<String, BTreeMap<String, ClientNames>> = BTreeMap::new();
        for (key, session) in &self.sessions {
            for attachment in &session.attachments {
                let of_attachment = clients.entry(attachment.id.to_owned()).or_default();
                let names =
                    ClientNames { session: key.to_string(), reporter: attachment.reporter() };
                of_attachment.insert(attachment.raw_id.to_owned(), names);
            }
        }
        clients
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
    fn add_attachments(&mut self, attachments: Vec<Attachment<'t>>, trust: &CallTrust) {
        // Where the platform names no participantId, it contradicts none that a participant of the call
        // names.
        let names_participant_ids = self.sessions.iter().any(|(key, session)| {
            matches!(key, SessionKey::Participant(_))
                && trust.names_any(session.raw_ids.iter().copied())
        });
        let mut bound = Vec::new();
        let mut unbound = Vec::new();
        for attachment in attachments {
            let (own, refused): (Vec<String>, Vec<String>) = attachment
                .claimed_participant_ids()
                .into_iter()
                .partition(|id| self.binds(&attachment, id));
            let is_refused =
                !refused.is_empty() && (names_participant_ids || is_stranger(&attachment, trust));
            match own.into_iter().next() {
                Some(id) => bound.push((SessionKey::Participant(id), attachment, is_refused)),
                None => unbound.push((attachment, is_refused)),
            }
        }
        // The assignment of an attachment must not depend on that of the others without a
        // participantId.
        for (key, attachment, is_refused) in bound {
            self.add_attachment(key, attachment, is_refused);
        }
        let candidates = self.intervals(SessionEvents::interval_of_participant);
        for (attachment, is_refused) in unbound {
            self.add_attachment(owner(&attachment, &candidates), attachment, is_refused);
        }
    }

    /// Whether the participantId that an attachment names is one of its participant: a participant
    /// event with this participantId names the participant, or the grant of a token names the
    /// participantId.
    fn binds(&self, attachment: &Attachment<'t>, participant_id: &str) -> bool {
        let session = self.sessions.get(&SessionKey::Participant(participant_id.to_owned()));
        let persons = attachment.persons();
        session.is_some_and(|session| session.is_named_as(&persons))
            || attachment.is_granted(participant_id)
    }

    fn add_attachment(
        &mut self,
        key: SessionKey<'t>,
        attachment: Attachment<'t>,
        is_refused: bool,
    ) {
        let session = self.sessions.entry(key).or_default();
        session.has_refused_claim |= is_refused;
        session.raw_ids.insert(attachment.raw_id);
        session.raw_ids.extend(attachment.persons());
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

/// Whether the platform names participants of the call, and not the one of the attachment.
fn is_stranger(attachment: &Attachment<'_>, trust: &CallTrust) -> bool {
    trust.names_a_participant() && !trust.names_any(attachment.persons())
}

/// The session of an attachment without a participantId of its own: the only candidate of its
/// participant that is present at its first report, else a session of its own.
fn owner<'t>(attachment: &Attachment<'t>, candidates: &PresenceIntervals<'t>) -> SessionKey<'t> {
    let own = attachment.own_session();
    let Some(first) = attachment.first_report() else {
        return own;
    };
    let persons = attachment.persons();
    let of_persons = persons.into_iter().filter_map(|raw_id| candidates.get(raw_id)).flatten();
    let near: BTreeSet<&SessionKey<'_>> = of_persons
        .filter(|(_, interval)| interval.is_near(first, MAX_EDGE))
        .map(|(key, _)| key)
        .collect();
    let mut near = near.into_iter();
    match (near.next(), near.next()) {
        (Some(only), None) => only.clone(),
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

    /// Whether a participant event of the session names one of these raw ids.
    fn is_named_as(&self, persons: &BTreeSet<&str>) -> bool {
        let changes = self.joins.iter().chain(&self.leaves);
        let mut participants = changes.filter_map(|it| it.change.participant.as_ref());
        participants.any(|participant| persons.contains(participant.raw_id.as_str()))
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
