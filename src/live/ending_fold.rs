//! The end of the fold of a call with very many events: its result, and whom it was stated to.
//!
//! # Why
//!
//! A call of ten thousand legs has ten thousand subscribers. To notify all of them takes a tenth of a
//! second, in which no report of any other call or tenant could be applied. So some of them are notified
//! at a time, and the lock is free in between. What the call was folded to is applied at once, so each
//! client that subscribes meanwhile is stated the new level, and is not notified of it again.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::fanout::message::BuildInstant;
use super::fanout::message_builder::CallNames;
use super::fanout::subscriber::SubscriberId;
use super::large_folds::FoldJobResult;
use super::live_call::{DecidingFact, FoldedCall, SeenLevels};
use onrecord_evidence::identity::alias_graph::{Anchor, WalkPlace};

/// A fold whose result is applied and stated, step by step.
pub(crate) struct EndingFold {
    pub call: Anchor,
    /// The number of its request.
    pub number: u64,
    /// What is still to be applied: without the young events first, if that differs.
    pub results: VecDeque<FoldedCall>,
    /// What is being stated.
    pub statement: Option<LargeStatement>,
    /// Anchors whose subscribers are still to be compared.
    pub moved: Vec<Anchor>,
    /// Requests that wait for the result, which is applied.
    pub waiters: Vec<oneshot::Sender<()>>,
    /// What the call was folded to before. It is dropped with this value, while the lock is free.
    pub dropped: Vec<FoldedCall>,
}

impl EndingFold {
    pub(crate) fn new(result: FoldJobResult) -> Self {
        let FoldJobResult { call, number, without_young, folded } = result;
        Self {
            call,
            number,
            results: without_young.into_iter().chain([folded]).collect(),
            statement: None,
            moved: Vec::new(),
            waiters: Vec::new(),
            dropped: Vec::new(),
        }
    }

    /// Ends the wait of the requests whose event is applied.
    pub(crate) fn answer_waiters(&mut self) {
        for waiter in self.waiters.drain(..) {
            // The waiting request may have timed out.
            let _ = waiter.send(());
        }
    }
}

/// The levels of a large call, and how far they are stated.
pub(crate) struct LargeStatement {
    pub before: SeenLevels,
    /// The difference is announced as a change.
    pub as_change: bool,
    /// The fact that decided it, until the change is announced to the first ones.
    pub deciding: Option<DecidingFact>,
    pub time: BuildInstant,
    pub names: CallNames,
    pub place: SearchPlace,
    /// Subscribers that were found, and are still to be notified.
    pub found: VecDeque<SubscriberId>,
}

/// How far the subscribers of a call were looked up.
pub(crate) enum SearchPlace {
    /// None yet.
    Start,
    /// Those of the anchors below the call through this place.
    Below(Option<WalkPlace>),
}

impl LargeStatement {
    pub(crate) fn new(
        before: SeenLevels,
        as_change: bool,
        deciding: Option<DecidingFact>,
        time: BuildInstant,
    ) -> Self {
        let (names, found) = (CallNames::default(), VecDeque::new());
        Self { before, as_change, deciding, time, names, place: SearchPlace::Start, found }
    }
}
