//! Notices: which banner an indication calls for, and whether its change may still be announced.
//!
//! # Why
//!
//! *The level first.* A banner must never hide what goes on: something that is on is always named,
//! and that something else stopped is said beside it. A paused recording comes next. Only where
//! nothing is on or paused does a banner speak of the past.
//!
//! *A paused transcription counts as off.* Nothing is written down meanwhile, no platform has such
//! a state, and no banner names it; the body says `paused`.
//!
//! *Unknown is not off.* Only a stop that somebody saw is called one: from on or paused to off. The
//! banner `unknown` is for what was going on and is now unknown, and for a call of which nothing is
//! known of either type. It is not for a call whose recording is known to be off: most clients can
//! never tell of transcription, and a banner about that for a whole call would teach people to
//! overlook banners. The body says `unknown` per type.
//!
//! *Staleness is part of the level.* Whether somebody still vouches for an "on" changes what a
//! client may say, so it makes a notice; the banner stays the same.

use std::fmt;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

use super::alias::Anchor;
use super::capture::CaptureSource;
use super::fact::CaptureType;
use super::fold::CallPicture;
use super::ids::{Digest, Tenant};
use super::indication::{Indication, IndicationState, Indications};
use super::instant::{self, Millis};

/// A change whose deciding fact is this old, or older, is old news, ms.
pub const OLD_NEWS: Millis = 10 * 60 * 1000;

/// The banner that the two levels and their change call for, so that a UI needs no logic.
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
    /// Whether the call is recorded or transcribed is not known.
    Unknown,
}

/// The banner for `current`. `previous` is the level that was stated last; without one (a snapshot)
/// nothing has changed, and the banner speaks of the levels only.
#[must_use]
pub fn variant(previous: Option<&Indications>, current: &Indications) -> Variant {
    use IndicationState::{On, Paused, Unknown};

    let previous = previous.unwrap_or(current);
    let recording = Step {
        from: previous.recording.state,
        to: current.recording.state,
    };
    let transcription = Step {
        from: transcription_for_banner(previous),
        to: transcription_for_banner(current),
    };
    match (recording.to, transcription.to) {
        (On, On) => Variant::BothOn,
        (On, _) if transcription.stopped() => Variant::TranscriptionOffRecordingOn,
        (On, _) => Variant::RecordingOn,
        (_, On) if recording.stopped() => Variant::RecordingOffTranscriptionOn,
        (_, On) => Variant::TranscriptionOn,
        (Paused, _) => Variant::RecordingPaused,
        _ if recording.stopped() && transcription.stopped() => Variant::BothOff,
        _ if recording.stopped() => Variant::RecordingOff,
        _ if transcription.stopped() => Variant::TranscriptionOff,
        _ if recording.lost() || transcription.lost() => Variant::Unknown,
        (Unknown, Unknown) => Variant::Unknown,
        _ => Variant::None,
    }
}

/// How the state of one type changed.
#[derive(Clone, Copy)]
struct Step {
    from: IndicationState,
    to: IndicationState,
}

impl Step {
    fn stopped(self) -> bool {
        self.was_going_on() && self.to == IndicationState::Off
    }

    fn lost(self) -> bool {
        self.was_going_on() && self.to == IndicationState::Unknown
    }

    fn was_going_on(self) -> bool {
        matches!(self.from, IndicationState::On | IndicationState::Paused)
    }
}

fn transcription_for_banner(levels: &Indications) -> IndicationState {
    match levels.transcription.state {
        IndicationState::Paused => IndicationState::Off,
        state => state,
    }
}

/// Whether somebody who was told `previous` must be told `current`.
#[must_use]
pub fn changed(previous: &Indications, current: &Indications) -> bool {
    previous != current
}

/// Whether a change may be announced as one (law 8): only while the call goes on, and only if the
/// fact that decided it is younger than [`OLD_NEWS`]. Clients that are connected learn the level
/// either way, by a snapshot.
#[must_use]
pub fn announces(now: Millis, call_open: bool, deciding_fact_t: Millis) -> bool {
    call_open && !is_old_news(now, deciding_fact_t)
}

