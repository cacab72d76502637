//! Eviction of calls: first the events of a call that ended are dropped, then the call is removed.

use std::collections::BTreeSet;

use super::TenantCalls;
use crate::live::fanout::message::BuildInstant;
use crate::live::live_call::CallProgress;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::Anchor;

/// Retention of past changes for returning cursors, ms.
pub(crate) const RESUME_WINDOW: Millis = 15 * 60 * 1000;
/// Delay between the last event of an ended call and its closing, ms. A closed call keeps its level
/// only; later events are evaluated one by one.
const CLOSE_DELAY: Millis = 10 * 1000;
/// Retention of an ended call after its last event, ms.
const ENDED_CALL_RETENTION: Millis = 24 * 60 * 60 * 1000;

impl TenantCalls {
    /// Closes ended calls and removes expired ones, among them calls without an event for
    /// `idle_limit` ms. `at` is the instant up to which the log has been read, ms.
    pub(crate) fn evict(&mut self, at: Millis, idle_limit: Option<Millis>, now: Millis) {
        let mut idle = Vec::new();
        for (call, live) in &mut self.calls {
            live.drop_changes_before(now - RESUME_WINDOW);
            let idle_for = at - live.last_event_at;
            let kept = if live.is_closed() { ENDED_CALL_RETENTION } else { CLOSE_DELAY };
            if idle_for > kept {
                idle.push((call.clone(), idle_for));
            }
        }
        for (call, idle_for) in idle {
            // Events of the spool are folded and announced when its last page is applied, those of a
            // large call by the fold that it waits for.
            if self.spooled.contains(&call) || self.large.is_awaited(&call) {
                continue;
            }
            if self.deferred.contains(&call) && self.has_end(&call) {
                self.fold(&call, at);
            }
            let Some(live) = self.calls.get_mut(&call) else {
                continue;
            };
            let is_expired = match live.progress {
                CallProgress::Ongoing => idle_limit.is_some_and(|idle_limit| idle_for > idle_limit),
                CallProgress::PresumedEnded | CallProgress::Ended | CallProgress::Closed => {
                    idle_for > ENDED_CALL_RETENTION
                }
            };
            if is_expired {
                self.forget(&call, at, now);
            } else if live.may_be_closed() {
                self.close(&call);
            }
        }
        if self.compact.drop_before(at - ENDED_CALL_RETENTION) {
            self.expanded.retain(|call| self.compact.call_of(call).is_some());
            // What was stated of these calls is forgotten with them.
            self.restate_many(BuildInstant { at, now });
        }
    }

    /// Closes ended calls without an event for [`CLOSE_DELAY`].
    pub(crate) fn close_ended(&mut self, now: Millis) {
        while let Some((due, _)) = self.close_checks.front()
            && *due <= now
            && let Some((_, call)) = self.close_checks.pop_front()
        {
            let Some(live) = self.calls.get(&call) else {
                continue;
            };
            let is_awaited = now - live.last_event_at < CLOSE_DELAY
                || self.deferred.contains(&call)
                || self.large.is_awaited(&call);
            if is_awaited {
                self.close_checks.push_back((now + CLOSE_DELAY, call));
            } else if live.may_be_closed() {
                self.close(&call);
            }
        }
    }

    /// Schedules the check whether an ended call may be closed.
    pub(crate) fn close_later(&mut self, call: &Anchor, now: Millis) {
        self.close_checks.push_back((now + CLOSE_DELAY, call.clone()));
    }

    fn close(&mut self, call: &Anchor) {
        if let Some(live) = self.calls.get_mut(call) {
            live.close();
        }
        self.large.remove(call);
        self.deferred.remove(call);
        self.drop_events(call);
        self.compact_later(call);
    }

    fn has_end(&self, call: &Anchor) -> bool {
        let members = self.aliases.members(call);
        members.iter().filter_map(|member| self.buffers.get(member)).any(|buffer| buffer.has_end)
    }

    fn forget(&mut self, call: &Anchor, at: Millis, now: Millis) {
        let members = self.aliases.members(call);
        let recipients = self.recipients(call, &members);
        let mut remaining = BTreeSet::new();
        // The strongest ids first: while they have links, each weaker one is searched in the list of those
        // below them, which is long in a call of very many legs.
        let weaker = members.iter().rev().filter(|member| *member != call);
        for member in [call].into_iter().chain(weaker) {
            self.buffers.remove(member);
            remaining.extend(self.aliases.remove(member));
            self.owners.forget(member);
        }
        // An anchor that several calls claimed may now belong to one of them, or to none.
        for anchor in remaining.difference(&members) {
            let is = self.aliases.call_of(anchor);
            if is != *anchor {
                self.moved.insert(anchor.clone());
                self.mark_dirty(is, None);
                self.merge_if_absorbed(anchor.clone());
            } else if !self.buffers.contains_key(anchor) {
                self.owners.forget(anchor);
            }
        }
        self.deferred.remove(call);
        self.spooled.remove(call);
        self.dirty.remove(call);
        self.remove_call(call);
        self.restate_to(recipients, BuildInstant { at, now });
    }
}
