//! The cast of a call: its sessions, and what of the testimonies belongs to each.
//!
//! # Why
//!
//! What a roster shows of a session that is known otherwise is not thrown away: where no participant
//! event told of the joining or of the leaving, the roster's stands in (a Teams meeting has no
//! participant events at all, and a session that only its client vouches for would count as lost
//! although the roster shows it). It never overrules a participant event, which names the join
//! itself. A joining is taken over only if the session is the only one of its raw id then, for a
//! roster does not tell which of two devices came; a leaving by all of them, for whom a roster no
//! longer shows is there on no device; neither if an earlier or later presence leaves it in doubt.

use std::collections::{BTreeMap, BTreeSet};

use super::attachment::{Attachment, Signs};
use super::name::{SessionKey, is_placeholder_raw_id, participant_id};
use super::roster::{self, RosterPresence, Sighting};
use super::stay::Stay;
use super::{BELIEVED_SILENT, EDGE};
use crate::domain::calling_event::{SessionMoved, Statement, Testimony};
use crate::domain::instant::Millis;
use crate::domain::span::Extent;

/// All sessions of a call.
#[derive(Debug)]
pub struct Cast<'t> {
    /// By key.
    pub sessions: BTreeMap<SessionKey<'t>, Session<'t>>,
}

/// By raw id: when its sessions are there.
type Stays<'t> = BTreeMap<&'t str, Vec<(SessionKey<'t>, Stay)>>;

/// One session, with what belongs to it.
#[derive(Debug, Default)]
pub struct Session<'t> {
    /// Participant events that tell of its joining.
    pub joins: Vec<Move<'t>>,
    /// Participant events that tell of its leaving.
    pub leaves: Vec<Move<'t>>,
    /// Its clients.
    pub attachments: Vec<Attachment<'t>>,
    /// Everything that its participant is called.
    pub raw_ids: BTreeSet<&'t str>,
    /// What rosters show of its participant while it is there.
    shown: Vec<Shown<'t>>,
}

/// A participant event.
#[derive(Clone, Copy, Debug)]
pub struct Move<'t> {
    /// The event.
    pub testimony: &'t Testimony,
    /// What it says.
    pub moved: &'t SessionMoved,
}

/// A presence on rosters during which a session was there.
#[derive(Clone, Copy, Debug)]
struct Shown<'t> {
    presence: RosterPresence<'t>,
    /// No other session of the raw id was there then.
    alone: bool,
}

