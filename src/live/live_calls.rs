//! The live state of one node: all calls in progress, and the subscribers to them.
//!
//! Everything is in memory behind one lock that is never held over an await. Events from the log
//! and the spool are applied in any order and any number of times (`ONCE`, `ORDER_FREE`). A call is
//! folded from the set of its events by the same function that the ledger uses, and each subscriber
//! whose last stated level differs gets a message.
//!
//! # Why
//!
//! *One lock.* Folding is the main cost, and most events need no fold: a heartbeat of a client that
//! is present changes nothing before the timer of the call is due. The cost of a fold depends on
//! the number of different statements, not of repetitions
//! ([`onrecord_evidence::session::report_history`]), and the number of statements per client is
//! limited. Sharding would make `LEVEL_TRIGGERED` harder to verify. A call with very many events is
//! folded while the lock is free ([`crate::live::large_folds`]).
//!
//! *The log is folded once, at its end.* Folding a call after each message costs the square of the
//! number of messages, and would only reproduce notices that other nodes have already sent: a
//! cursor from before the start is answered with `gap` and the levels. The same holds for a node
//! that fell behind. Calls that ended are closed during the replay, by the log's own time, so that
//! replaying a day takes no more memory than running for a day.
//!
//! *Notices follow the level.* The last stated level of each subscriber is kept. A change that must
//! not be announced (`NO_STALE_CHANGE`), a merge of two calls or a slow start therefore leaves no
//! subscriber with a wrong level: each one that differs gets a snapshot.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::gauge;
use tokio::sync::{Notify, oneshot};

use super::ending_fold::EndingFold;
use super::large_folds::MAX_EVENTS_FOLDED_AT_ONCE;
use super::live_state::{EventOrigin, IncomingEvent, LiveState};
use super::tenant_calls::{NotAdmitted, TenantCalls};
use crate::live::fanout::message::{BuildInstant, MessageKind, StreamMessage};
use crate::live::fanout::notify::{LevelAnswer, ResumePoint};
use crate::live::fanout::queue::Receiver;
use crate::live::fanout::subscriber::{StreamSubscriber, SubscriberId, SubscriptionScope};
use crate::live::replay::replay_progress::ReplayStage;
use crate::telemetry::names;
use onrecord_evidence::event::ids::{Digest, Tenant};
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::Anchor;

/// Maximum age of a cursor whose changes can still be known completely, ms.
const MAX_CURSOR_AGE: Millis = 24 * 60 * 60 * 1000;
/// Overlap of a resumed stream, ms: changes folded within this time before the cursor are sent
/// again.
const RESUME_OVERLAP: Millis = 5_000;

/// Maximum number of closed calls of a node that are whole. Beyond it those that were closed first are
/// compacted, whatever streams may resume.
const MAX_CLOSED_CALLS: usize = 8_192;
/// Maximum number of calls of a tenant that are compacted under one lock: two milliseconds.
const MAX_COMPACTED_AT_ONCE: usize = 256;

/// Interval in which the lock is free between two steps of the end of the fold of a large call.
const LOCK_RELEASE_INTERVAL: Duration = Duration::from_micros(50);

/// The live state of a node. Clones share it.
#[derive(Clone)]
pub(crate) struct LiveCalls {
    state: Arc<Mutex<LiveState>>,
    /// Notified when a fold of a large call is requested.
    large_folds: Arc<Notify>,
    /// Maximum number of messages that wait for one subscriber.
    queue_limit: usize,
}

/// What the cursor of a resumed stream says.
#[derive(Clone, Copy)]
pub(crate) struct CursorPoint {
    /// The stream has sent everything up to this instant, ms; 0: the cursor is unreadable.
    pub at: Millis,
    /// The stream had stated a level, or may have.
    pub has_stated: bool,
}

/// No subscriber is registered, because the shutdown has begun.
#[derive(Debug)]
pub(crate) struct LiveStateClosed;

/// Waits until an event is applied to the live state.
pub(crate) struct EventWaiter {
    live_calls: LiveCalls,
    key: Digest,
    applied: oneshot::Receiver<()>,
}

impl EventWaiter {
    /// Ends when the event is applied.
    pub(crate) async fn applied(&mut self) {
        // Without an answer the call has left the live state.
        let _ = (&mut self.applied).await;
    }
}

