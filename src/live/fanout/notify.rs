//! Decides which subscriber gets which message when the calls of a tenant have changed.
//!
//! # Why
//!
//! *What is announced as a change.* Old facts, links and merges are folded first, and their levels
//! are sent as snapshots. The young facts follow: a level that differs after them was changed by
//! them and is announced as a change (`NO_STALE_CHANGE`).
//!
//! *A subscriber of one call has one level*, whichever anchor names its call: calls merge, split
//! and are removed, and each time the level is compared with the one stated last
//! (`LEVEL_TRIGGERED`).

use std::collections::BTreeSet;

use metrics::histogram;

use super::message::{BuildInstant, MessageKind, SeenLevel, StreamMessage, UnknownReason};
use super::message_builder::{CallNames, MessageBuilder};
use super::subscriber::{StreamSubscriber, SubscriberId, SubscriptionScope};
use super::subscriber_registry::SubscriberKey;
use crate::live::live_call::{DecidingFact, PastChange, SeenLevels};
use crate::live::tenant_calls::TenantCalls;
use crate::telemetry::names;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::indication::{IndicationState, Indications};
use onrecord_evidence::notice::variant::{IndicationView, Variant, announces, variant};

/// Where a resumed stream continues.
pub(crate) struct ResumePoint {
    /// Changes since this instant are sent again, ms; `None`: the cursor carries no usable instant.
    pub from: Option<Millis>,
    /// This node has all changes since that instant.
    pub is_complete: bool,
    /// A level was stated before the cursor.
    pub has_stated: bool,
}

/// The current level of one call.
pub(crate) struct LevelAnswer {
    /// `None`: the call is not known (yet).
    pub call: Option<Anchor>,
    pub view: IndicationView,
    /// The banner of the level.
    pub variant: Variant,
    pub unknown_reason: Option<UnknownReason>,
    /// The log time through which events were folded, ms.
    pub at: Millis,
}

impl LevelAnswer {
    /// The answer where the call is not known.
    pub(crate) fn unknown(reason: Option<UnknownReason>, at: Millis) -> Self {
        let (view, variant) = (IndicationView::default(), Variant::Unknown);
        Self { call: None, view, variant, unknown_reason: reason, at }
    }
}

impl TenantCalls {
    /// Folds the dirty calls and notifies each subscriber whose stated level differs: of a change
    /// if `may_announce` and the deciding fact is young, else by a snapshot.
    /// Calls with very many events are folded later (`large_folds.rs`).
    pub(crate) fn fold_and_notify(&mut self, may_announce: bool, time: BuildInstant) {
        for (call, deciding) in std::mem::take(&mut self.dirty) {
            // Another call may have absorbed it, which is dirty as well.
            if self.aliases.call_of(&call) != call {
                continue;
            }
            if self.is_large(&call) {
                self.large.request(call, deciding, may_announce, time.at);
                continue;
            }
            if let Some(before) = self.fold(&call, time.now) {
                self.notify_folded(&call, &before, deciding, may_announce, time);
            }
        }
        let mut moved = BTreeSet::new();
        for anchor in std::mem::take(&mut self.moved) {
            let call = self.aliases.call_of(&anchor);
            moved.extend(self.large.keep_moved(&call, anchor));
        }
        let affected = self.subscribers_of(moved);
        self.restate_to(affected, time);
    }

    /// Notifies each subscriber whose stated level differs after a fold of a call whose levels were
    /// `before`.
    fn notify_folded(
        &mut self,
        call: &Anchor,
        before: &SeenLevels,
        deciding: Option<DecidingFact>,
        may_announce: bool,
        time: BuildInstant,
    ) {
        let as_change = self.decide_cause(call, before, deciding, may_announce, time);
        let members = self.aliases.members(call);
        let recipients = self.recipients(call, &members);
        let (announced, _) =
            self.state_to(call, before, as_change, recipients, CallNames::default(), time);
        self.end_statement(call);
        self.record_change(call, before, as_change, time);
        if announced {
            record_duration(deciding, time);
        }
    }

