//! The record of a closed call: what comes back when the call is named again.

use onrecord_evidence::call::outsider_level::OutsiderLevel;
use onrecord_evidence::event::ids::Digest;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::indication::{Indication, IndicationState, Indications};
use onrecord_evidence::notice::variant::{CaptureView, IndicationView, NoticeCause};
use onrecord_evidence::session::trust::CallTrust;

use super::bytes::{ByteReader, put_instant, put_number, put_place};
use super::packed_anchor::{MAX_UPPERS, PackedAnchor};
use crate::live::fanout::message::CallLevel;
use crate::live::live_call::ClosedCall;

/// A closed call with its ids.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClosedRecord {
    /// The anchors of the call: the call itself, then those that others have links to, then the others.
    pub members: Vec<RecordMember>,
    /// The owners of the attachments among them.
    pub owners: Vec<OwnedAttachment>,
    pub call: ClosedCall,
}

/// An anchor of a closed call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RecordMember {
    pub anchor: Anchor,
    /// Bit `n`: it has a link to the anchor at place `n`.
    pub uppers: u64,
}

impl RecordMember {
    /// An anchor with links to the anchors at these places. `None`: one of them is not known, or is after
    /// those that links may lead to.
    pub(crate) fn new(
        anchor: Anchor,
        linked: impl IntoIterator<Item = Option<usize>>,
    ) -> Option<Self> {
        let mut uppers = 0;
        for place in linked {
            uppers |= 1 << place.filter(|place| *place < MAX_UPPERS)?;
        }
        Some(Self { anchor, uppers })
    }
}

/// The owner of an attachment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OwnedAttachment {
    /// The place of the attachment among the members.
    pub attachment: usize,
    /// When its first report was observed, ms.
    pub since: Millis,
    pub person: String,
    /// The places of the anchors at which its reports are stored.
    pub anchors: Vec<usize>,
}

/// The texts of a segment, each with a number.
pub(super) trait Texts {
    /// The number of a text, which is added if it is new.
    fn number(&mut self, text: &str) -> u64;
}

/// The bits of the first byte.
mod bit {
    pub(super) const CONNECTED: u8 = 1;
    pub(super) const TRUST_NEW: u8 = 2;
    pub(super) const FIRST_EVENT: u8 = 4;
    pub(super) const CHANGES_DROPPED: u8 = 8;
    pub(super) const CLIENTS: u8 = 16;
    pub(super) const CAUSE_EVENT: u8 = 32;
    pub(super) const CAUSE_TIME: u8 = 64;
}

/// The bits of the byte of a level.
mod level_bit {
    pub(super) const OFF: u8 = 1;
    pub(super) const STALE: u8 = 2;
    pub(super) const CONFIRMED: u8 = 4;
    pub(super) const STARTED: u8 = 8;
}

impl ClosedRecord {
    /// The links among the anchors, each from the weaker to the stronger one.
    pub(crate) fn links(&self) -> impl Iterator<Item = (&Anchor, &Anchor)> {
        self.members.iter().flat_map(|member| {
            let last = (u64::BITS - member.uppers.leading_zeros()) as usize;
            let uppers = self.members.iter().take(last).enumerate();
            let linked = uppers.filter(|(place, _)| (member.uppers >> place) & 1 == 1);
            linked.map(|(_, upper)| (&member.anchor, &upper.anchor))
        })
    }