impl Drop for EventWaiter {
    fn drop(&mut self) {
        self.applied.close();
        let mut state = self.live_calls.lock();
        if let Some(waiter) = state.waiters.get_mut(&self.key) {
            waiter.retain(|waiter| !waiter.is_closed());
            if waiter.is_empty() {
                state.waiters.remove(&self.key);
            }
        }
    }
}

impl LiveCalls {
    /// Creates an empty state that has read nothing of the log.
    #[must_use]
    pub(crate) fn new(queue_limit: usize) -> Self {
        Self::with_fold_limit(queue_limit, MAX_EVENTS_FOLDED_AT_ONCE)
    }

    /// `fold_limit`: maximum number of events of a call that is folded while the lock is held.
    fn with_fold_limit(queue_limit: usize, fold_limit: usize) -> Self {
        let closed_limit = MAX_CLOSED_CALLS;
        let state = LiveState { fold_limit, closed_limit, ..LiveState::default() };
        let (state, large_folds) = (Arc::new(Mutex::new(state)), Arc::default());
        Self { state, large_folds, queue_limit }
    }

    fn lock(&self) -> MutexGuard<'_, LiveState> {
        // A panic under the lock can only leave a call folded too early; the next event corrects
        // it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies events, folds each call that they touch, and sends a message to each subscriber
    /// whose stated level differs. A burst results in one level.
    pub(crate) fn apply(&self, events: Vec<IncomingEvent>, origin: EventOrigin, now: Millis) {
        let mut state = self.lock();
        state.apply(events, origin, true, now);
        self.notify_large_folds(&state);
    }

    /// Applies events of one page of the spool when more pages follow. They are announced by
    /// [`LiveCalls::announce_spooled`], because a level between two pages was never true.
    pub(crate) fn collect_spooled(&self, events: Vec<IncomingEvent>, now: Millis) {
        self.lock().apply(events, EventOrigin::Spool, false, now);
    }

    /// Announces the events of [`LiveCalls::collect_spooled`]: the last page was applied.
    pub(crate) fn announce_spooled(&self, now: Millis) {
        let mut state = self.lock();
        if state.stage != ReplayStage::CatchingUp {
            state.announce_spooled(now);
        }
        self.notify_large_folds(&state);
    }

    /// Sets the identity of the log that is read.
    pub(crate) fn set_incarnation(&self, incarnation: String) {
        self.lock().incarnation = incarnation;
    }

    /// The identity of the log that is read.
    #[must_use]
    pub(crate) fn incarnation(&self) -> String {
        self.lock().incarnation.clone()
    }

    /// Sets the stage of the replay. Before the end of catching up, [`LiveCalls::fold_deferred`]
    /// must be called until it returns false, unless a part of the log is `unread`.
    pub(crate) fn set_stage(&self, stage: ReplayStage, unread: bool, now: Millis) {
        let mut state = self.lock();
        state.set_stage(stage, unread, now);
        self.notify_large_folds(&state);
    }

    fn notify_large_folds(&self, state: &LiveState) {
        if state.tenants.values().any(|tenant_calls| tenant_calls.large.is_requested()) {
            self.large_folds.notify_one();
        }
    }

    /// Waits until a fold of a large call may have been requested.
    pub(crate) async fn large_fold_requested(&self) {
        self.large_folds.notified().await;
    }

    /// Folds a large call while the lock is free, and notifies its subscribers. Returns false if no
    /// fold is requested. Only one thread may call it.
    pub(crate) fn fold_large_call(&self, now: impl Fn() -> Millis) -> bool {
        let Some((tenant, job)) = self.lock().start_large_fold(now()) else {
            return false;
        };
        let mut ending = EndingFold::new(job.fold());
        while self.lock().end_large_fold(&tenant, &mut ending, now()) {
            ending.answer_waiters();
            // The lock is not fair: without a pause this thread would take it again before the one that
            // waits for it.
            std::thread::sleep(LOCK_RELEASE_INTERVAL);
        }
        true
    }

    /// Folds at most `limit` of the calls deferred during the replay. Returns false if there was
    /// none.
    pub(crate) fn fold_deferred(&self, limit: usize, now: Millis) -> bool {
        let mut state = self.lock();
        state.tenants.values_mut().any(|tenant_calls| tenant_calls.fold_deferred(limit, now) > 0)
    }