    /// Keeps the fact that decided the levels of a call that were `before`. Returns whether the change is
    /// announced.
    pub(crate) fn decide_cause(
        &mut self,
        call: &Anchor,
        before: &SeenLevels,
        deciding: Option<DecidingFact>,
        may_announce: bool,
        time: BuildInstant,
    ) -> bool {
        let (Some(live), Some(deciding)) = (self.calls.get_mut(call), deciding) else {
            return false;
        };
        if before.call != live.current.level {
            live.current.cause = deciding.cause;
        }
        if live.own_levels_differ(before) {
            live.own_cause = deciding.cause;
        }
        may_announce && announces(time.now, live.is_ongoing(), deciding.at)
    }

    /// Notes that every subscriber of a call has been compared with what the platform states of it.
    pub(crate) fn end_statement(&mut self, call: &Anchor) {
        if let Some(live) = self.calls.get_mut(call) {
            live.is_trust_new = false;
        }
    }

    /// Keeps the change of a call whose levels were `before`, for subscribers that resume.
    pub(crate) fn record_change(
        &mut self,
        call: &Anchor,
        before: &SeenLevels,
        as_change: bool,
        time: BuildInstant,
    ) {
        if let Some(live) = self.calls.get_mut(call)
            && before.call != live.current.level
        {
            live.record_change(PastChange {
                time,
                call: call.clone(),
                previous: as_change.then_some(before.call),
                changed_to: live.current.clone(),
            });
        }
    }

    /// The subscribers whose calls may have changed with these anchors.
    pub(crate) fn subscribers_of(&self, anchors: BTreeSet<Anchor>) -> BTreeSet<SubscriberId> {
        let mut affected = self.subscribers_of_owners(&anchors);
        affected.extend(self.subscribers.find(anchors.into_iter().map(SubscriberKey::Call)));
        affected
    }

    /// Sends the level of a call whose levels were `before` to these recipients. Returns whether a change
    /// was announced to at least one of them, and the names of the call.
    pub(crate) fn state_to(
        &mut self,
        call: &Anchor,
        before: &SeenLevels,
        as_change: bool,
        recipients: BTreeSet<SubscriberId>,
        names: CallNames,
        time: BuildInstant,
    ) -> (bool, CallNames) {
        let Some(live) = self.calls.get(call) else {
            return (false, names);
        };
        let mut announced = false;
        let builder =
            MessageBuilder::new(&self.tenant, call, live, &self.aliases, &self.owners, time);
        let mut builder = builder.with_names(names);
        for id in recipients {
            let Some(subscriber) = self.subscribers.get(id) else {
                continue;
            };
            let level = live.seen_level(&subscriber.scope);
            let is_different = subscriber.differs(call, level);
            // What the platform states may refute what a token grants, at whatever level.
            let is_affected = is_different || live.is_trust_new;
            if is_affected && !self.covers(&subscriber.scope, call, time.now) {
                if subscriber.has_stated(call) {
                    subscriber.state_later(BTreeSet::from([call.clone()]));
                }
                continue;
            }
            if is_different {
                // A subscriber that differs although the level has not changed now was behind: it gets
                // a snapshot, not a change. A change is announced even if the level before it is
                // still to be stated: a notice must not become a snapshot because a stream reads
                // slowly.
                let level_before = before.seen_by(&subscriber.scope);
                let differs = level_before != level.level;
                let is_waiting = subscriber.is_to_be_stated(call);
                let known = if is_waiting { level_before } else { subscriber.stated(call).level };
                let previous = (as_change && differs).then_some(known);
                if previous.is_none() && subscriber.stated_single().is_none() {
                    subscriber.state_later(BTreeSet::from([call.clone()]));
                    continue;
                }
                let message = builder.level(previous, &subscriber.scope);
                let is_sent = self.subscribers.state(id, message, Some(call), level, time.now);
                announced |= is_sent && previous.is_some();
            }
        }
        (announced, builder.into_names())
    }

