//! How calls leave a desk: first their testimonies, then all that is known of them.

use std::collections::BTreeSet;

use super::Desk;
use crate::domain::alias::Anchor;
use crate::domain::instant::Millis;
use crate::notify::board::RESUME_WINDOW;
use crate::notify::call::Progress;
use crate::notify::scribe::Moment;

/// A call whose end was told is known by its level alone this long after anything was heard of it,
/// ms. What comes after that costs nothing but being looked at by itself.
const OVER_KEPT_WHOLE: Millis = 10 * 1000;
/// And an ended call not at all after this long, ms.
const OVER_KEPT: Millis = 24 * 60 * 60 * 1000;

impl Desk {
    /// Closes and forgets what is over, and what nothing was heard of for `quiet` ms, as it is when
    /// the log has been read to `at` (ms).
    pub fn tidy(&mut self, at: Millis, quiet: Option<Millis>, now: Millis) {
        let mut silent = Vec::new();
        for (call, live) in &mut self.calls {
            live.forget_before(now - RESUME_WINDOW);
            let silence = at - live.heard;
            let kept = if live.is_closed() {
                OVER_KEPT
            } else {
                OVER_KEPT_WHOLE
            };
            if silence > kept {
                silent.push((call.clone(), silence));
            }
        }
        for (call, silence) in silent {
            // What the spool told of is folded when all of that is here, and then it is told.
            if self.spooled.contains(&call) {
                continue;
            }
            if self.put_off.contains(&call) && self.end_was_told(&call) {
                self.fold(&call, at);
            }
            let Some(live) = self.calls.get_mut(&call) else {
                continue;
            };
            let is_past = match live.progress {
                Progress::GoesOn => quiet.is_some_and(|quiet| silence > quiet),
                Progress::PresumedOver | Progress::Over | Progress::Closed => silence > OVER_KEPT,
            };
            if is_past {
                self.forget(&call, at, now);
            } else if live.may_be_closed() {
                self.close(&call);
            }
        }
    }

    /// Closes calls that are over, and of which nothing was heard for a while.
    pub fn close_over(&mut self, now: Millis) {
        while let Some((due, _)) = self.closing.front()
            && *due <= now
            && let Some((_, call)) = self.closing.pop_front()
        {
            let Some(live) = self.calls.get(&call) else {
                continue;
            };
            let is_awaited = now - live.heard < OVER_KEPT_WHOLE || self.put_off.contains(&call);
            if is_awaited {
                self.closing.push_back((now + OVER_KEPT_WHOLE, call));
            } else if live.may_be_closed() {
                self.close(&call);
            }
        }
    }

    /// Looks in a while whether a call that is over may be closed.
    pub(super) fn close_later(&mut self, call: &Anchor, now: Millis) {
        self.closing
            .push_back((now + OVER_KEPT_WHOLE, call.clone()));
    }

    fn close(&mut self, call: &Anchor) {
        if let Some(live) = self.calls.get_mut(call) {
            live.close();
        }
        self.put_off.remove(call);
        self.drop_testimonies(call);
    }

    fn end_was_told(&self, call: &Anchor) -> bool {
        let members = self.aliases.members(call);
        members
            .iter()
            .filter_map(|member| self.shelves.get(member))
            .any(|shelf| shelf.end_told)
    }

    fn forget(&mut self, call: &Anchor, at: Millis, now: Millis) {
        let members = self.aliases.members(call);
        let hearers = self.hearers(call, &members);
        let mut below = BTreeSet::new();
        for member in &members {
            self.shelves.remove(member);
            below.extend(self.aliases.forget(member));
            self.owners.forget(member);
        }
        // What several calls claimed may be one's now, or nobody's.
        for anchor in below.difference(&members) {
            let is = self.aliases.call_of(anchor);
            if is != *anchor {
                self.moved.insert(anchor.clone());
                self.mark(is, None);
                self.leave(anchor.clone());
            } else if !self.shelves.contains_key(anchor) {
                self.owners.forget(anchor);
            }
        }
        self.put_off.remove(call);
        self.spooled.remove(call);
        self.unfolded.remove(call);
        self.remove_call(call);
        self.look_again(hearers, Moment { at, now });
    }
}