/// Whether a fact is too old to be announced.
#[must_use]
pub fn is_old_news(now: Millis, t: Millis) -> bool {
    now.saturating_sub(t) >= OLD_NEWS
}

/// What decided a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// Nothing that is known.
    #[default]
    Nothing,
    /// The event with this key.
    Event(Digest),
    /// That this instant came, ms.
    Time(Millis),
}

impl fmt::Display for Cause {
    /// As it goes into the id of a notice.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Event(key) => key.fmt(f),
            Self::Time(instant) => write!(f, "time {instant}"),
        }
    }
}

/// The id of a notice: 32 hexadecimal digits that depend on whose call it is, what is stated and
/// which fact decided it, so that a node that folds the same says the same.
#[must_use]
pub fn notice_id(tenant: &Tenant, call: &Anchor, levels: &Indications, cause: Cause) -> String {
    let digest = Digest::of_parts(&[
        "notice",
        tenant.as_str(),
        call.as_str(),
        &level_text(levels.recording),
        &level_text(levels.transcription),
        &cause.to_string(),
    ])
    .to_string();
    digest.get(..32).unwrap_or(&digest).to_owned()
}

fn level_text(level: Indication) -> String {
    let state = match level.state {
        IndicationState::On => "on",
        IndicationState::Paused => "paused",
        IndicationState::Off => "off",
        IndicationState::Unknown => "unknown",
    };
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

/// What is to be said of one type: `state`, `stale`, `since`, `kinds` and `sources` of what is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureView {
    /// The level.
    pub state: IndicationState,
    /// It is on by the word of clients only, and they have all fallen silent.
    pub stale: bool,
    /// When the last stretch began, ms: which one the level is about.
    pub stretch: Option<Millis>,
    /// While it is on: what can be said of that. Most views, of which a board keeps many, say that
    /// nothing is.
    open: Option<Box<OpenStretch>>,
}

/// The stretch that goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OpenStretch {
    /// When it began, as far as anybody could see, ms.
    since: Millis,
    /// The provider's kinds (`teams`, `teamsCompliance`, …), sorted.
    kinds: Vec<String>,
    /// Who tells of it, in order.
    sources: Vec<CaptureSource>,
}

impl IndicationView {
    /// What a call's picture shows.
    #[must_use]
    pub fn of(picture: &CallPicture) -> Self {
        Self {
            recording: CaptureView::of(picture, CaptureType::Recording),
            transcription: CaptureView::of(picture, CaptureType::Transcription),
        }
    }
}

impl CaptureView {
    /// That of a level of which nothing else is known.
    #[must_use]
    pub fn of_level(level: Indication, stretch: Option<Millis>) -> Self {
        Self {
            state: level.state,
            stale: level.stale,
            stretch,
            open: None,
        }
    }

    fn of(picture: &CallPicture, capture: CaptureType) -> Self {
        let level = picture.indications.of(capture);
        let of_type = || {
            picture
                .stretches
                .iter()
                .filter(move |stretch| stretch.capture == capture)
        };
        // A file may claim to reach beyond now, but never says what goes on.
        let open = of_type()
            .find(|stretch| level.state == IndicationState::On && stretch.end.is_none())
            .map(|stretch| OpenStretch {
                since: stretch.start,
                kinds: stretch.kinds.iter().cloned().collect(),
                sources: stretch.sources.iter().copied().collect(),
            });
        Self {
            open: open.map(Box::new),
            ..Self::of_level(level, of_type().map(|stretch| stretch.start).max())
        }
    }
}

impl Serialize for CaptureView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let open = self.open.as_deref();
        let mut view = serializer.serialize_struct("CaptureView", 5)?;
        view.serialize_field("state", &self.state)?;
        view.serialize_field("stale", &self.stale)?;
        // RFC 3339 with milliseconds.
        view.serialize_field("since", &open.and_then(|it| instant::text(it.since)))?;
        let none = OpenStretch::default();
        let OpenStretch { kinds, sources, .. } = open.unwrap_or(&none);
        view.serialize_field("kinds", kinds)?;
        view.serialize_field("sources", sources)?;
        view.end()
    }
}

#[cfg(test)]
mod tests;
