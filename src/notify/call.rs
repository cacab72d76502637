//! One call on the board.

use std::collections::{BTreeSet, VecDeque};

use super::message::Message;
use crate::domain::indication::Indications;
use crate::domain::instant::Millis;
use crate::domain::notice::IndicationView;

/// Changes of one call that are kept for those who come back.
const PAST_KEPT: usize = 256;

/// A change that was told, for those who missed it.
pub(super) struct Past {
    /// When it was folded, by the log's clock, ms.
    pub at: Millis,
    pub message: Message,
}

/// The call as it was folded last; at first nothing is known of it.
#[derive(Default)]
pub(super) struct LiveCall {
    pub level: Indications,
    pub view: IndicationView,
    /// ms; `None`: it goes on.
    pub ended: Option<Millis>,
    /// When to fold again although nothing came, ms.
    pub next_change: Option<Millis>,
    /// Attachments whose next heartbeat changes nothing.
    pub there: BTreeSet<String>,
    /// The fact that decided the level: an event's key, or the instant of a timer.
    pub deciding: String,
    /// When something was last heard of it, ms.
    pub heard: Millis,
    past: VecDeque<Past>,
    /// The last change that was forgotten, ms; 0: none was.
    forgotten: Millis,
    /// Its testimonies were dropped a while after its end: only the level is known.
    pub closed: bool,
}

impl LiveCall {
    pub fn remember(&mut self, past: Past) {
        self.past.push_back(past);
        if self.past.len() > PAST_KEPT {
            self.forget_first();
        }
    }

    /// Takes over a call that is part of this one now.
    pub fn merge(&mut self, other: Self) {
        self.heard = self.heard.max(other.heard);
        if other.closed && !self.closed {
            // An end that was told holds for both.
            self.closed = true;
            self.ended = other.ended;
            self.level = other.level;
            self.view = other.view;
            self.next_change = None;
            self.there.clear();
        }
        self.forgotten = self.forgotten.max(other.forgotten);
        self.past.extend(other.past);
        self.past.make_contiguous().sort_by_key(|past| past.at);
    }

    pub fn forget_before(&mut self, instant: Millis) {
        while self.past.front().is_some_and(|past| past.at < instant) {
            self.forget_first();
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