impl<'t> Cast<'t> {
    /// Decides who is who.
    pub fn of(testimonies: &[&'t Testimony]) -> Self {
        let rosters = roster::presences(testimonies);
        let mut cast = Self::of_participants(testimonies);
        cast.attach(Attachment::all(testimonies));
        let stays = cast.stays(Session::stay);
        for (raw_id, presences) in rosters {
            let there = stays.get(raw_id).map_or(&[][..], Vec::as_slice);
            cast.show(raw_id, presences, there);
        }
        cast
    }

    /// Which session each attachment belongs to.
    pub fn session_of(&self) -> BTreeMap<String, String> {
        let mut session_of = BTreeMap::new();
        for (key, session) in &self.sessions {
            for attachment in &session.attachments {
                session_of.insert(attachment.id.to_owned(), key.to_string());
            }
        }
        session_of
    }

    /// The sessions that participant events name.
    fn of_participants(testimonies: &[&'t Testimony]) -> Self {
        let mut cast = Self {
            sessions: BTreeMap::new(),
        };
        for &testimony in testimonies {
            let (moved, joined) = match &testimony.event.statement {
                Statement::SessionJoined(moved) => (moved, true),
                Statement::SessionLeft(moved) => (moved, false),
                _ => continue,
            };
            let raw_id = moved
                .participant
                .as_ref()
                .map(|participant| participant.raw_id.as_str());
            let key = match participant_id(&testimony.event.ids) {
                Some(id) => SessionKey::Participant(id),
                None => SessionKey::RawId(raw_id.unwrap_or_default()),
            };
            let session = cast.sessions.entry(key).or_default();
            let moves = if joined {
                &mut session.joins
            } else {
                &mut session.leaves
            };
            moves.push(Move { testimony, moved });
            session.raw_ids.extend(raw_id);
        }
        cast
    }

    /// Gives every attachment its session.
    fn attach(&mut self, attachments: Vec<Attachment<'t>>) {
        let mut without_name = Vec::new();
        for attachment in attachments {
            match attachment.participant_id() {
                Some(id) => self.give(SessionKey::Participant(id), attachment),
                None => without_name.push(attachment),
            }
        }
        // What an attachment may belong to must not depend on what others were given before it.
        let candidates = self.stays(Session::stay_of_participant);
        let decided: Vec<(SessionKey<'t>, Attachment<'t>)> = without_name
            .into_iter()
            .map(|attachment| (owner(&attachment, &candidates), attachment))
            .collect();
        for (key, attachment) in decided {
            self.give(key, attachment);
        }
    }

    fn give(&mut self, key: SessionKey<'t>, attachment: Attachment<'t>) {
        let session = self.sessions.entry(key).or_default();
        session.raw_ids.extend(attachment.raw_id());
        session.attachments.push(attachment);
    }

    /// Takes in what rosters show of a raw id, whose other sessions are there as told.
    fn show(
        &mut self,
        raw_id: &'t str,
        presences: Vec<RosterPresence<'t>>,
        there: &[(SessionKey<'t>, Stay)],
    ) {
        for presence in presences {
            let stay = presence.stay();
            let mut meant: Vec<SessionKey<'t>> = there
                .iter()
                .filter(|(_, other)| other.overlaps(stay))
                .map(|(key, _)| key.clone())
                .collect();
            if meant.is_empty() {
                meant.push(SessionKey::Roster(raw_id, presence.joined.t));
            }
            let alone = meant.len() == 1;
            for key in meant {
                let session = self.sessions.entry(key).or_default();
                session.raw_ids.insert(raw_id);
                session.shown.push(Shown { presence, alone });
            }
        }
    }

    /// When the sessions of each raw id are there.
    fn stays(&self, stay: impl Fn(&Session<'t>) -> Stay) -> Stays<'t> {
        let mut stays = Stays::new();
        for (key, session) in &self.sessions {
            let stay = stay(session);
            for &raw_id in &session.raw_ids {
                let of_raw_id = stays.entry(raw_id).or_default();
                of_raw_id.push((key.clone(), stay));
            }
        }
        stays
    }
}

/// The session that an attachment without a participantId belongs to.
fn owner<'t>(attachment: &Attachment<'t>, candidates: &Stays<'t>) -> SessionKey<'t> {
    let own = SessionKey::Attachment(attachment.id);
    let raw_id = attachment
        .raw_id()
        .filter(|raw_id| !is_placeholder_raw_id(raw_id));
    let (Some(raw_id), Some(first)) = (raw_id, attachment.first_report()) else {
        return own;
    };
    let of_raw_id = candidates.get(raw_id).into_iter().flatten();
    let mut near = of_raw_id.filter(|(_, stay)| stay.is_near(first, EDGE));
    match (near.next(), near.next()) {
        (Some((only, _)), None) => only.clone(),
        _ => own,
    }
}

impl<'t> Session<'t> {
    /// When it was there by its participant events; a session that only clients name by their
    /// reports.
    fn stay_of_participant(&self) -> Stay {
        if self.joins.is_empty() && self.leaves.is_empty() {
            return self.stay();
        }
        let (joined, left) = (moments(&self.joins), moments(&self.leaves));
        Stay::new(joined.first, left.last.filter(|_| joined.last <= left.last))
    }

    /// When it was there by everything but rosters, after the rules of evidence: nobody has left
    /// who joins or reports later, and a client that nobody else knows is lost some time after its
    /// last report.
    fn stay(&self) -> Stay {
        let (joined, left) = (moments(&self.joins), moments(&self.leaves));
        let signs = Signs::of(&self.attachments);
        let first = match (joined.first, left.first) {
            // Its joining is missing, not late.
            (None, Some(_)) => None,
            _ => [joined.first, signs.reports.first]
                .into_iter()
                .flatten()
                .min(),
        };
        let stated = left.last.max(signs.leaving.last);
        let stayed = joined.last.max(signs.staying.last);
        let known_otherwise = joined.first.is_some() || left.first.is_some();
        let lost = signs
            .reports
            .last
            .filter(|_| !known_otherwise)
            .map(|last| last.saturating_add(BELIEVED_SILENT));
        Stay::new(first, stated.filter(|_| stayed <= stated).or(lost))
    }

    /// The roster presence whose start stands in for a missing joining.
    pub fn joined_by_roster(&self) -> Option<RosterPresence<'t>> {
        let first = self.first_shown()?;
        (self.joins.is_empty() && first.alone).then_some(first.presence)
    }

    /// The roster that stands in for a missing leaving.
    pub fn left_by_roster(&self) -> Option<Sighting<'t>> {
        let end = |shown: &&Shown<'_>| shown.presence.left.map_or(Millis::MAX, |left| left.t);
        let last = self.shown.iter().max_by_key(end)?;
        last.presence.left.filter(|_| self.leaves.is_empty())
    }

    /// Whether a participant event or a roster calls its participant so.
    pub fn is_called_by_platform(&self, raw_id: &str) -> bool {
        let moves = self.joins.iter().chain(&self.leaves);
        let mut in_events = moves.filter_map(|moved| moved.moved.participant.as_ref());
        in_events.any(|participant| participant.raw_id == raw_id)
            || self
                .presences()
                .any(|presence| presence.participant.raw_id == raw_id)
    }

    /// What rosters show of its participant while it is there.
    pub fn presences(&self) -> impl Iterator<Item = RosterPresence<'t>> {
        self.shown.iter().map(|shown| shown.presence)
    }

    fn first_shown(&self) -> Option<&Shown<'t>> {
        let start = |shown: &&Shown<'_>| shown.presence.joined.t;
        self.shown.iter().min_by_key(start)
    }
}

fn moments(moves: &[Move<'_>]) -> Extent {
    let mut moments = Extent::default();
    for moved in moves {
        moments.add(moved.testimony.t);
    }
    moments
}
