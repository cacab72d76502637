//! Starts and ends the folds of calls with very many events, which need no lock in between.

use std::collections::{BTreeMap, BTreeSet};

use super::TenantCalls;
use crate::live::ending_fold::{EndingFold, LargeStatement, SearchPlace};
use crate::live::event_buffer::SharedEvents;
use crate::live::fanout::message::BuildInstant;
use crate::live::fanout::notify::record_duration;
use crate::live::fanout::subscriber::SubscriberId;
use crate::live::fanout::subscriber_registry::SubscriberKey;
use crate::live::large_folds::{FoldJob, RunningFold};
use onrecord_evidence::event::ids::Digest;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::{Anchor, PlaceInWalk};
use onrecord_evidence::notice::variant::is_stale_event;

/// Maximum number of recipients that are notified before the lock is released: a millisecond.
pub(crate) const MAX_RECIPIENTS_AT_ONCE: usize = 128;
/// Maximum number of anchors whose subscribers are looked up before the lock is released.
const MAX_ANCHORS_AT_ONCE: usize = 512;

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
        while let Some((call, request)) = self.large.next() {
            let mut events = SharedEvents::default();
            self.buffers_of(&call).into_iter().for_each(|buffer| events.add(buffer));
            let Some(live) = self.calls.get_mut(&call).filter(|_| !events.is_empty()) else {
                // Without events the call is closed or removed: the next tick compares what was stated.
                if let Some(live) = self.calls.get_mut(&call) {
                    live.event_count = 0;
                }
                self.moved.extend(request.moved);
                self.mark_dirty(call, request.deciding);
                continue;
            };
            let is_mixed = request.has_old && !request.young.is_empty();
            // The request keeps them: if the result is discarded, the fold is requested again.
            let young = is_mixed.then(|| (request.young.clone(), live.levels()));
            let job = FoldJob { call: call.clone(), number: request.number, events, young, now };
            let heartbeats = BTreeMap::new();
            self.large.running = Some(RunningFold { call, request, heartbeats });
            return Some(job);
        }
        None
    }

    /// Does the next step of the end of a fold: applies its result, or notifies some subscribers. Returns
    /// false if it was the last step, or the result is no longer current.
    pub(crate) fn end_large_fold(
        &mut self,
        ending: &mut EndingFold,
        may_announce: bool,
        time: BuildInstant,
    ) -> bool {
        let is_current = |running: &&mut RunningFold| {
            running.call == ending.call && running.request.number == ending.number
        };
        let Some(running) = self.large.running.as_mut().filter(is_current) else {
            return false;
        };
        if let Some(statement) = &mut ending.statement {
            if !self.notify_some(&ending.call, statement) {
                self.end_statement(&ending.call);
                ending.statement = None;
            }
        } else if let Some(mut folded) = ending.results.pop_front() {
            let (mut deciding, mut may_announce) = (None, may_announce);
            if ending.results.is_empty() {
                deciding = running.request.deciding;
                // Time requires the fold too, but the levels before old facts are not known without a
                // young event.
                may_announce &= !(running.request.has_old && running.request.young.is_empty());
                ending.moved = running.request.moved.iter().cloned().collect();
                ending.waiters = std::mem::take(&mut running.request.waiters);
                // They are folded: for a later fold they are old.
                running.request.young.clear();
            }
            let before = self.apply_fold(&ending.call, &mut folded, time.now);
            ending.dropped.push(folded);
            let as_change = self.decide_cause(&ending.call, &before, deciding, may_announce, time);
            self.record_change(&ending.call, &before, as_change, time);
            ending.statement = Some(LargeStatement::new(before, as_change, deciding, time));
        } else if !ending.moved.is_empty() {
            let rest = ending.moved.len().saturating_sub(MAX_RECIPIENTS_AT_ONCE);
            let affected = self.subscribers_of(ending.moved.split_off(rest).into_iter().collect());
            self.restate_to(&affected - &self.joined_since(&ending.call), time);
        } else {
            self.finish_large_fold();
            return false;
        }
        true
    }

    /// Notifies some of the subscribers of a large call. Returns false if there were no more.
    fn notify_some(&mut self, call: &Anchor, statement: &mut LargeStatement) -> bool {
        if statement.found.is_empty() && !self.find_some(call, statement) {
            return false;
        }
        let joined = self.joined_since(call);
        let some = statement.found.len().min(MAX_RECIPIENTS_AT_ONCE);
        let mut recipients: BTreeSet<SubscriberId> = statement.found.drain(..some).collect();
        recipients.retain(|id| !joined.contains(id) && self.is_recipient(*id, call));
        let names = std::mem::take(&mut statement.names);
        let (before, as_change) = (&statement.before, statement.as_change);
        let (announced, names) =
            self.state_to(call, before, as_change, recipients, names, statement.time);
        statement.names = names;
        if announced {
            // By the first ones that it is announced to.
            record_duration(statement.deciding.take(), statement.time);
        }
        true
    }

    /// Finds the subscribers of the next anchors of a large call. Returns false if there are no more.
    fn find_some(&self, call: &Anchor, statement: &mut LargeStatement) -> bool {
        let (found, place) = match &statement.place {
            SearchPlace::Start => {
                let mut found = self.subscribers.find([SubscriberKey::Everything]);
                found.extend(self.found_by([call]));
                (found, None)
            }
            SearchPlace::Below(after) => {
                let walk = self.aliases.walk(call, after.as_ref());
                let places: Vec<PlaceInWalk<'_>> = walk.take(MAX_ANCHORS_AT_ONCE).collect();
                let Some(last) = places.last() else {
                    return false;
                };
                let below = places.iter().map(|place| place.anchor);
                let members: Vec<&Anchor> =
                    below.filter(|it| self.aliases.call_of(it) == *call).collect();
                (self.found_by(members), Some(last.to_place()))
            }
        };
        statement.found.extend(found);
        statement.place = SearchPlace::Below(place);
        true
    }

    /// The subscribers of anchors that joined a call since its fold was started: what was stated to them
    /// is compared after the fold that contains their events.
    fn joined_since(&self, call: &Anchor) -> BTreeSet<SubscriberId> {
        let joined = self.large.requested.get(call).map(|it| it.moved.clone());
        self.subscribers_of(joined.unwrap_or_default())
    }

    /// Ends the running fold: all its subscribers are notified.
    fn finish_large_fold(&mut self) {
        let Some(RunningFold { call, heartbeats, .. }) = self.large.running.take() else {
            return;
        };
        let present = self.calls.get(&call).map(|live| &live.present_attachments);
        let missed = heartbeats
            .into_iter()
            .filter(|(attachment, _)| !present.is_some_and(|it| it.contains(attachment)))
            .map(|(_, fact)| fact)
            .max_by_key(|fact| fact.at);
        if missed.is_some() {
            self.mark_dirty(call, missed);
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
