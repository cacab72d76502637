//! The requests for folds of calls with very many events, which are folded while the lock of the live
//! state is free.
//!
//! # Why
//!
//! *A fold reads all events of its call.* In a call of ten thousand legs it takes a tenth of a second,
//! in which no report of any other call or tenant could be applied. So such a call is folded by a
//! thread of its own, from events that it shares with the buffers; only the start and the end of a
//! fold need the lock, and the end takes it step by step ([`super::ending_fold`]).
//!
//! *The folds of a call stay in order*, because at most one runs, and it reads all events that were
//! stored at its start. What arrives meanwhile requests the next fold. A result is discarded, and its
//! fold requested again, if the call has lost ids, was merged into another one, or was folded otherwise.
//!
//! *Old facts are not announced together with young ones* (`NO_STALE_CHANGE`). If a fold covers both
//! and the level differs, the events without the young ones are folded as well: what differs by then
//! is sent as a snapshot.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tokio::sync::oneshot;

use super::event_buffer::SharedEvents;
use super::live_call::{DecidingFact, FoldedCall, SeenLevels};
use onrecord_evidence::event::ids::Digest;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::Anchor;

/// Maximum number of events of a call that is folded while the lock is held: some two milliseconds.
pub(crate) const MAX_EVENTS_FOLDED_AT_ONCE: usize = 500;

/// A fold that a large call waits for.
pub(crate) struct RequestedFold {
    /// The place in the order of requests.
    pub number: u64,
    /// The log time through which everything was announced before, ms.
    pub announced_through: Millis,
    /// The youngest fact that requires it.
    pub deciding: Option<DecidingFact>,
    /// Old facts, links or merges require it too.
    pub has_old: bool,
    /// The young events that require it.
    pub young: HashSet<Digest>,
    /// Anchors whose subscribers are stated the level after the fold.
    pub moved: BTreeSet<Anchor>,
    /// Requests that wait for the fold.
    pub waiters: Vec<oneshot::Sender<()>>,
}

impl RequestedFold {
    fn add(&mut self, other: Self) {
        self.number = self.number.min(other.number);
        self.announced_through = self.announced_through.min(other.announced_through);
        self.add_deciding(other.deciding);
        self.has_old |= other.has_old;
        self.young.extend(other.young);
        self.moved.extend(other.moved);
        self.waiters.extend(other.waiters);
    }

    fn add_deciding(&mut self, deciding: Option<DecidingFact>) {
        let kept = self.deciding;
        if kept.is_none_or(|kept| deciding.is_some_and(|it| kept.at < it.at)) {
            self.deciding = deciding;
        }
    }
}

pub(crate) struct RunningFold {
    pub call: Anchor,
    pub request: RequestedFold,
    /// Heartbeats that arrived meanwhile, by attachment.
    pub heartbeats: BTreeMap<String, DecidingFact>,
}

/// The folds of the large calls of one tenant.
pub(crate) struct LargeFolds {
    /// Maximum number of events of a call that is folded while the lock is held.
    pub limit: usize,
    pub next_number: u64,
    pub requested: BTreeMap<Anchor, RequestedFold>,
    pub running: Option<RunningFold>,
    /// Young events since the last request, by call.
    pub young: HashMap<Anchor, HashSet<Digest>>,
}

