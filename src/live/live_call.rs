//! One call of the live state: its level, its progress, and its past changes.

use std::collections::{BTreeSet, VecDeque};

use super::fanout::message::{BuildInstant, CallLevel};
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::CaptureType;
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::indication::{IndicationState, Indications};
use onrecord_evidence::notice::variant::CaptureView;
use onrecord_evidence::session::trust::CallTrust;

/// Maximum number of past changes kept per call for returning subscribers.
const MAX_PAST_CHANGES: usize = 256;

/// A past change of the level, kept for subscribers that resume.
pub(crate) struct PastChange {
    /// When it was folded and sent.
    pub time: BuildInstant,
    /// The anchor that named the call at that time.
    pub call: Anchor,
    /// The level before, if it was announced as a change; `None`: it was sent as a snapshot.
    pub previous: Option<Indications>,
    pub changed_to: CallLevel,
}

/// The progress of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CallProgress {
    /// No event says that the call ended.
    #[default]
    Ongoing,
    /// The end is presumed, because no event came for long; any sign of life revokes it.
    PresumedEnded,
    /// An event says that the call ended.
    Ended,
    /// The call ended and its events were dropped: no later event makes anything visible again. (If
    /// one of its ids turns out to belong to another call, the events of that id are lost; the
    /// clients repeat them within half a minute.)
    Closed,
}

/// A call as it was folded last. By default nothing is known of it.
#[derive(Default)]
pub(crate) struct LiveCall {
    pub current: CallLevel,
    /// What the platform states about the call; nothing of a closed call, of which there are many.
    pub trust: CallTrust,
    pub progress: CallProgress,
    /// When to fold again without a new event, ms.
    pub next_change: Option<Millis>,
    /// Attachments whose next heartbeat changes nothing.
    pub present_attachments: BTreeSet<String>,
    /// When its last event was stored, ms.
    pub last_event_at: Millis,
    changes: VecDeque<PastChange>,
    /// The instant of the last change that was dropped, ms; 0: none was.
    dropped_through: Millis,
    /// The level of a closed call before the late events since the last fold.
    pub level_before_late: Option<Indications>,
}

impl LiveCall {
    pub(crate) fn is_ongoing(&self) -> bool {
        self.progress == CallProgress::Ongoing
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.progress == CallProgress::Closed
    }

    /// The call has ended, and time alone no longer changes its level.
    pub(crate) fn may_be_closed(&self) -> bool {
        self.progress == CallProgress::Ended && self.next_change.is_none()
    }

    /// Closes the call: only its level is kept, for which an ended call needs no events.
    pub(crate) fn close(&mut self) {
        self.progress = CallProgress::Closed;
        self.trust = CallTrust::default();
        self.next_change = None;
        self.present_attachments.clear();
    }

    /// Applies late events to a closed call. `level` is the level that they alone would result in:
    /// each capture type observed in it becomes off, even if it was unknown before
    /// (`docs/evidence-rules.md`, section 8).
    pub(crate) fn apply_late_level(&mut self, level: Indications) {
        let CallLevel { level: current, view, .. } = &mut self.current;
        let before = *current;
        for capture in level.observed() {
            let (level, view) = match capture {
                CaptureType::Recording => (&mut current.recording, &mut view.recording),
                CaptureType::Transcription => (&mut current.transcription, &mut view.transcription),
            };
            *level = IndicationState::Off.into();
            *view = CaptureView::of_level(*level, view.capture_started_at);
        }
        if *current != before {
            self.level_before_late.get_or_insert(before);
        }
    }

    /// Records a change of the level, announced or not.
    pub(crate) fn record_change(&mut self, past: PastChange) {
        if self.changes.len() == self.changes.capacity() {
            self.changes.reserve_exact(1 + self.changes.len() / 2);
        }
        self.changes.push_back(past);
        if self.changes.len() > MAX_PAST_CHANGES {
            self.drop_oldest();
        }
    }

    /// Merges a call that is part of this one now.
    pub(crate) fn merge(&mut self, other: Self) {
        self.last_event_at = self.last_event_at.max(other.last_event_at);
        if self.is_closed() || other.is_closed() {
            // The end of one call is the end of both. A subscriber may know only one of them, so
            // every subscriber is compared.
            self.close();
            let own = self.current.level;
            self.level_before_late.get_or_insert(own);
            for level in [own, other.current.level] {
                self.apply_late_level(level);
            }
        }
        self.dropped_through = self.dropped_through.max(other.dropped_through);
        self.changes.extend(other.changes);
        self.changes.make_contiguous().sort_by_key(|past| past.time.at);
    }

    pub(crate) fn drop_changes_before(&mut self, instant: Millis) {
        while self.changes.front().is_some_and(|past| past.time.at < instant) {
            self.drop_oldest();
        }
        if self.changes.is_empty() {
            self.changes.shrink_to_fit();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(past) = self.changes.pop_front() {
            self.dropped_through = self.dropped_through.max(past.time.at);
        }
    }

    /// Whether all changes since `from` are kept.
    pub(crate) fn has_all_changes_since(&self, from: Millis) -> bool {
        self.dropped_through < from
    }

    pub(crate) fn changes_since(&self, from: Millis) -> impl Iterator<Item = &PastChange> {
        self.changes.iter().filter(move |past| past.time.at >= from)
    }
}