    /// Sends `gap` to every subscriber: a part of the log is lost or was not followed.
    pub(crate) fn send_gap(&self, reason: &str, now: Millis) {
        let mut state = self.lock();
        let time = BuildInstant { at: state.announced_through, now };
        let message = StreamMessage::reason(MessageKind::Gap, reason, time);
        for tenant_calls in state.tenants.values_mut() {
            tenant_calls.subscribers.broadcast(&message, now);
        }
    }

    /// Folds the calls whose timer is due, and closes calls that ended.
    pub(crate) fn tick(&self, now: Millis) {
        let mut state = self.lock();
        if state.stage != ReplayStage::CatchingUp {
            state.tick(now);
            for tenant_calls in state.tenants.values_mut() {
                tenant_calls.close_ended(now);
            }
            state.compact(MAX_COMPACTED_AT_ONCE, now);
        }
        self.notify_large_folds(&state);
        gauge!(names::STREAMS).set(state.subscribers() as f64);
    }

    /// Removes calls that ended long ago, and calls without an event for `idle_limit` ms. `read_to` is
    /// the log's own time during the replay.
    pub(crate) fn evict(&self, read_to: Option<Millis>, idle_limit: Option<Millis>, now: Millis) {
        let mut state = self.lock();
        if state.unread && read_to.is_none() {
            return;
        }
        for tenant_calls in state.tenants.values_mut() {
            tenant_calls.evict(read_to.unwrap_or(now), idle_limit, now);
            tenant_calls.expire_unreported(now);
        }
        if read_to.is_some() {
            state.compact(usize::MAX, now);
        }
        state.tenants.retain(|_, tenant_calls| !tenant_calls.is_empty());
        state.known_since = state.known_since.max(now - MAX_CURSOR_AGE);
        state.count_calls();
    }

    /// Registers a waiter for the event with this key; to be called before the event is published.
    #[must_use]
    pub(crate) fn wait_for(&self, key: Digest) -> EventWaiter {
        let (send, applied) = oneshot::channel();
        self.lock().waiters.entry(key).or_default().push(send);
        EventWaiter { live_calls: self.clone(), key, applied }
    }

    /// Checks whether a report of this person at this attachment is admitted.
    ///
    /// # Errors
    ///
    /// The reason for the rejection.
    pub(crate) fn admits(
        &self,
        tenant: &Tenant,
        attachment: &str,
        person: &str,
        server_call_id: Option<&str>,
    ) -> Result<(), NotAdmitted> {
        let mut state = self.lock();
        let Some(tenant_calls) = state.tenants.get_mut(tenant) else {
            return Ok(());
        };
        tenant_calls.expand(&Anchor::attachment(attachment));
        if let Some(server_call_id) = server_call_id {
            tenant_calls.expand(&Anchor::server(server_call_id));
        }
        tenant_calls.admits(attachment, person, server_call_id)
    }

    /// Reads the calls of a tenant, of which `anchor` names one; `None`: it has none.
    pub(crate) fn read_tenant<T>(
        &self,
        tenant: &Tenant,
        anchor: Option<&Anchor>,
        read: impl FnOnce(Option<&TenantCalls>) -> T,
    ) -> T {
        let mut state = self.lock();
        let mut tenant_calls = state.tenants.get_mut(tenant);
        if let (Some(tenant_calls), Some(anchor)) = (&mut tenant_calls, anchor) {
            tenant_calls.expand(anchor);
        }
        read(tenant_calls.as_deref())
    }

    /// Admits an acknowledgement of this person at this attachment, received at `at` (ms).
    /// `max_unreported`: maximum number of attachments of the person that no report names.
    ///
    /// # Errors
    ///
    /// The reason for the rejection.
    pub(crate) fn admit_acknowledgement(
        &self,
        tenant: &Tenant,
        attachment: &str,
        person: &str,
        max_unreported: usize,
        at: Millis,
    ) -> Result<(), NotAdmitted> {
        let mut state = self.lock();
        let tenant_calls = state.tenant_calls(tenant);
        tenant_calls.expand(&Anchor::attachment(attachment));
        tenant_calls.admit_acknowledgement(attachment, person, max_unreported, at)
    }

