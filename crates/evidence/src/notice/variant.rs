//! The banner of an indication, the id of a notice, and whether a change may still be announced.
//!
//! # Why
//!
//! *The level first.* A banner never hides what goes on: a type that is on is always named, and the
//! stop of the other one beside it. A paused recording comes next. Only if nothing is on or paused
//! does a banner name a stop alone.
//!
//! *A paused transcription counts as off.* Nothing is transcribed meanwhile, no platform has such a
//! state, and no banner names it; the body says `paused`.
//!
//! *Unknown is not off.* A stop is a change from on or paused to off. The banner `unknown` is for a
//! type that was on or paused and is now unknown, and for a call in which both types are unknown. It
//! is not for a call whose recording is known to be off: most clients never observe transcription,
//! and a banner about that for a whole call would train participants to ignore banners. The body
//! says `unknown` for each type.
//!
//! *Staleness is part of the level.* Whether a live source still states an "on" changes what a client
//! may show, so it makes a notice; the banner stays the same.

use std::fmt;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

use super::indication::{Indication, IndicationState, Indications};
use crate::call::snapshot::CallSnapshot;
use crate::capture::interval::CaptureSource;
use crate::event::ids::{Digest, Tenant};
use crate::event::instant::{self, Millis};
use crate::fact::kinds::{CaptureType, JsonWord as _};
use crate::identity::alias_graph::Anchor;

/// Minimum age (ms) of the deciding fact of a change from which on the change is stale and not
/// announced (`NO_STALE_CHANGE`).
pub const STALE_EVENT_AGE: Millis = 10 * 60 * 1000;

/// The banner for the two levels and their change. A UI needs no logic of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// No banner.
    None,
    /// The call is recorded.
    RecordingOn,
    /// The call is transcribed.
    TranscriptionOn,
    /// The call is recorded and transcribed.
    BothOn,
    /// Recording has stopped.
    RecordingOff,
    /// Transcription has stopped.
    TranscriptionOff,
    /// Recording and transcription have stopped.
    BothOff,
    /// Recording has stopped; the call is still transcribed, or now is.
    RecordingOffTranscriptionOn,
    /// Transcription has stopped; the call is still recorded, or now is.
    TranscriptionOffRecordingOn,
    /// Recording is interrupted and may go on again.
    RecordingPaused,
    /// It is not known whether the call is recorded or transcribed.
    Unknown,
}

/// The banner for `current`. `previous` is the indication that was stated last; without one (a
/// snapshot) nothing has changed, and the banner names the levels only.
#[must_use]
pub fn variant(previous: Option<&Indications>, current: &Indications) -> Variant {
    use IndicationState::{Off, On, Paused, Unknown};

    let previous = previous.unwrap_or(current);
    // The state of each type before and after.
    let recording = (previous.recording.state, current.recording.state);
    let transcription = (transcription_for_banner(previous), transcription_for_banner(current));
    let stopped = |change| matches!(change, (On | Paused, Off));
    let became_unknown = |change| matches!(change, (On | Paused, Unknown));
    match (recording.1, transcription.1) {
        (On, On) => Variant::BothOn,
        (On, _) if stopped(transcription) => Variant::TranscriptionOffRecordingOn,
        (On, _) => Variant::RecordingOn,
        (_, On) if stopped(recording) => Variant::RecordingOffTranscriptionOn,
        (_, On) => Variant::TranscriptionOn,
        (Paused, _) => Variant::RecordingPaused,
        _ if stopped(recording) && stopped(transcription) => Variant::BothOff,
        _ if stopped(recording) => Variant::RecordingOff,
        _ if stopped(transcription) => Variant::TranscriptionOff,
        _ if became_unknown(recording) || became_unknown(transcription) => Variant::Unknown,
        (Unknown, Unknown) => Variant::Unknown,
        _ => Variant::None,
    }
}

fn transcription_for_banner(levels: &Indications) -> IndicationState {
    match levels.transcription.state {
        IndicationState::Paused => IndicationState::Off,
        state => state,
    }
}

/// Whether a change may be announced as one (`NO_STALE_CHANGE`): only while the call is open, and
/// only if the fact that decided it is younger than [`STALE_EVENT_AGE`]. Connected clients receive
/// the level in any case, as a snapshot. Instants are in Unix milliseconds.
#[must_use]
pub fn announces(now: Millis, call_open: bool, deciding_fact_at: Millis) -> bool {
    call_open && !is_stale_event(now, deciding_fact_at)
}

/// Whether a fact of the instant `at` is too old to be announced at `now` (Unix milliseconds).
#[must_use]
pub fn is_stale_event(now: Millis, at: Millis) -> bool {
    now.saturating_sub(at) >= STALE_EVENT_AGE
}

/// The cause of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoticeCause {
    /// No known cause.
    #[default]
    Nothing,
    /// The event with this key.
    Event(Digest),
    /// The passing of this instant (Unix milliseconds).
    Time(Millis),
}

