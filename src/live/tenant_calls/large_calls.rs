//! Folds of calls with very many events, while the lock of the live state is free.
//!
//! # Why
//!
//! *A fold reads all events of its call.* In a call of ten thousand legs it takes a tenth of a second,
//! in which no report of any other call or tenant could be applied. So such a call is folded by a
//! thread of its own, from events that it shares with the buffers; only the start and the end of a
//! fold need the lock.
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

use super::{DecidingFact, TenantCalls};
use crate::live::event_buffer::SharedEvents;
use crate::live::fanout::message::BuildInstant;
use crate::live::live_call::{FoldedCall, SeenLevels};
use onrecord_evidence::event::ids::Digest;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::variant::is_stale_event;

/// Maximum number of events of a call that is folded while the lock is held: some two milliseconds.
pub(crate) const MAX_EVENTS_FOLDED_AT_ONCE: usize = 500;

/// A fold that a large call waits for.
struct RequestedFold {
    /// The place in the order of requests.
    number: u64,
    /// The log time through which everything was announced before, ms.
    announced_through: Millis,
    /// The youngest fact that requires it.
    deciding: Option<DecidingFact>,
    /// Old facts, links or merges require it too.
    has_old: bool,
    /// The young events that require it.
    young: HashSet<Digest>,
    /// Anchors whose subscribers are stated the level after the fold.
    moved: BTreeSet<Anchor>,
    /// Requests that wait for the fold.
    waiters: Vec<oneshot::Sender<()>>,
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

struct RunningFold {
    call: Anchor,
    request: RequestedFold,
    /// Heartbeats that arrived meanwhile, by attachment.
    heartbeats: BTreeMap<String, DecidingFact>,
}

/// The folds of the large calls of one tenant.
pub(crate) struct LargeFolds {
    /// Maximum number of events of a call that is folded while the lock is held.
    limit: usize,
    next_number: u64,
    requested: BTreeMap<Anchor, RequestedFold>,
    running: Option<RunningFold>,
    /// Young events since the last request, by call.
    young: HashMap<Anchor, HashSet<Digest>>,
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

    /// Requests a fold. `may_announce`: the facts that require it may be announced as a change.
    pub(crate) fn request(
        &mut self,
        call: Anchor,
        deciding: Option<DecidingFact>,
        may_announce: bool,
        announced_through: Millis,
    ) {
        let young = if may_announce { self.young.remove(&call) } else { None };
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

    fn next(&mut self) -> Option<(Anchor, RequestedFold)> {
        let first = self.requested.iter().min_by_key(|(_, request)| request.number);
        let call = first.map(|(call, _)| call.clone())?;
        self.requested.remove_entry(&call)
    }
}

/// A fold that needs no lock.
pub(crate) struct FoldJob {
    call: Anchor,
    number: u64,
    events: SharedEvents,
    /// Only if old and young facts require the fold: the young events, and the levels before.
    young: Option<(HashSet<Digest>, SeenLevels)>,
    now: Millis,
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
    call: Anchor,
    number: u64,
    /// What the events without the young ones result in, if it must be sent before.
    without_young: Option<FoldedCall>,
    folded: FoldedCall,
}

impl TenantCalls {
    /// Whether a call is too large to be folded while the lock is held.
    pub(crate) fn is_large(&self, call: &Anchor) -> bool {
        let live = self.calls.get(call);
        live.is_some_and(|live| live.event_count > self.large.limit && !live.is_closed())
    }

    /// Keeps the key of an event at `at` (ms) of a large call if it is young.
    pub(crate) fn keep_if_young(&mut self, call: &Anchor, key: Digest, at: Millis, now: Millis) {
        if !is_stale_event(now, at) && self.is_large(call) {
            self.large.young.entry(call.clone()).or_default().insert(key);
        }
    }

    /// Starts the fold that was requested first. `None`: none is requested, or one is running.
    pub(crate) fn start_large_fold(&mut self, now: Millis) -> Option<FoldJob> {
        if self.large.running.is_some() {
            return None;
        }
        while let Some((call, mut request)) = self.large.next() {
            let mut events = SharedEvents::default();
            for member in self.aliases.members(&call) {
                if let Some(buffer) = self.buffers.get(&member) {
                    events.add(buffer);
                }
            }
            let Some(live) = self.calls.get_mut(&call).filter(|_| !events.is_empty()) else {
                // Without events the call is closed or removed: the next tick compares what was stated.
                if let Some(live) = self.calls.get_mut(&call) {
                    live.event_count = 0;
                }
                self.moved.extend(request.moved);
                self.mark_dirty(call, request.deciding);
                continue;
            };
            let young = std::mem::take(&mut request.young);
            let is_mixed = request.has_old && !young.is_empty();
            let young = is_mixed.then(|| (young, live.levels()));
            let job = FoldJob { call: call.clone(), number: request.number, events, young, now };
            let heartbeats = BTreeMap::new();
            self.large.running = Some(RunningFold { call, request, heartbeats });
            return Some(job);
        }
        None
    }

    /// Applies the result of a fold and notifies subscribers, unless the result is no longer current.
    pub(crate) fn finish_large_fold(
        &mut self,
        result: FoldJobResult,
        may_announce: bool,
        time: BuildInstant,
    ) {
        let is_current = |running: &mut RunningFold| {
            running.call == result.call && running.request.number == result.number
        };
        let Some(running) = self.large.running.take_if(is_current) else {
            return;
        };
        let RunningFold { call, request, heartbeats } = running;
        // What was stated to the subscribers of anchors that joined the call meanwhile is compared
        // after the fold that contains their events.
        let joined = self.large.requested.get(&call).map(|it| it.moved.clone());
        let joined = self.subscribers_of(joined.unwrap_or_default());
        if let Some(folded) = result.without_young {
            let before = self.apply_fold(&call, folded, time.now);
            self.notify_folded(&call, &before, None, false, &joined, time);
        }
        let before = self.apply_fold(&call, result.folded, time.now);
        self.notify_folded(&call, &before, request.deciding, may_announce, &joined, time);
        let affected = self.subscribers_of(request.moved);
        self.restate_to(&affected - &joined, time);
        let present = self.calls.get(&call).map(|live| &live.present_attachments);
        let missed = heartbeats
            .into_iter()
            .filter(|(attachment, _)| !present.is_some_and(|it| it.contains(attachment)))
            .map(|(_, fact)| fact)
            .max_by_key(|fact| fact.at);
        if missed.is_some() {
            self.mark_dirty(call, missed);
        }
        for waiter in request.waiters {
            // The waiting request may have timed out.
            let _ = waiter.send(());
        }
    }

    /// Marks the calls of requested and running folds as dirty instead.
    pub(crate) fn abandon_large_folds(&mut self) {
        self.large.young.clear();
        if let Some(running) = self.large.running.take() {
            self.mark_dirty(running.call, running.request.deciding);
        }
        for (call, request) in std::mem::take(&mut self.large.requested) {
            self.mark_dirty(call, request.deciding);
        }
    }
}
