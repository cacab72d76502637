//! The calls and subscribers of one tenant.
//!
//! Events are stored first and folded later: [`TenantCalls::add_ids`] and
//! [`TenantCalls::add_event`] mark calls as dirty; [`TenantCalls::fold_and_notify`] (in
//! `fanout/notify.rs`) folds them and notifies subscribers. `eviction.rs` removes calls that ended,
//! `compaction.rs` moves them to the compact form before.

pub(crate) mod compaction;
pub(crate) mod eviction;
pub(crate) mod large_calls;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use super::attachment_owners::AttachmentOwners;
use super::compact::compact_calls::CompactCalls;
use super::coverage::KnownCall;
use super::event_buffer::EventBuffer;
use super::large_folds::LargeFolds;
use super::live_call::{
    CallProgress, DecidingFact, FoldedCall, LiveCall, SeenLevels, project_alone,
};
use super::unreported_attachments::UnreportedAttachments;
use crate::config::ClientPolicy;
use crate::live::fanout::subscriber_registry::SubscriberRegistry;
use onrecord_evidence::event::calling_event::{ObservedEvent, Statement};
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::{AliasGraph, Anchor, CallChange, CallIds};
use onrecord_evidence::identity::grant::Grant;
use onrecord_evidence::notice::variant::NoticeCause;
use onrecord_evidence::session::report_history::ReportEffect;

/// Maximum number of attachments of one person in one call: enough to rejoin all day.
const MAX_ATTACHMENTS_PER_CALL: usize = 32;
/// Maximum number of changes in the reports of one attachment.
const MAX_REPORT_CHANGES: usize = 256;
/// Maximum number of reports of one attachment that a fold reads: half a day of contradictory
/// heartbeats.
const MAX_KEPT_REPORTS: usize = 2048;

/// Maximum number of attachments of one person in calls whose events are in memory: a leg every
/// minute and a half, all day.
const MAX_ATTACHMENTS_PER_PERSON: usize = 1_024;
/// Maximum memory of the reports of one person, in bytes: all changes of all attachments in a call.
const MAX_REPORT_BYTES_PER_PERSON: usize = 8 << 20;

/// Why a report or an acknowledgement is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    /// The attachment belongs to another person.
    Foreign,
    /// The person has too many attachments in the call.
    TooManyAttachments,
    /// The person has too many attachments in all calls together.
    TooManyCalls,
    /// The reports of the attachment changed too often.
    TooManyChanges,
    /// The reports of the person take too much memory.
    TooManyBytes,
}

/// Maximum number of attachments of a person that acknowledge and that no report names: where a grant
/// is required, those of the calls that it names.
pub(crate) fn max_unreported(clients: ClientPolicy, grant: &Grant) -> usize {
    match clients {
        ClientPolicy::Open => MAX_ATTACHMENTS_PER_PERSON,
        ClientPolicy::Granted => {
            let of_calls = grant.calls().len().saturating_mul(MAX_ATTACHMENTS_PER_CALL);
            of_calls.min(MAX_ATTACHMENTS_PER_PERSON)
        }
    }
}

/// One tenant's calls and subscribers.
pub(crate) struct TenantCalls {
    pub(crate) tenant: Tenant,
    pub(crate) aliases: AliasGraph,
    buffers: HashMap<Anchor, EventBuffer>,
    /// Boxed, because there are many and most of them have ended.
    pub(crate) calls: HashMap<Anchor, Box<LiveCall>>,
    pub(crate) owners: AttachmentOwners,
    unreported: UnreportedAttachments,
    pub(crate) subscribers: SubscriberRegistry,
    /// Calls to be folded again, each with the youngest fact that requires it.
    pub(crate) dirty: BTreeMap<Anchor, Option<DecidingFact>>,
    /// Anchors that may belong to another call than before.
    pub(crate) moved: BTreeSet<Anchor>,
    /// Calls to be folded when the log has been read to its end.
    deferred: HashSet<Anchor>,
    /// Deferred calls with events from the spool.
    spooled: HashSet<Anchor>,
    /// When to fold a call again without a new event.
    timers: BTreeSet<(Millis, Anchor)>,
    /// Ended calls, by the time of the check whether they may be closed.
    close_checks: VecDeque<(Millis, Anchor)>,
    /// Closed calls that are whole, by when they are to be compacted.
    closed: VecDeque<(Millis, Anchor)>,
    /// Closed calls in the compact form.
    pub(crate) compact: CompactCalls,
    /// Calls that are whole and have a record in the compact form that says the same.
    expanded: HashSet<Anchor>,
    /// Folds of calls with very many events.
    pub(crate) large: LargeFolds,
    #[cfg(test)]
    pub folds: usize,
}