    /// Compares the stated with the current level of these subscribers, and sends a snapshot to
    /// each one that differs. None of these differences is announced as a change.
    pub(crate) fn restate_to(&mut self, ids: BTreeSet<SubscriberId>, time: BuildInstant) {
        for id in ids {
            let Some(subscriber) = self.subscribers.get(id) else {
                continue;
            };
            let calls = self.calls_in_scope(&subscriber.scope, time.now);
            match subscriber.stated_single() {
                Some(stated) => {
                    let call = calls.first();
                    let (level, without_call) = match call {
                        Some(call) => (self.level(call, &subscriber.scope), None),
                        None => {
                            let unknown_reason =
                                self.without_call(&subscriber.scope, stated.unknown_reason);
                            (SeenLevel { unknown_reason, ..SeenLevel::default() }, unknown_reason)
                        }
                    };
                    if stated != level {
                        self.state_level(id, call, without_call, time);
                    }
                }
                None => self.restate_many_calls(subscriber, &calls),
            }
        }
    }

    fn restate_many_calls(&self, subscriber: &StreamSubscriber, calls: &BTreeSet<Anchor>) {
        let mut differing = subscriber.stated_of_others(calls);
        // Their level was stated before they were compacted.
        differing.retain(|call| !self.is_compact(call));
        differing
            .extend(calls.iter().filter(|call| self.is_to_be_stated(subscriber, call)).cloned());
        subscriber.state_later(differing);
    }

    /// Whether a call of the scope of a subscriber of many calls must be stated to it. A call that ended
    /// is sent only to subscribers to whom it was stated before.
    fn is_to_be_stated(&self, subscriber: &StreamSubscriber, call: &Anchor) -> bool {
        self.calls.get(call).is_some_and(|live| {
            let is_relevant = live.is_ongoing() || subscriber.has_stated(call);
            is_relevant && subscriber.differs(call, live.seen_level(&subscriber.scope))
        })
    }

    /// The message that states the level of a call to a subscriber of many calls; `None`: there is
    /// nothing to state any more. A call that left the scope is stated as unknown if something went on
    /// in it.
    pub(crate) fn level_message(
        &mut self,
        id: SubscriberId,
        call: &Anchor,
        time: BuildInstant,
    ) -> Option<StreamMessage> {
        self.expand(call);
        let subscriber = self.subscribers.get(id)?;
        let scope = subscriber.scope.clone();
        let message = if self.is_in_scope(&scope, call, time.now) {
            let is_first = !subscriber.has_stated(call) && self.calls.get(call)?.is_ongoing();
            if !is_first && !self.is_to_be_stated(subscriber, call) {
                return None;
            }
            let message = self.builder(call, time)?.level(None, &scope);
            let level = self.level(call, &scope);
            let subscriber = self.subscribers.get_mut(id)?;
            subscriber.set_stated(Some(call), message.call.as_ref(), level);
            message
        } else {
            let stated = self.subscribers.get_mut(id)?.take_stated(call)?;
            if !is_capturing(stated.level.level) {
                return None;
            }
            StreamMessage::unknown_level(Some(&stated.told), None, time)
        };
        self.subscribers.count_sent(message.kind.as_str());
        Some(message)
    }

    /// Why the level is unknown in a scope without a call. An id that names two calls names some that
    /// are known.
    fn without_call(
        &self,
        scope: &SubscriptionScope,
        reason: Option<UnknownReason>,
    ) -> Option<UnknownReason> {
        let anchors = scope.one_call().unwrap_or_default();
        let is_ambiguous = anchors.iter().any(|anchor| self.aliases.resolves_to(anchor).is_none());
        reason.filter(|_| !is_ambiguous)
    }

    /// The level of a call that a subscriber is stated.
    fn level(&self, call: &Anchor, scope: &SubscriptionScope) -> SeenLevel {
        self.calls.get(call).map(|live| live.seen_level(scope)).unwrap_or_default()
    }