impl fmt::Display for NoticeCause {
    /// The text that goes into the id of a notice.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Event(key) => key.fmt(f),
            Self::Time(instant) => write!(f, "time {instant}"),
        }
    }
}

/// The id of a notice: 32 hexadecimal digits that depend on tenant, call, levels and cause, so that
/// every node that computes the same levels by the same fact gives the notice the same id.
#[must_use]
pub fn notice_id(
    tenant: &Tenant,
    call: &Anchor,
    levels: &Indications,
    cause: NoticeCause,
) -> String {
    Digest::of_parts(&[
        "notice",
        tenant.as_str(),
        call.as_str(),
        &level_text(levels.recording),
        &level_text(levels.transcription),
        &cause.to_string(),
    ])
    .first_half()
}

fn level_text(level: Indication) -> String {
    let state = level.state.as_str();
    format!("{state}{}", if level.stale { ", stale" } else { "" })
}

/// The member `indication` of a notice, a snapshot and the answer to a report. The default is that
/// nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IndicationView {
    /// Of the recording.
    pub recording: CaptureView,
    /// Of the transcription.
    pub transcription: CaptureView,
}

/// The view of one type in JSON: `state`, `stale`, and `since`, `kinds` and `sources` of what is on, and
/// `confirmed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureView {
    /// The state.
    pub state: IndicationState,
    /// The state is on, and no source that states it is live any more.
    pub stale: bool,
    /// The start of the last capture (Unix milliseconds): the one that the level is about.
    pub capture_started_at: Option<Millis>,
    /// The state does not rest on the word of clients alone that neither the platform nor a grant
    /// proves. An unknown state is confirmed.
    pub confirmed: bool,
    /// Details of the open capture, while the state is on. In a box, because live state keeps many
    /// views and most have none.
    open: Option<Box<OpenCaptureView>>,
}

/// The details of an open capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OpenCaptureView {
    /// Its start (Unix milliseconds) by the earliest source.
    since: Millis,
    /// The provider's kinds (`teams`, `teamsCompliance`, …), sorted.
    kinds: Vec<String>,
    /// The sources that state it, in order.
    sources: Vec<CaptureSource>,
}

impl Default for CaptureView {
    fn default() -> Self {
        Self::of_level(Indication::default(), None)
    }
}

impl IndicationView {
    /// The view of a call's snapshot.
    #[must_use]
    pub fn of(snapshot: &CallSnapshot) -> Self {
        Self {
            recording: CaptureView::of(snapshot, CaptureType::Recording),
            transcription: CaptureView::of(snapshot, CaptureType::Transcription),
        }
    }

    /// The view of the stronger of two indications of each type: what
    /// [`Indications::strongest`] selects.
    #[must_use]
    pub fn strongest(&self, other: &Self) -> Self {
        let of = |one: &CaptureView, other: &CaptureView| {
            let selected = if other.level().is_stronger_than(one.level()) { other } else { one };
            selected.clone()
        };
        Self {
            recording: of(&self.recording, &other.recording),
            transcription: of(&self.transcription, &other.transcription),
        }
    }
}

impl CaptureView {
    /// The view of a confirmed level without further details.
    #[must_use]
    pub fn of_level(level: Indication, capture_started_at: Option<Millis>) -> Self {
        let Indication { state, stale } = level;
        Self { state, stale, capture_started_at, confirmed: true, open: None }
    }

    fn level(&self) -> Indication {
        Indication { state: self.state, stale: self.stale }
    }

    fn of(snapshot: &CallSnapshot, capture_type: CaptureType) -> Self {
        let level = snapshot.indications.of(capture_type);
        let of_type =
            || snapshot.captures.iter().filter(move |capture| capture.capture_type == capture_type);
        // A file may reach beyond now, but never states what goes on.
        let open = of_type()
            .find(|capture| level.state == IndicationState::On && capture.ended_at.is_none())
            .map(|capture| OpenCaptureView {
                since: capture.started_at,
                kinds: capture.kinds.iter().cloned().collect(),
                sources: capture.sources.iter().copied().collect(),
            });
        Self {
            confirmed: !snapshot.unconfirmed.contains(&capture_type),
            open: open.map(Box::new),
            ..Self::of_level(level, of_type().map(|capture| capture.started_at).max())
        }
    }
}

impl Serialize for CaptureView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let open = self.open.as_deref();
        let mut view = serializer.serialize_struct("CaptureView", 6)?;
        view.serialize_field("state", &self.state)?;
        view.serialize_field("stale", &self.stale)?;
        // RFC 3339 with milliseconds.
        view.serialize_field("since", &open.and_then(|it| instant::text(it.since)))?;
        let none = OpenCaptureView::default();
        let OpenCaptureView { kinds, sources, .. } = open.unwrap_or(&none);
        view.serialize_field("kinds", kinds)?;
        view.serialize_field("sources", sources)?;
        view.serialize_field("confirmed", &self.confirmed)?;
        view.end()
    }
}

#[cfg(test)]
mod tests;
