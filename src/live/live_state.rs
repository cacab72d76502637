//! The state of a node behind the lock of [`LiveCalls`](super::live_calls::LiveCalls): the calls of each tenant, the
//! requests that wait for an event, and how far the log is read. Nothing here awaits.

use std::collections::HashMap;

use metrics::gauge;
use tokio::sync::oneshot;

use super::ending_fold::EndingFold;
use super::large_folds::FoldJob;
use super::tenant_calls::TenantCalls;
use crate::live::fanout::message::{BuildInstant, UnknownReason};
use crate::live::replay::replay_progress::ReplayStage;
use crate::telemetry::names;
use onrecord_evidence::event::calling_event::ObservedEvent;
use onrecord_evidence::event::ids::{Digest, Tenant};
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::{Anchor, CallIds};
use onrecord_evidence::notice::variant::is_stale_event;

/// The calls of all tenants, and what has been read of the log.
#[derive(Default)]
pub(super) struct LiveState {
    /// Maximum number of events of a call that is folded while the lock is held.
    pub(super) fold_limit: usize,
    /// Maximum number of closed calls that are whole.
    pub(super) closed_limit: usize,
    /// The tenant whose large call was folded last.
    pub(super) last_large: Option<Tenant>,
    pub(super) tenants: HashMap<Tenant, TenantCalls>,
    /// Requests that wait until the event with this key is applied.
    pub(super) waiters: HashMap<Digest, Vec<oneshot::Sender<()>>>,
    pub(super) next_subscriber: u64,
    /// The latest broker time that was applied, and the latest that was also announced, ms. Cursors
    /// carry the second one.
    pub(super) received_through: Millis,
    pub(super) announced_through: Millis,
    pub(super) stage: ReplayStage,
    /// While the state is live: all changes since this instant (ms) are known; an older cursor gets
    /// `gap`.
    pub(super) known_since: Millis,
    /// A part of the log is still to be read.
    pub(super) unread: bool,
    /// The shutdown has begun.
    pub(super) closed: bool,
    /// Identifies the log; cursors are bound to it.
    pub(super) incarnation: String,
}

/// An event from the log or the spool.
pub(crate) struct IncomingEvent {
    pub tenant: Tenant,
    pub ids: CallIds,
    /// The observed event, if the rules of evidence read it. The ids link calls in any case.
    pub observed: Option<ObservedEvent>,
    /// When the service received it, ms.
    pub received_at: Millis,
    /// When the log or the spool stored it, ms.
    pub stored_at: Millis,
}

/// An event that a tenant's calls store: its tenant, anchor, content, and when it was received (ms).
type NewEvent = (Tenant, Anchor, ObservedEvent, Millis);

/// Where events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventOrigin {
    Log,
    Spool,
}

impl LiveState {
    /// Why the level of a call that is not known is unknown. While a part of the log is not read, a call
    /// may be connected that is not known here.
    pub(super) fn without_call(&self) -> Option<UnknownReason> {
        let is_read = self.stage == ReplayStage::Live && !self.unread;
        is_read.then_some(UnknownReason::NotConnectedYet)
    }

    pub(super) fn tenant_calls(&mut self, tenant: &Tenant) -> &mut TenantCalls {
        let fold_limit = self.fold_limit;
        let tenants = self.tenants.entry(tenant.clone());
        tenants.or_insert_with(|| TenantCalls::new(tenant.clone(), fold_limit))
    }

    pub(super) fn apply(
        &mut self,
        events: Vec<IncomingEvent>,
        origin: EventOrigin,
        notify_now: bool,
        now: Millis,
    ) {
        let fold_now = notify_now && self.stage != ReplayStage::CatchingUp;
        if fold_now {
            // Changes caused by time alone are announced as such, before the events.
            self.tick(now);
        }
        let mut keys = Vec::with_capacity(events.len());
        let (mut young, mut old) = (Vec::new(), Vec::new());
        let mut awaited = Vec::new();
        for event in events {
            // A broker clock that is ahead must not move all cursors into the future.
            self.received_through = self.received_through.max(event.stored_at.min(now));
            self.tenant_calls(&event.tenant).add_ids(&event.ids, event.stored_at.min(now));
            let (Some(anchor), Some(observed)) = (event.ids.anchor, event.observed) else {
                continue;
            };
            keys.push(observed.id);
            let by_age = if is_stale_event(now, observed.at) { &mut old } else { &mut young };
            by_age.push((event.tenant, anchor, observed, event.received_at));
        }
        let mut add = |state: &mut Self, (tenant, anchor, observed, received_at): NewEvent| {
            let key = observed.id;
            let is_to_be_folded =
                state.tenant_calls(&tenant).add_event(&anchor, observed, received_at, now);
            if is_to_be_folded && state.waiters.contains_key(&key) {
                awaited.push((tenant, anchor, key));
            }
        };
        for event in old {
            add(self, event);
        }
        if fold_now {
            self.fold_and_notify(false, now);
        }
        for event in young {
            add(self, event);
        }
        if fold_now {
            self.fold_and_notify(true, now);
        } else {
            for tenant_calls in self.tenants.values_mut() {
                tenant_calls.defer_dirty(origin == EventOrigin::Spool);
            }
        }
        for (tenant, anchor, key) in awaited {
            if let Some(tenant_calls) = self.tenants.get_mut(&tenant) {
                let call = tenant_calls.aliases.call_of(&anchor);
                if tenant_calls.large.is_awaited(&call)
                    && let Some(waiters) = self.waiters.remove(&key)
                {
                    tenant_calls.large.wait(&call, waiters);
                }
            }
        }
        for waiter in keys.iter().filter_map(|key| self.waiters.remove(key)).flatten() {
            // The waiting request may have timed out.
            let _ = waiter.send(());
        }
    }