impl LargeFolds {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            next_number: 0,
            requested: BTreeMap::new(),
            running: None,
            young: HashMap::new(),
        }
    }

    pub(crate) fn is_requested(&self) -> bool {
        !self.requested.is_empty()
    }

    /// A fold of the call is requested or runs.
    pub(crate) fn is_awaited(&self, call: &Anchor) -> bool {
        self.requested.contains_key(call) || self.is_running(call)
    }

    fn is_running(&self, call: &Anchor) -> bool {
        self.running.as_ref().is_some_and(|running| running.call == *call)
    }

    /// The log time through which everything was announced before the oldest request, ms.
    pub(crate) fn announced_through(&self) -> Option<Millis> {
        let running = self.running.iter().map(|running| &running.request);
        self.requested.values().chain(running).map(|it| it.announced_through).min()
    }

    /// Requests a fold. `may_announce`: the facts that require it may be announced as a change; else
    /// the young events are like old ones.
    pub(crate) fn request(
        &mut self,
        call: Anchor,
        deciding: Option<DecidingFact>,
        may_announce: bool,
        announced_through: Millis,
    ) {
        let young = self.young.remove(&call).filter(|_| may_announce);
        self.next_number += 1;
        let request = RequestedFold {
            number: self.next_number,
            announced_through,
            deciding,
            has_old: !may_announce || deciding.is_none(),
            young: young.unwrap_or_default(),
            moved: BTreeSet::new(),
            waiters: Vec::new(),
        };
        self.add(call, request);
    }

    fn add(&mut self, call: Anchor, request: RequestedFold) {
        match self.requested.get_mut(&call) {
            Some(requested) => requested.add(request),
            None => {
                self.requested.insert(call, request);
            }
        }
    }

    /// Discards the result of a running fold of the call, and requests the fold again.
    pub(crate) fn restart(&mut self, call: &Anchor) {
        if let Some(running) = self.running.take_if(|running| running.call == *call) {
            self.add(running.call, running.request);
        }
    }

    /// The call was folded at once, from all its events: what required a fold is stated, so its young
    /// events are old for later folds.
    pub(crate) fn folded_at_once(&mut self, call: &Anchor) {
        self.restart(call);
        self.young.remove(call);
        if let Some(request) = self.requested.get_mut(call) {
            request.young.clear();
        }
    }

    /// Moves the requests of a call to the call that absorbed it.
    pub(crate) fn merge(&mut self, absorbed: &Anchor, into: &Anchor) {
        self.restart(absorbed);
        self.young.remove(absorbed);
        if let Some(request) = self.requested.remove(absorbed) {
            self.add(into.clone(), request);
        }
    }

    /// Forgets a call that was removed or closed.
    pub(crate) fn remove(&mut self, call: &Anchor) {
        self.restart(call);
        self.young.remove(call);
        self.requested.remove(call);
    }

    /// Keeps an anchor until the requested fold of its call. Returns it if none is requested.
    pub(crate) fn keep_moved(&mut self, call: &Anchor, anchor: Anchor) -> Option<Anchor> {
        match self.requested.get_mut(call) {
            Some(request) => {
                request.moved.insert(anchor);
                None
            }
            None => Some(anchor),
        }
    }

    /// Lets requests wait until the requested fold of the call has ended.
    pub(crate) fn wait(&mut self, call: &Anchor, waiters: Vec<oneshot::Sender<()>>) {
        if let Some(request) = self.requested.get_mut(call) {
            request.waiters.extend(waiters);
        }
    }

    /// Keeps a heartbeat that arrived while its call is folded: the result may be that its client is
    /// not present.
    pub(crate) fn keep_heartbeat(&mut self, call: &Anchor, attachment: &str, fact: DecidingFact) {
        if let Some(running) = &mut self.running
            && running.call == *call
        {
            running.heartbeats.insert(attachment.to_owned(), fact);
        }
    }

    /// Removes the oldest request.
    pub(crate) fn next(&mut self) -> Option<(Anchor, RequestedFold)> {
        let first = self.requested.iter().min_by_key(|(_, request)| request.number);
        let call = first.map(|(call, _)| call.clone())?;
        self.requested.remove_entry(&call)
    }
}

/// A fold that needs no lock.
pub(crate) struct FoldJob {
    pub call: Anchor,
    pub number: u64,
    pub events: SharedEvents,
    /// Only if old and young facts require the fold: the young events, and the levels before.
    pub young: Option<(HashSet<Digest>, SeenLevels)>,
    pub now: Millis,
}

impl FoldJob {
    /// Folds the events.
    pub(crate) fn fold(self) -> FoldJobResult {
        let folded = FoldedCall::of(self.events.iter(), self.now);
        let without_young = self.young.filter(|(_, levels)| !folded.has_levels(levels));
        let without_young = without_young.map(|(young, _)| {
            let others = self.events.iter().filter(|event| !young.contains(&event.id));
            FoldedCall::of(others, self.now)
        });
        FoldJobResult { call: self.call, number: self.number, without_young, folded }
    }
}

/// The result of a [`FoldJob`].
pub(crate) struct FoldJobResult {
    pub call: Anchor,
    pub number: u64,
    /// What the events without the young ones result in, if it must be sent before.
    pub without_young: Option<FoldedCall>,
    pub folded: FoldedCall,
}