impl TenantCalls {
    /// `fold_limit`: maximum number of events of a call that is folded while the lock is held.
    pub(crate) fn new(tenant: Tenant, fold_limit: usize) -> Self {
        Self {
            tenant,
            aliases: AliasGraph::default(),
            buffers: HashMap::new(),
            calls: HashMap::new(),
            owners: AttachmentOwners::default(),
            unreported: UnreportedAttachments::default(),
            subscribers: SubscriberRegistry::default(),
            dirty: BTreeMap::new(),
            moved: BTreeSet::new(),
            deferred: HashSet::new(),
            spooled: HashSet::new(),
            timers: BTreeSet::new(),
            close_checks: VecDeque::new(),
            closed: VecDeque::new(),
            compact: CompactCalls::default(),
            expanded: HashSet::new(),
            large: LargeFolds::new(fold_limit),
            #[cfg(test)]
            folds: 0,
        }
    }

    /// Adds the ids of an event that was stored at `at` (ms), and the links between calls that they
    /// prove.
    pub(crate) fn add_ids(&mut self, ids: &CallIds, at: Millis) {
        let Some(anchor) = &ids.anchor else {
            return;
        };
        self.take_from_compact(ids);
        if !self.buffers.contains_key(anchor) && !self.is_closed(anchor) {
            self.buffers.insert(anchor.clone(), EventBuffer::default());
            self.moved.insert(anchor.clone());
        }
        for link in &ids.links {
            for CallChange { anchor, from, to } in self.aliases.add_link(link.clone()) {
                self.moved.insert(anchor);
                self.mark_dirty(to, None);
                self.merge_if_absorbed(from);
            }
        }
        let call = self.aliases.call_of(anchor);
        let live = self.calls.entry(call).or_default();
        live.first_event_at = Some(live.first_event_at.map_or(at, |first| first.min(at)));
        live.last_event_at = live.last_event_at.max(at);
    }

    /// Checks a call that lost an anchor: merges it if another call has absorbed it, else marks it
    /// dirty.
    fn merge_if_absorbed(&mut self, call: Anchor) {
        let into = self.aliases.call_of(&call);
        if into == call {
            self.large.restart(&call);
            self.mark_dirty(call, None);
        } else {
            self.merge(&call, &into);
        }
    }

    /// Merges a call into another one: its past changes and its subscribers move there.
    fn merge(&mut self, absorbed: &Anchor, into: &Anchor) {
        self.large.merge(absorbed, into);
        let Some(mut live) = self.calls.remove(absorbed) else {
            return;
        };
        live.present_attachments.clear();
        if let Some(next_change) = live.next_change.take() {
            self.timers.remove(&(next_change, absorbed.clone()));
        }
        self.move_stated_levels(absorbed, into);
        if !self.calls.contains_key(into) {
            self.calls.insert(into.clone(), live);
            self.compact_if_closed(into);
            return;
        }
        let was_closed = self.is_closed(into);
        let is_closed = live.is_closed() || was_closed;
        // Some of these events may not have been folded yet.
        let late = is_closed.then(|| project_alone(self.events(into)));
        if is_closed {
            self.large.restart(into);
            self.drop_events(into);
        }
        if let Some(call) = self.calls.get_mut(into) {
            call.merge(*live);
            if let Some(late) = late {
                call.apply_late(late);
            }
        }
        if !was_closed {
            self.compact_if_closed(into);
        }
    }

    fn compact_if_closed(&mut self, call: &Anchor) {
        if self.calls.get(call).is_some_and(|live| live.is_closed()) {
            self.compact_later(call);
        }
    }