    /// Folds the dirty calls. Changes are announced only when the complete log is known.
    pub(super) fn fold_and_notify(&mut self, may_announce: bool, now: Millis) {
        let time = self.announce_time(now);
        let may_announce = may_announce && self.stage == ReplayStage::Live;
        for tenant_calls in self.tenants.values_mut() {
            tenant_calls.fold_and_notify(may_announce, time);
        }
    }

    /// The instant of messages that are built now. What a large call waits for is not announced yet.
    pub(super) fn announce_time(&mut self, now: Millis) -> BuildInstant {
        let awaited = self.tenants.values().filter_map(|it| it.large.announced_through()).min();
        let through = awaited.map_or(self.received_through, |it| it.min(self.received_through));
        self.announced_through = self.announced_through.max(through);
        BuildInstant { at: self.announced_through, now }
    }

    /// Starts the next fold of a large call. The tenants have turns.
    pub(super) fn start_large_fold(&mut self, now: Millis) -> Option<(Tenant, FoldJob)> {
        let requested = self.tenants.iter().filter(|(_, calls)| calls.large.is_requested());
        let turn = |tenant: &Tenant| (Some(tenant) <= self.last_large.as_ref(), tenant.clone());
        let next = requested.map(|(tenant, _)| turn(tenant)).min();
        let (_, tenant) = next?;
        self.last_large = Some(tenant.clone());
        let job = self.tenants.get_mut(&tenant)?.start_large_fold(now)?;
        Some((tenant, job))
    }

    /// Does the next step of the end of a fold. Returns false if it was the last one.
    pub(super) fn end_large_fold(
        &mut self,
        tenant: &Tenant,
        ending: &mut EndingFold,
        now: Millis,
    ) -> bool {
        let time = self.announce_time(now);
        let may_announce = self.stage == ReplayStage::Live;
        let tenant_calls = self.tenants.get_mut(tenant);
        tenant_calls.is_some_and(|it| it.end_large_fold(ending, may_announce, time))
    }

    pub(super) fn tick(&mut self, now: Millis) {
        self.fold_and_notify(false, now);
        for tenant_calls in self.tenants.values_mut() {
            tenant_calls.mark_due(now);
        }
        self.fold_and_notify(true, now);
    }

    pub(super) fn announce_spooled(&mut self, now: Millis) {
        for tenant_calls in self.tenants.values_mut() {
            tenant_calls.resume_spooled();
        }
        self.fold_and_notify(false, now);
    }

    pub(super) fn set_stage(&mut self, stage: ReplayStage, unread: bool, now: Millis) {
        self.unread = unread;
        self.stage = stage;
        match stage {
            ReplayStage::CatchingUp => {
                for tenant_calls in self.tenants.values_mut() {
                    tenant_calls.abandon_large_folds();
                    tenant_calls.defer_dirty(true);
                }
                return;
            }
            ReplayStage::Disconnected => {}
            ReplayStage::Live => self.known_since = now,
        }
        self.announce_spooled(now);
        if !unread {
            let time = BuildInstant { at: self.announced_through, now };
            for tenant_calls in self.tenants.values_mut() {
                tenant_calls.restate_all(time);
            }
        }
        self.count_calls();
    }

    /// Compacts at most `limit` closed calls of each tenant that are due, and as many of those that are
    /// too many. The tenant with the most of them gives up its own.
    pub(super) fn compact(&mut self, limit: usize, now: Millis) {
        for tenant_calls in self.tenants.values_mut() {
            tenant_calls.compact_due(limit, now);
        }
        let closed: usize = self.tenants.values().map(TenantCalls::closed_count).sum();
        for _ in 0..closed.saturating_sub(self.closed_limit).min(limit) {
            if let Some(most) = self.tenants.values_mut().max_by_key(|it| it.closed_count()) {
                most.compact_first(now);
            }
        }
    }

    pub(super) fn calls(&self) -> usize {
        self.tenants.values().map(TenantCalls::call_count).sum()
    }

    pub(super) fn count_calls(&self) {
        let compact: usize = self.tenants.values().map(TenantCalls::compact_count).sum();
        gauge!(names::LIVE_CALLS).set(self.calls() as f64);
        gauge!(names::LIVE_CALLS_COMPACT).set(compact as f64);
    }

    pub(super) fn subscribers(&self) -> usize {
        self.tenants.values().map(|tenant_calls| tenant_calls.subscribers.len()).sum()
    }
}