    /// Sends the level of a call as a snapshot to a subscriber. Without a call it is not known, for
    /// the reason `without_call`.
    fn state_level(
        &mut self,
        id: SubscriberId,
        call: Option<&Anchor>,
        without_call: Option<UnknownReason>,
        time: BuildInstant,
    ) {
        if let Some(subscriber) = self.subscribers.get(id) {
            let message = self.snapshot(call, &subscriber.scope, without_call, time);
            let level = match call {
                Some(call) => self.level(call, &subscriber.scope),
                None => SeenLevel { unknown_reason: without_call, ..SeenLevel::default() },
            };
            self.subscribers.state(id, message, call, level, time.now);
        }
    }

    /// Moves the stated levels of a call to the call that absorbed it.
    pub(crate) fn move_stated_levels(&mut self, absorbed: &Anchor, into: &Anchor) {
        // What belonged to the absorbed call has links to it still. A call of very many legs absorbs
        // one after the other, so its own anchors are not visited each time.
        let below = self.aliases.walk(absorbed, None).map(|place| place.anchor);
        let mut ids = self.subscribers_of_owners(below.chain([absorbed]));
        ids.extend(self.subscribers.find([SubscriberKey::Everything]));
        for id in ids {
            if let Some(subscriber) = self.subscribers.get_mut(id) {
                subscriber.move_stated(absorbed, into);
            }
        }
    }

    /// The level of a call as a snapshot. Without a call it is not known, for the reason
    /// `without_call`.
    fn snapshot(
        &self,
        call: Option<&Anchor>,
        scope: &SubscriptionScope,
        without_call: Option<UnknownReason>,
        time: BuildInstant,
    ) -> StreamMessage {
        match call.and_then(|call| self.builder(call, time)) {
            Some(mut builder) => builder.level(None, scope),
            None => StreamMessage::unknown_level(None, without_call, time),
        }
    }

    /// Builds messages of a call; `None`: the call is not known.
    fn builder<'d>(&'d self, call: &'d Anchor, time: BuildInstant) -> Option<MessageBuilder<'d>> {
        let live = self.calls.get(call)?;
        let (aliases, owners) = (&self.aliases, &self.owners);
        Some(MessageBuilder::new(&self.tenant, call, live, aliases, owners, time))
    }

    /// The current level in a scope that covers one call. If the call is not known, the reason is
    /// `without_call`.
    pub(crate) fn current_level(
        &self,
        scope: &SubscriptionScope,
        without_call: Option<UnknownReason>,
        time: BuildInstant,
    ) -> LevelAnswer {
        let call = self.single_call(scope);
        let known =
            call.as_ref().and_then(|it| Some((self.calls.get(it)?, self.builder(it, time)?)));
        let Some((live, builder)) = known else {
            return LevelAnswer::unknown(self.without_call(scope, without_call), time.at);
        };
        let seen = live.seen_level(scope);
        LevelAnswer {
            call: Some(builder.told_call(scope)),
            view: live.seen_view(scope),
            variant: variant(None, &seen.level),
            unknown_reason: seen.unknown_reason,
            at: time.at,
        }
    }

    /// The current level in a scope that covers one call, as a snapshot. If the call is not known, the
    /// reason is `without_call`.
    pub(crate) fn current_snapshot(
        &self,
        scope: &SubscriptionScope,
        without_call: Option<UnknownReason>,
        time: BuildInstant,
    ) -> StreamMessage {
        let without_call = self.without_call(scope, without_call);
        self.snapshot(self.single_call(scope).as_ref(), scope, without_call, time)
    }