    /// Appends the record. Instants are written as their distance from `base`, ms.
    pub(super) fn put(&self, base: Millis, texts: &mut dyn Texts, into: &mut Vec<u8>) {
        put_place(self.members.len(), into);
        for member in &self.members {
            PackedAnchor::of(&member.anchor).put(member.uppers, into);
        }
        let ClosedCall {
            current,
            trust,
            is_trust_new,
            outsiders,
            is_connected,
            own_cause,
            first_event_at,
            last_event_at,
            dropped_through,
        } = &self.call;
        let has_clients = !self.owners.is_empty() || !outsiders.is_empty();
        let cause = match current.cause {
            NoticeCause::Nothing => 0,
            NoticeCause::Event(_) => bit::CAUSE_EVENT,
            NoticeCause::Time(_) => bit::CAUSE_TIME,
        };
        let bits = [
            (*is_connected, bit::CONNECTED),
            (*is_trust_new, bit::TRUST_NEW),
            (first_event_at.is_some(), bit::FIRST_EVENT),
            (*dropped_through != 0, bit::CHANGES_DROPPED),
            (has_clients, bit::CLIENTS),
            (true, cause),
        ];
        into.push(bits.iter().filter(|(is_set, _)| *is_set).fold(0, |bits, (_, bit)| bits | bit));
        put_instant(*last_event_at, base, into);
        if let Some(first) = first_event_at {
            put_instant(*first, *last_event_at, into);
        }
        if *dropped_through != 0 {
            put_instant(*dropped_through, *last_event_at, into);
        }
        put_cause(current.cause, *last_event_at, into);
        put_levels(&current.view, *last_event_at, into);
        put_place(trust.persons().len(), into);
        for person in trust.persons() {
            put_number(texts.number(person), into);
        }
        put_place(trust.ids().len(), into);
        for id in trust.ids() {
            // Most of them are anchors of the call.
            match self.members.iter().take(MAX_UPPERS).position(|it| it.anchor.as_str() == &**id) {
                Some(place) => put_place((place << 1) | 1, into),
                None => put_number(texts.number(id) << 1, into),
            }
        }
        if !has_clients {
            return;
        }
        put_place(self.owners.len(), into);
        for owned in &self.owners {
            put_place(owned.attachment, into);
            put_instant(owned.since, *last_event_at, into);
            put_number(texts.number(&owned.person), into);
            put_place(owned.anchors.len(), into);
            for anchor in &owned.anchors {
                put_place(*anchor, into);
            }
        }
        put_place(outsiders.len(), into);
        for own in outsiders {
            put_number(texts.number(&own.attachment), into);
            put_number(texts.number(&own.raw_id), into);
            put_levels(&own.view, *last_event_at, into);
        }
        if !outsiders.is_empty() {
            let kind = match own_cause {
                NoticeCause::Nothing => 0,
                NoticeCause::Event(_) => bit::CAUSE_EVENT,
                NoticeCause::Time(_) => bit::CAUSE_TIME,
            };
            into.push(kind);
            put_cause(*own_cause, *last_event_at, into);
        }
    }

    /// Reads the anchors of a record, each with the place of its bytes.
    pub(super) fn read_members(
        reader: &mut ByteReader<'_>,
    ) -> Option<Vec<(usize, PackedAnchor, u64)>> {
        let count = reader.place_in_list()?;
        let mut members = Vec::new();
        for _ in 0..count {
            let place = reader.place();
            let (anchor, uppers) = PackedAnchor::read(reader)?;
            members.push((place, anchor, uppers));
        }
        Some(members)
    }

