//! Moves closed calls to the compact form, and back when one of their ids is named.
//!
//! # Why
//!
//! *A call comes back whole.* What the compact form has of a call is all that a closed call has but its
//! last changes ([`crate::live::compact`]). So a late event, a link to another call, a question and a
//! stream find the call as if it had always been whole, and no other code distinguishes them.
//!
//! *Questions leave the record.* A call that is only asked for is whole for a while, and its record
//! stays. When it is compacted again, nothing is written.

use std::collections::{BTreeSet, HashMap};

use super::TenantCalls;
use super::eviction::RESUME_WINDOW;
use crate::live::compact::closed_record::{ClosedRecord, OwnedAttachment, RecordMember};
use crate::live::fanout::subscriber::SubscriptionScope;
use crate::live::fanout::subscriber_registry::SubscriberKey;
use crate::live::live_call::LiveCall;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::{AliasLink, Anchor, CallIds};

/// Delay after which a call is tried again that could not be compacted, ms.
const RETRY_DELAY: Millis = 60 * 1000;

impl TenantCalls {
    /// Schedules the compaction of a call that was closed, for when its last changes are no longer kept
    /// for streams that resume.
    pub(crate) fn compact_later(&mut self, call: &Anchor) {
        if let Some(live) = self.calls.get(call) {
            self.closed.push_back((live.last_event_at + RESUME_WINDOW, call.clone()));
        }
    }

    /// Compacts at most `limit` of the closed calls that are due.
    pub(crate) fn compact_due(&mut self, limit: usize, now: Millis) {
        for _ in 0..limit.min(self.closed.len()) {
            if self.closed.front().is_none_or(|(due, _)| *due > now) {
                return;
            }
            let Some((_, call)) = self.closed.pop_front() else {
                return;
            };
            // A late event may have changed the level since.
            let due = self.calls.get(&call).map(|live| live.last_event_at + RESUME_WINDOW);
            match due.filter(|due| *due > now && !self.expanded.contains(&call)) {
                Some(due) => self.closed.push_back((due, call)),
                None => self.compact_or_retry(call, now),
            }
        }
    }

    /// The number of closed calls that wait for their compaction.
    pub(crate) fn closed_count(&self) -> usize {
        self.closed.len()
    }

    /// Compacts the call that was closed first.
    pub(crate) fn compact_first(&mut self, now: Millis) {
        if let Some((_, call)) = self.closed.pop_front() {
            self.compact_or_retry(call, now);
        }
    }

    fn compact_or_retry(&mut self, call: Anchor, now: Millis) {
        let is_closed = self.calls.get(&call).is_some_and(|live| live.is_closed());
        if is_closed && !self.compact(&call) {
            self.closed.push_back((now + RETRY_DELAY, call));
        }
    }

    /// Moves a closed call to the compact form. Returns false if it stays whole for now.
    fn compact(&mut self, call: &Anchor) -> bool {
        // What is to be folded is stated first.
        if self.dirty.contains_key(call)
            || self.spooled.contains(call)
            || self.large.is_awaited(call)
        {
            return false;
        }
        let members = self.aliases.members(call);
        if members.iter().any(|member| self.moved.contains(member))
            || self.is_watched(call, &members)
        {
            return false;
        }
        if !self.expanded.remove(call) {
            let Some(record) = self.record_of(call, &members) else {
                return false;
            };
            self.compact.add(&record);
        }
        self.calls.remove(call);
        for member in &members {
            self.aliases.remove(member);
            self.owners.forget(member);
        }
        // At the end of the replay every subscriber is compared, and those of this call have its level.
        self.deferred.remove(call);
        true
    }

    /// Whether a stream of this one call is open, or one of many calls is still to be stated its level.
    fn is_watched(&self, call: &Anchor, members: &BTreeSet<Anchor>) -> bool {
        if self.subscribers.is_empty() {
            return false;
        }
        let mut found = self.found_by(members);
        found.extend(self.subscribers.find([SubscriberKey::Everything]));
        let Some(live) = self.calls.get(call) else {
            return false;
        };
        found.into_iter().filter_map(|id| self.subscribers.get(id)).any(|subscriber| {
            let is_behind = || subscriber.differs(call, live.seen_level(&subscriber.scope));
            subscriber.stated_single().is_some() || (subscriber.has_stated(call) && is_behind())
        })
    }