    /// Adds a subscriber and fills its queue: first the missed changes, then the levels. If its call is
    /// not known, the reason is `without_call`.
    pub(crate) fn open_subscription(
        &mut self,
        id: SubscriberId,
        subscriber: StreamSubscriber,
        resumed: Option<ResumePoint>,
        without_call: Option<UnknownReason>,
        time: BuildInstant,
    ) {
        let without_call =
            without_call.filter(|_| !resumed.as_ref().is_some_and(|it| it.has_stated));
        let scope = subscriber.scope.clone();
        self.expand_scope(&scope);
        let without_call = self.without_call(&scope, without_call);
        let is_one_call = scope.one_call().is_some();
        self.subscribers.add(id, subscriber);
        let calls = self.calls_in_scope(&scope, time.now);
        let live = || calls.iter().filter_map(|call| self.calls.get(call));
        let mut first = Vec::new();
        if let Some(ResumePoint { from, is_complete, .. }) = resumed {
            // The calls of a person are not searched among the compact ones.
            let of_persons = scope.subject().is_some();
            let is_kept = |from| {
                live().all(|live| live.has_all_changes_since(from))
                    && (is_one_call || self.compact.has_all_changes_since(from, of_persons))
            };
            if !is_complete || !from.is_some_and(is_kept) {
                let reason =
                    "the notices since the cursor are not all known here; the levels follow";
                first.push(StreamMessage::reason(MessageKind::Gap, reason, time));
            }
            let mut missed = Vec::new();
            for (call, from) in calls.iter().filter_map(|call| Some((call, from?))) {
                if let (Some(builder), Some(live)) =
                    (self.builder(call, time), self.calls.get(call))
                {
                    let past = live.changes_since(from);
                    missed.extend(past.filter_map(|past| builder.past(past, &scope)));
                }
            }
            missed.sort_by_key(|message| message.at);
            first.extend(missed);
        }
        for message in first {
            self.subscribers.send(id, message, time.now);
        }
        if is_one_call {
            self.state_level(id, calls.first(), without_call, time);
        } else if let Some(subscriber) = self.subscribers.get(id) {
            // Calls that ended are not stated, nor calls that are not read from the log yet.
            let is_stated = |call: &&Anchor| {
                let is_unread = self.is_deferred(call)
                    && self.level(call, &scope).level == Indications::default();
                let is_ongoing = self.calls.get(*call).is_some_and(|live| live.is_ongoing());
                is_ongoing && !is_unread
            };
            subscriber.state_later(calls.iter().filter(is_stated).cloned().collect());
        }
        if let Some(subscriber) = self.subscribers.get_mut(id) {
            subscriber.exclude_opening();
        }
    }

    /// Replaces the scope of a subscriber by that of another token of the same participant, and states
    /// what differs by it.
    pub(crate) fn renew_scope(
        &mut self,
        id: SubscriberId,
        scope: SubscriptionScope,
        time: BuildInstant,
    ) {
        self.expand_scope(&scope);
        if let Some(subscriber) = self.subscribers.get_mut(id) {
            subscriber.scope = scope;
            self.restate_to(BTreeSet::from([id]), time);
        }
    }

    /// Compares what was stated to the subscribers of many calls.
    pub(crate) fn restate_many(&mut self, time: BuildInstant) {
        let is_of_many = |id: &SubscriberId| {
            self.subscribers.get(*id).is_some_and(|it| it.stated_single().is_none())
        };
        let many = self.subscribers.ids().into_iter().filter(is_of_many).collect();
        self.restate_to(many, time);
    }

    /// Sends a snapshot to every subscriber whose stated level differs.
    pub(crate) fn restate_all(&mut self, time: BuildInstant) {
        self.moved.clear();
        let all = self.subscribers.ids();
        self.restate_to(all.into_iter().collect(), time);
    }
}

fn is_capturing(level: Indications) -> bool {
    let on = |state| matches!(state, IndicationState::On | IndicationState::Paused);
    on(level.recording.state) || on(level.transcription.state)
}

/// Records how long it took from the arrival of the deciding fact until its change was announced.
pub(crate) fn record_duration(deciding: Option<DecidingFact>, time: BuildInstant) {
    if let Some(received_at) = deciding.and_then(|it| it.received_at) {
        let took = time.now.saturating_sub(received_at).max(0);
        histogram!(names::NOTICE_SECONDS).record(took as f64 / 1000.0);
    }
}
