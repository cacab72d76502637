//! One call on the board.

use std::collections::{BTreeSet, VecDeque};

use crate::domain::alias::Anchor;
use crate::domain::fact::CaptureType;
use crate::domain::indication::{IndicationState, Indications};
use crate::domain::instant::Millis;
use crate::domain::notice::{CaptureView, Cause, IndicationView};

/// Changes of one call that are kept for those who come back.
const PAST_KEPT: usize = 256;

/// A change that was told, for those who missed it.
pub(super) struct Past {
    /// When it was folded, by the log's clock, ms.
    pub at: Millis,
    /// When it was told, ms.
    pub now: Millis,
    /// The call as it was called then.
    pub call: Anchor,
    /// What it was told as a change of; `None`: it was told as a level.
    pub previous: Option<Indications>,
    pub level: Indications,
    pub view: IndicationView,
    pub cause: Cause,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Progress {
    #[default]
    GoesOn,
    /// Nobody said that it ended, and any sign of life takes it back.
    PresumedOver,
    Over,
    /// It is over, and its testimonies were dropped: nothing that may still come of it makes
    /// anything visible again. (Should an id of it turn out to be another call's as well, and so a
    /// call by itself, what lay there is gone; its clients say it again within half a minute.)
    Closed,
}

/// The call as it was folded last; at first nothing is known of it.
#[derive(Default)]
pub(super) struct LiveCall {
    pub level: Indications,
    pub view: IndicationView,
    pub progress: Progress,
    /// When to fold again although nothing came, ms.
    pub next_change: Option<Millis>,
    /// Attachments whose next heartbeat changes nothing.
    pub there: BTreeSet<String>,
    /// What decided the level.
    pub cause: Cause,
    /// When something was last heard of it, ms.
    pub heard: Millis,
    past: VecDeque<Past>,
    /// The last change that was forgotten, ms; 0: none was.
    forgotten: Millis,
    /// Closed; the level before something came that may have changed it all the same.
    belated: Option<Indications>,
}

impl LiveCall {
    pub fn goes_on(&self) -> bool {
        self.progress == Progress::GoesOn
    }

    pub fn is_closed(&self) -> bool {
        self.progress == Progress::Closed
    }

    /// It is over, and time changes nothing any more.
    pub fn may_be_closed(&self) -> bool {
        self.progress == Progress::Over && self.next_change.is_none()
    }

    /// Nothing is asked any more but the level, for which an ended call needs no testimonies.
    pub fn close(&mut self) {
        self.progress = Progress::Closed;
        self.next_change = None;
        self.there.clear();
    }

    /// Something comes after it was closed, which by itself would make this the level: of what it
    /// tells of, the level is off now, were it unknown before (rules of evidence, section 8).
    pub fn observe_late(&mut self, level: Indications) {
        let before = self.level;
        for capture in level.observed() {
            let (level, view) = match capture {
                CaptureType::Recording => (&mut self.level.recording, &mut self.view.recording),
                CaptureType::Transcription => {
                    (&mut self.level.transcription, &mut self.view.transcription)
                }
            };
            *level = IndicationState::Off.into();
            *view = CaptureView::of_level(*level, view.stretch);
        }
        if self.level != before {
            self.belated.get_or_insert(before);
        }
    }

    /// The level before what came since this was asked last, if that may have changed it.
    pub fn take_belated(&mut self) -> Option<Indications> {
        self.belated.take()
    }

    /// Remembers a change of the level, which was told as one or not.
    pub fn remember(&mut self, past: Past) {
        if self.past.len() == self.past.capacity() {
            self.past.reserve_exact(1 + self.past.len() / 2);
        }
        self.past.push_back(past);
        if self.past.len() > PAST_KEPT {
            self.forget_first();
        }
    }

    /// Takes over a call that is part of this one now.
    pub fn merge(&mut self, other: Self) {
        self.heard = self.heard.max(other.heard);
        if self.is_closed() || other.is_closed() {
            // An end that was told holds for both, and what was told of either was told. Somebody
            // may have heard of one of them only, so everybody is looked at.
            self.close();
            let own = self.level;
            self.belated.get_or_insert(own);
            for level in [own, other.level] {
                self.observe_late(level);
            }
        }
        self.forgotten = self.forgotten.max(other.forgotten);
        self.past.extend(other.past);
        self.past.make_contiguous().sort_by_key(|past| past.at);
    }

    pub fn forget_before(&mut self, instant: Millis) {
        while self.past.front().is_some_and(|past| past.at < instant) {
            self.forget_first();
        }
        if self.past.is_empty() {
            self.past.shrink_to_fit();
        }
    }

    fn forget_first(&mut self) {
        if let Some(past) = self.past.pop_front() {
            self.forgotten = self.forgotten.max(past.at);
        }
    }

    /// Whether every change since then is still known.
    pub fn past_reaches(&self, from: Millis) -> bool {
        self.forgotten < from
    }

    pub fn since(&self, from: Millis) -> impl Iterator<Item = &Past> {
        self.past.iter().filter(move |past| past.at >= from)
    }
}