    /// Stores an observed event, received at `received_at` (ms), at the anchor of its own ids. Returns
    /// whether its call is to be folded again.
    pub(crate) fn add_event(
        &mut self,
        anchor: &Anchor,
        observed: ObservedEvent,
        received_at: Millis,
        now: Millis,
    ) -> bool {
        let call = self.aliases.call_of(anchor);
        let key = observed.id;
        let deciding = DecidingFact {
            at: observed.at,
            cause: NoticeCause::Event(key),
            received_at: Some(received_at),
        };
        let mut reporter = None;
        if let Statement::Report(report) = &observed.event.statement {
            let person = &report.participant.raw_id;
            let attachment = observed.event.ids.attachment.as_ref();
            let owned = Anchor::attachment(attachment.unwrap_or(person));
            if attachment.is_some() {
                self.owners.claim(&owned, observed.at, person, anchor);
                self.unreported.remove(&owned);
            }
            reporter = Some((owned, attachment.cloned()));
        }
        if let Some(live) = self.calls.get_mut(&call)
            && live.is_closed()
        {
            live.apply_late_event(&observed);
            self.mark_dirty(call, Some(deciding));
            return true;
        }
        let buffer = self.buffers.entry(anchor.clone()).or_default();
        let (effect, attachment) = match reporter {
            Some((owned, attachment)) => {
                let effect = buffer.add_report(owned.clone(), observed, now);
                let is_heartbeat = effect == ReportEffect::Heartbeat;
                let repeats = is_heartbeat && !self.is_interrupted(&owned, anchor);
                (effect, attachment.filter(|_| repeats))
            }
            None => (buffer.add(observed), None),
        };
        match effect {
            ReportEffect::Duplicate => return false,
            ReportEffect::Heartbeat => {
                // The timer of the last fold is due in time, or too early; a fold that is too early
                // sets another timer.
                let present = self.calls.get(&call).map(|live| &live.present_attachments);
                if let Some(attachment) = &attachment
                    && present.is_some_and(|present| present.contains(attachment))
                    && !self.deferred.contains(&call)
                {
                    self.large.keep_heartbeat(&call, attachment, deciding);
                    return false;
                }
            }
            ReportEffect::New => {}
        }
        self.keep_if_young(&call, key, deciding.at, now);
        self.mark_dirty(call, Some(deciding));
        true
    }

    /// Whether reports of an attachment that are stored at another anchor come after the first one of
    /// the last run at this anchor: then a heartbeat states something else than the report before.
    fn is_interrupted(&self, attachment: &Anchor, anchor: &Anchor) -> bool {
        let last_run = |anchor| self.buffers.get(anchor)?.reports(attachment)?.last_run();
        let others = self.owners.anchors(attachment).filter(|other| *other != anchor);
        let last = others.filter_map(last_run).map(|(_, last)| last).max();
        last > last_run(anchor).map(|(first, _)| first)
    }

    /// Marks a call to be folded again.
    pub(crate) fn mark_dirty(&mut self, call: Anchor, deciding: Option<DecidingFact>) {
        let kept = self.dirty.entry(call).or_default();
        if kept.is_none_or(|kept| deciding.is_some_and(|it| kept.at < it.at)) {
            *kept = deciding;
        }
    }

    /// Defers the dirty calls until the log has been read to its end.
    pub(crate) fn defer_dirty(&mut self, from_spool: bool) {
        // At the end of the replay every subscriber's level is compared anyway.
        self.moved.clear();
        for call in std::mem::take(&mut self.dirty).into_keys() {
            if from_spool {
                self.spooled.insert(call.clone());
            }
            self.deferred.insert(call);
        }
    }

    pub(crate) fn is_deferred(&self, call: &Anchor) -> bool {
        self.deferred.contains(call)
    }

    /// Marks the deferred calls with events from the spool as dirty: they must not wait for an
    /// unavailable log (`ONE_STORE_LIVE`).
    pub(crate) fn resume_spooled(&mut self) {
        for call in std::mem::take(&mut self.spooled) {
            self.deferred.remove(&call);
            let call = self.aliases.call_of(&call);
            self.mark_dirty(call, None);
        }
    }

    /// Folds at most `limit` deferred calls without notifying. Returns their number.
    pub(crate) fn fold_deferred(&mut self, limit: usize, now: Millis) -> usize {
        let some: Vec<Anchor> = self.deferred.iter().take(limit).cloned().collect();
        for known_as in &some {
            self.deferred.remove(known_as);
            let call = self.aliases.call_of(known_as);
            self.spooled.remove(&call);
            self.fold(&call, now);
        }
        some.len()
    }

    /// Marks the calls whose timer is due.
    pub(crate) fn mark_due(&mut self, now: Millis) {
        while self.timers.first().is_some_and(|(due, _)| *due <= now)
            && let Some((at, call)) = self.timers.pop_first()
        {
            let cause = NoticeCause::Time(at);
            self.mark_dirty(call, Some(DecidingFact { at, cause, received_at: None }));
        }
    }

