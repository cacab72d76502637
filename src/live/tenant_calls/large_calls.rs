//! Starts and ends the folds of calls with very many events, which need no lock in between.

use std::collections::BTreeMap;

use super::TenantCalls;
use crate::live::event_buffer::SharedEvents;
use crate::live::fanout::message::BuildInstant;
use crate::live::large_folds::{FoldJob, FoldJobResult, RunningFold};
use onrecord_evidence::event::ids::Digest;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::variant::is_stale_event;

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