    /// The instant that a cursor written now carries, ms.
    #[must_use]
    pub(crate) fn announced_through(&self) -> Millis {
        self.lock().announced_through
    }

    /// The level of the one call in a scope.
    #[must_use]
    pub(crate) fn level(
        &self,
        tenant: &Tenant,
        scope: &SubscriptionScope,
        now: Millis,
    ) -> LevelAnswer {
        let mut state = self.lock();
        let time = BuildInstant { at: state.announced_through, now };
        let without_call = state.without_call();
        let Some(tenant_calls) = state.tenants.get_mut(tenant) else {
            return LevelAnswer::unknown(without_call, time.at);
        };
        tenant_calls.expand_scope(scope);
        tenant_calls.current_level(scope, without_call, time)
    }

    /// The level of the one call in a scope, as a snapshot.
    #[must_use]
    pub(crate) fn snapshot(
        &self,
        tenant: &Tenant,
        scope: &SubscriptionScope,
        now: Millis,
    ) -> StreamMessage {
        let mut state = self.lock();
        let time = BuildInstant { at: state.announced_through, now };
        let without_call = state.without_call();
        let Some(tenant_calls) = state.tenants.get_mut(tenant) else {
            return StreamMessage::unknown_level(None, without_call, time);
        };
        tenant_calls.expand_scope(scope);
        tenant_calls.current_snapshot(scope, without_call, time)
    }

    /// Registers a subscriber. With `since` (what a cursor says) its queue begins with the missed changes, or with `gap` if they are not completely
    /// known. The levels follow in any case. Returns its id, and the receiving end of its queue.
    ///
    /// # Errors
    ///
    /// [`LiveStateClosed`].
    pub(crate) fn subscribe(
        &self,
        tenant: &Tenant,
        scope: SubscriptionScope,
        since: Option<CursorPoint>,
        now: Millis,
    ) -> Result<(SubscriberId, Receiver), LiveStateClosed> {
        let mut state = self.lock();
        if state.closed {
            return Err(LiveStateClosed);
        }
        state.next_subscriber += 1;
        let id = SubscriberId(state.next_subscriber);
        let time = BuildInstant { at: state.announced_through, now };
        let is_live = state.stage == ReplayStage::Live;
        let resumed = since.map(|CursorPoint { at, has_stated }| ResumePoint {
            from: (at > 0).then_some(at - RESUME_OVERLAP),
            is_complete: is_live && state.known_since <= at,
            has_stated,
        });
        let without_call = state.without_call();
        let (subscriber, receiver) = StreamSubscriber::new(scope, self.queue_limit);
        let tenant_calls = state.tenant_calls(tenant);
        tenant_calls.open_subscription(id, subscriber, resumed, without_call, time);
        Ok((id, receiver))
    }

    /// Replaces the scope of a subscriber by that of another token of the same participant.
    pub(crate) fn renew_scope(
        &self,
        tenant: &Tenant,
        id: SubscriberId,
        scope: SubscriptionScope,
        now: Millis,
    ) {
        let mut state = self.lock();
        let time = BuildInstant { at: state.announced_through, now };
        if let Some(tenant_calls) = state.tenants.get_mut(tenant) {
            tenant_calls.renew_scope(id, scope, time);
        }
    }

    /// The message that states the level of a call to a subscriber of many calls; `None`: there is
    /// nothing to state any more.
    pub(crate) fn level_message(
        &self,
        tenant: &Tenant,
        id: SubscriberId,
        call: &Anchor,
        now: Millis,
    ) -> Option<StreamMessage> {
        let mut state = self.lock();
        let time = BuildInstant { at: state.announced_through, now };
        state.tenants.get_mut(tenant)?.level_message(id, call, time)
    }

    /// Ends all queues for the shutdown: each subscriber still receives the messages that are in
    /// its queue.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for tenant_calls in state.tenants.values_mut() {
            tenant_calls.subscribers.clear();
        }
    }

    /// Removes a subscriber whose stream has ended.
    pub(crate) fn unsubscribe(&self, tenant: &Tenant, id: SubscriberId) {
        if let Some(tenant_calls) = self.lock().tenants.get_mut(tenant) {
            tenant_calls.subscribers.remove(id);
        }
    }
}

#[cfg(test)]
mod tests;