    /// The record of a closed call with these anchors. `None`: one of its ids has a link to another call
    /// too, or the call is not written.
    fn record_of(&self, call: &Anchor, members: &BTreeSet<Anchor>) -> Option<ClosedRecord> {
        let closed = self.calls.get(call)?.to_closed()?;
        let is_alone = members.iter().all(|member| {
            let mut linked = self.aliases.uppers(member).iter().chain(self.aliases.below(member));
            linked.all(|other| members.contains(other)) && !self.buffers.contains_key(member)
        });
        if !is_alone {
            return None;
        }
        let others = members.iter().filter(|member| *member != call);
        let (upper, lower): (Vec<_>, Vec<_>) =
            others.partition(|member| !self.aliases.below(member).is_empty());
        let ordered: Vec<&Anchor> = [call].into_iter().chain(upper).chain(lower).collect();
        let places: HashMap<&Anchor, usize> =
            ordered.iter().enumerate().map(|(place, anchor)| (*anchor, place)).collect();
        let place = |anchor: &Anchor| places.get(anchor).copied();
        let (mut written, mut owners) = (Vec::with_capacity(ordered.len()), Vec::new());
        for member in ordered {
            let linked = self.aliases.uppers(member).iter().map(place);
            written.push(RecordMember::new(member.clone(), linked)?);
            let Some((person, since, anchors)) = self.owners.get(member) else {
                continue;
            };
            owners.push(OwnedAttachment {
                attachment: place(member)?,
                since,
                person: person.to_owned(),
                anchors: anchors.map(place).collect::<Option<_>>()?,
            });
        }
        Some(ClosedRecord { members: written, owners, call: closed })
    }

    /// Makes the call of an anchor whole if it is in the compact form.
    pub(crate) fn expand(&mut self, anchor: &Anchor) {
        if self.compact.is_empty() || self.calls.contains_key(&self.aliases.call_of(anchor)) {
            return;
        }
        let is_whole = |call: Anchor| self.expanded.contains(&call);
        if self.compact.call_of(anchor).is_none_or(is_whole) {
            return;
        }
        if let Some(record) = self.compact.get(anchor) {
            self.restore(record);
        }
    }

    /// Makes the calls whole that a scope names.
    pub(crate) fn expand_scope(&mut self, scope: &SubscriptionScope) {
        if !self.compact.is_empty() {
            scope.one_call().into_iter().flatten().for_each(|anchor| self.expand(&anchor));
        }
    }

    fn restore(&mut self, record: ClosedRecord) {
        let links: Vec<AliasLink> = record
            .links()
            .map(|(lower, upper)| AliasLink { lower: lower.clone(), upper: upper.clone() })
            .collect();
        self.aliases.insert_links(links);
        let ClosedRecord { members, owners, call: closed } = record;
        for owned in owners {
            let anchor = |place: usize| members.get(place).map(|member| &member.anchor);
            let Some(attachment) = anchor(owned.attachment) else {
                continue;
            };
            for stored_at in owned.anchors.into_iter().filter_map(anchor) {
                self.owners.claim(attachment, owned.since, &owned.person, stored_at);
            }
        }
        if let Some(call) = members.into_iter().next().map(|member| member.anchor) {
            self.calls.insert(call.clone(), Box::new(LiveCall::of_closed(closed)));
            // It is due at once: who asks for many calls must not take the place of those that ended now.
            self.closed.push_front((Millis::MIN, call.clone()));
            self.expanded.insert(call);
        }
    }

    /// Makes the calls whole that an event with these ids may change, and removes their records.
    pub(crate) fn take_from_compact(&mut self, ids: &CallIds) {
        if self.compact.is_empty() {
            return;
        }
        let linked = ids.links.iter().flat_map(|link| [&link.lower, &link.upper]);
        let named: BTreeSet<&Anchor> = ids.anchor.iter().chain(linked).collect();
        for anchor in named {
            self.expand(anchor);
            if !self.expanded.is_empty() {
                let call = self.aliases.call_of(anchor);
                self.forget_record(&call);
            }
        }
    }

    /// Removes the record of a call that is whole.
    pub(crate) fn forget_record(&mut self, call: &Anchor) {
        if self.expanded.remove(call) {
            self.compact.remove(call);
        }
    }

    /// Whether a call is in the compact form.
    pub(crate) fn is_compact(&self, call: &Anchor) -> bool {
        self.compact.call_of(call).is_some_and(|it| it == *call)
    }
}