    /// Folds a call and returns its levels before. `None`: there is no such call, or it is closed
    /// and its level has not changed.
    pub(crate) fn fold(&mut self, call: &Anchor, now: Millis) -> Option<SeenLevels> {
        if let Some(live) = self.calls.get_mut(call)
            && live.is_closed()
        {
            return live.levels_before_late.take();
        }
        let buffers = self.buffers_of(call);
        if buffers.is_empty() {
            self.remove_call(call);
            return None;
        }
        let events = buffers.into_iter().flat_map(EventBuffer::events);
        let mut folded = FoldedCall::of(events, now);
        #[cfg(test)]
        {
            self.folds += 1;
        }
        self.large.folded_at_once(call);
        Some(self.apply_fold(call, &mut folded, now))
    }

    /// Replaces what a call was folded to, by `folded`, which keeps what is to be dropped. Returns the
    /// levels before.
    fn apply_fold(&mut self, call: &Anchor, folded: &mut FoldedCall, now: Millis) -> SeenLevels {
        let live = self.calls.entry(call.clone()).or_default();
        let (due_before, progress_before) = (live.next_change, live.progress);
        let before = live.replace(folded);
        let (due, progress) = (live.next_change, live.progress);
        if let Some(due_before) = due_before {
            self.timers.remove(&(due_before, call.clone()));
        }
        if let Some(due) = due {
            self.timers.insert((due, call.clone()));
        }
        if progress == CallProgress::Ended && progress_before != CallProgress::Ended {
            self.close_later(call, now);
        }
        before
    }

    fn remove_call(&mut self, call: &Anchor) {
        self.large.remove(call);
        self.forget_record(call);
        if let Some(live) = self.calls.remove(call)
            && let Some(next_change) = live.next_change
        {
            self.timers.remove(&(next_change, call.clone()));
        }
    }

    fn is_closed(&self, anchor: &Anchor) -> bool {
        let call = self.calls.get(&self.aliases.call_of(anchor));
        call.is_some_and(|call| call.is_closed())
    }

    /// The buffers of a call.
    fn buffers_of(&self, call: &Anchor) -> Vec<&EventBuffer> {
        let below = self.aliases.walk(call, None).map(|place| place.anchor);
        let mut seen = HashSet::new();
        // Most anchors of a call of very many legs are attachments without a buffer, so the cheaper
        // check is the first one.
        let of_call = below.chain([call]).filter_map(|anchor| {
            let buffer = self.buffers.get(anchor)?;
            let is_next = seen.insert(anchor) && self.aliases.call_of(anchor) == *call;
            is_next.then_some(buffer)
        });
        of_call.collect()
    }

    /// All stored events of a call.
    fn events(&self, call: &Anchor) -> impl Iterator<Item = &ObservedEvent> {
        self.buffers_of(call).into_iter().flat_map(EventBuffer::events)
    }

    fn drop_events(&mut self, call: &Anchor) {
        for member in self.aliases.members(call) {
            self.buffers.remove(&member);
        }
    }