    /// Reads a record; `text` is the text with a number.
    pub(super) fn read(
        mut reader: ByteReader<'_>,
        base: Millis,
        text: impl Fn(u64) -> Option<String>,
    ) -> Option<Self> {
        let reader = &mut reader;
        let mut members = Vec::new();
        for (_, anchor, uppers) in Self::read_members(reader)? {
            members.push(RecordMember { anchor: anchor.to_anchor()?, uppers });
        }
        let bits = reader.byte()?;
        let has = |bit| bits & bit != 0;
        let last_event_at = reader.instant(base)?;
        let first_event_at =
            if has(bit::FIRST_EVENT) { Some(reader.instant(last_event_at)?) } else { None };
        let dropped_through =
            if has(bit::CHANGES_DROPPED) { reader.instant(last_event_at)? } else { 0 };
        let cause = read_cause(bits, last_event_at, reader)?;
        let (level, view) = read_levels(last_event_at, reader)?;
        let mut persons = Vec::new();
        for _ in 0..reader.number()? {
            persons.push(text(reader.number()?)?);
        }
        let mut ids = Vec::new();
        for _ in 0..reader.number()? {
            let number = reader.number()?;
            ids.push(if number & 1 == 1 {
                let place = usize::try_from(number >> 1).ok()?;
                members.get(place)?.anchor.as_str().to_owned()
            } else {
                text(number >> 1)?
            });
        }
        let (mut owners, mut outsiders) = (Vec::new(), Vec::new());
        let mut own_cause = NoticeCause::Nothing;
        if has(bit::CLIENTS) {
            for _ in 0..reader.number()? {
                let attachment = reader.place_in_list()?;
                let since = reader.instant(last_event_at)?;
                let person = text(reader.number()?)?;
                let mut anchors = Vec::new();
                for _ in 0..reader.number()? {
                    anchors.push(reader.place_in_list()?);
                }
                owners.push(OwnedAttachment { attachment, since, person, anchors });
            }
            for _ in 0..reader.number()? {
                let attachment = text(reader.number()?)?;
                let raw_id = text(reader.number()?)?;
                let (indications, view) = read_levels(last_event_at, reader)?;
                outsiders.push(OutsiderLevel { attachment, raw_id, indications, view });
            }
            if !outsiders.is_empty() {
                let kind = reader.byte()?;
                own_cause = read_cause(kind, last_event_at, reader)?;
            }
        }
        let call = ClosedCall {
            current: CallLevel { level, view, cause },
            trust: CallTrust::from_texts(persons, ids),
            is_trust_new: has(bit::TRUST_NEW),
            outsiders,
            is_connected: has(bit::CONNECTED),
            own_cause,
            first_event_at,
            last_event_at,
            dropped_through,
        };
        Some(Self { members, owners, call })
    }
}

fn put_cause(cause: NoticeCause, from: Millis, into: &mut Vec<u8>) {
    match cause {
        NoticeCause::Nothing => {}
        NoticeCause::Event(key) => into.extend_from_slice(key.as_bytes()),
        NoticeCause::Time(at) => put_instant(at, from, into),
    }
}

fn read_cause(bits: u8, from: Millis, reader: &mut ByteReader<'_>) -> Option<NoticeCause> {
    if bits & bit::CAUSE_EVENT != 0 {
        return Digest::from_bytes(reader.take(32)?).map(NoticeCause::Event);
    }
    if bits & bit::CAUSE_TIME != 0 {
        return Some(NoticeCause::Time(reader.instant(from)?));
    }
    Some(NoticeCause::Nothing)
}

/// Appends the levels of a closed call: off or unknown.
fn put_levels(view: &IndicationView, from: Millis, into: &mut Vec<u8>) {
    let bits = |view: &CaptureView| {
        let bits = [
            (view.state == IndicationState::Off, level_bit::OFF),
            (view.stale, level_bit::STALE),
            (view.confirmed, level_bit::CONFIRMED),
            (view.capture_started_at.is_some(), level_bit::STARTED),
        ];
        bits.iter().filter(|(is_set, _)| *is_set).fold(0, |bits, (_, bit)| bits | bit)
    };
    let views = [&view.recording, &view.transcription];
    into.push(bits(&view.recording) | (bits(&view.transcription) << 4));
    for started in views.iter().filter_map(|view| view.capture_started_at) {
        put_instant(started, from, into);
    }
}

fn read_levels(from: Millis, reader: &mut ByteReader<'_>) -> Option<(Indications, IndicationView)> {
    let both = reader.byte()?;
    let mut of = |bits: u8| {
        let has = |bit| bits & bit != 0;
        let state =
            if has(level_bit::OFF) { IndicationState::Off } else { IndicationState::Unknown };
        let level = Indication { state, stale: has(level_bit::STALE) };
        let started = if has(level_bit::STARTED) { Some(reader.instant(from)?) } else { None };
        let mut view = CaptureView::of_level(level, started);
        view.confirmed = has(level_bit::CONFIRMED);
        Some((level, view))
    };
    let (recording, recording_view) = of(both)?;
    let (transcription, transcription_view) = of(both >> 4)?;
    let view = IndicationView { recording: recording_view, transcription: transcription_view };
    Some((Indications { recording, transcription }, view))
}
