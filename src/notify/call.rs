//! One call on the board.

use std::collections::VecDeque;

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

/// The call as it was folded last.
pub(super) struct LiveCall {
    pub level: Indications,
    pub view: IndicationView,
    /// ms; `None`: it goes on.
    pub ended: Option<Millis>,
    /// When to fold again although nothing came, ms.
    pub next_change: Option<Millis>,
    /// The fact that decided the level: an event's key, or the instant of a timer.
    pub deciding: String,
    /// When something was last heard of it, ms.
    pub heard: Millis,
    past: VecDeque<Past>,
    /// Changes before this were forgotten for their number, ms.
    forgotten_before: Millis,
    /// Its testimonies were dropped a while after its end: only the level is known.
    pub closed: bool,
}

impl LiveCall {
    pub fn new(view: IndicationView, heard: Millis) -> Self {
        Self {
            level: Indications::default(),
            view,
            ended: None,
            next_change: None,
            deciding: String::new(),
            heard,
            past: VecDeque::new(),
            forgotten_before: Millis::MIN,
            closed: false,
        }
    }

    pub fn remember(&mut self, past: Past) {
        self.past.push_back(past);
        if self.past.len() > PAST_KEPT
            && let Some(forgotten) = self.past.pop_front()
        {
            self.forgotten_before = forgotten.at;
        }
    }

    /// Takes over what is remembered of a call that is part of this one now.
    pub fn remember_all_of(&mut self, other: Self) {
        self.forgotten_before = self.forgotten_before.max(other.forgotten_before);
        self.past.extend(other.past);
        self.past.make_contiguous().sort_by_key(|past| past.at);
    }

    pub fn forget_before(&mut self, instant: Millis) {
        while self.past.front().is_some_and(|past| past.at < instant) {
            self.past.pop_front();
        }
    }

    /// Whether every change since then is still known.
    pub fn past_reaches(&self, from: Millis) -> bool {
        self.forgotten_before < from
    }

    pub fn since(&self, from: Millis) -> impl Iterator<Item = &Past> {
        self.past.iter().filter(move |past| past.at >= from)
    }
}