    /// What is known of the call of an anchor, for a person; `None`: the call is not known.
    pub(crate) fn known_call(&self, anchor: &Anchor, person: &str) -> Option<KnownCall<'_>> {
        let call = self.aliases.call_of(anchor);
        let own: Vec<&Anchor> = self.attachments_in(person, &call).collect();
        self.known_by(&call, &own)
    }

    /// What is known of a call, for the person with these attachments in it.
    pub(crate) fn known_by(&self, call: &Anchor, own: &[&Anchor]) -> Option<KnownCall<'_>> {
        let live = self.calls.get(call)?;
        let reported = own.iter().filter_map(|attachment| self.owners.since(attachment)).min();
        Some(KnownCall { trust: &live.trust, since: reported.or(live.first_event_at) })
    }

    /// The attachments of a person in a call.
    pub(crate) fn attachments_in<'t>(
        &'t self,
        person: &str,
        call: &'t Anchor,
    ) -> impl Iterator<Item = &'t Anchor> {
        let attachments = self.owners.attachments(person);
        attachments.filter(move |attachment| self.aliases.call_of(attachment) == *call)
    }

    /// Whether the attachment is known to belong to another person.
    pub(crate) fn is_foreign(&self, attachment: &str, person: &str) -> bool {
        let owner = self.owners.owner(&Anchor::attachment(attachment));
        owner.is_some_and(|owner| owner != person)
    }

    /// Checks whether a report of this person at this attachment is admitted.
    pub(crate) fn admits(
        &self,
        attachment: &str,
        person: &str,
        server_call_id: Option<&str>,
    ) -> Result<(), NotAdmitted> {
        if self.is_foreign(attachment, person) {
            return Err(NotAdmitted::Foreign);
        }
        let own = Anchor::attachment(attachment);
        let anchors = self.owners.anchors(&own);
        let (mut changes, mut weight) = (0, 0);
        for reports in anchors.filter_map(|anchor| self.buffers.get(anchor)?.reports(&own)) {
            changes += reports.changes();
            weight += reports.retained_count();
        }
        if changes >= MAX_REPORT_CHANGES || weight >= MAX_KEPT_REPORTS {
            return Err(NotAdmitted::TooManyChanges);
        }
        let (attachments, bytes) = self.memory_of(person);
        if bytes >= MAX_REPORT_BYTES_PER_PERSON {
            return Err(NotAdmitted::TooManyBytes);
        }
        let named = server_call_id.map_or_else(|| own.clone(), Anchor::server);
        let call = self.aliases.call_of(&named);
        // By where its reports are stored: an attachment that two calls claim belongs to neither, and
        // is a session of both.
        let is_in_call = |attachment: &Anchor| {
            self.owners.anchors(attachment).any(|anchor| self.aliases.call_of(anchor) == call)
        };
        // An attachment that is already in the call stays admitted, whatever the number of
        // attachments.
        if is_in_call(&own) {
            return Ok(());
        }
        let attachments_of_person = self.owners.attachments(person);
        let others = attachments_of_person.filter(|other| **other != own && is_in_call(other));
        if others.count() >= MAX_ATTACHMENTS_PER_CALL {
            return Err(NotAdmitted::TooManyAttachments);
        }
        let acknowledged = self.unreported.count(person);
        let acknowledged = acknowledged - usize::from(self.unreported.is_of(&own, person));
        if attachments + acknowledged >= MAX_ATTACHMENTS_PER_PERSON {
            return Err(NotAdmitted::TooManyCalls);
        }
        Ok(())
    }

    /// Admits an acknowledgement of this person at this attachment, received at `at` (ms). One that no
    /// report names counts from then on. `max_unreported`: maximum number of those of the person.
    pub(crate) fn admit_acknowledgement(
        &mut self,
        attachment: &str,
        person: &str,
        max_unreported: usize,
        at: Millis,
    ) -> Result<(), NotAdmitted> {
        let own = Anchor::attachment(attachment);
        match self.owners.owner(&own) {
            Some(owner) if owner != person => return Err(NotAdmitted::Foreign),
            Some(_) => return Ok(()),
            None if self.unreported.is_of(&own, person) => return Ok(()),
            None => {}
        }
        let acknowledged = self.unreported.count(person);
        let (attachments, _) = self.memory_of(person);
        if acknowledged >= max_unreported
            || attachments + acknowledged >= MAX_ATTACHMENTS_PER_PERSON
        {
            return Err(NotAdmitted::TooManyCalls);
        }
        self.unreported.add(own, person, at);
        Ok(())
    }

    /// Removes what counts no longer at `now` (ms).
    pub(crate) fn expire_unreported(&mut self, now: Millis) {
        self.unreported.expire(now);
    }

    /// The attachments of a person with reports in memory, and the bytes of these reports. A call that
    /// ended is in memory without its reports.
    fn memory_of(&self, person: &str) -> (usize, usize) {
        let mut memory = (0, 0);
        for attachment in self.owners.attachments(person) {
            let anchors = self.owners.anchors(attachment);
            let stored = anchors.filter_map(|it| self.buffers.get(it)?.reports(attachment));
            let (mut count, mut bytes) = (0, 0);
            for reports in stored {
                count = 1;
                bytes += reports.stored_bytes();
            }
            memory = (memory.0 + count, memory.1 + bytes);
        }
        memory
    }

    pub(crate) fn call_count(&self) -> usize {
        self.calls.len() + self.compact.len() - self.expanded.len()
    }

    /// The number of calls in the compact form.
    pub(crate) fn compact_count(&self) -> usize {
        self.compact.len() - self.expanded.len()
    }

    #[cfg(test)]
    pub(crate) fn event_count(&self) -> usize {
        let buffers = self.buffers.values();
        buffers.map(|buffer| buffer.events().count()).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty()
            && self.subscribers.is_empty()
            && self.buffers.is_empty()
            && self.unreported.is_empty()
            && self.compact.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_limits_the_attachments_that_only_acknowledge_by_the_calls_that_it_names() {
        let grant = |calls: usize| Grant::new((0..calls).map(|call| format!("room-{call}")), []);
        assert_eq!(max_unreported(ClientPolicy::Open, &grant(0)), 1_024);
        for (calls, max) in [(0, 0), (1, 32), (3, 96), (100, 1_024)] {
            assert_eq!(max_unreported(ClientPolicy::Granted, &grant(calls)), max);
        }
    }
}
