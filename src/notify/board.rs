//! A node's live picture of the calls going on, and who must hear of them.
//!
//! Everything is in memory and behind one lock that is never held over an await. Testimonies enter
//! from the log and the spool, in any order and any number of times; a call is folded from the set
//! of its testimonies by the same function as in the ledger, and whoever listens to it is told when
//! its level differs from what they were told last.
//!
//! # Why
//!
//! *One lock.* What costs is folding, and most of what comes needs none: a heartbeat of a client
//! that is there changes nothing before the call's timer is due. A fold costs by what was said, not
//! by how often it was repeated ([`crate::domain::reports`]), and how much one client may say is
//! limited. Sharding would make "level, not edge" (law 7) hard to see.
//!
//! *The log is folded once, at its end.* Folding a call after each of its messages costs the square
//! of their number, and would only tell a node that starts which notices others gave: a cursor from
//! before its start is answered with `gap` and the levels. The same holds for a node that fell
//! behind. Calls that ended are closed on the way, by the log's own time, so that reading a day
//! takes no more memory than living through it.
//!
//! *Notices are told by level.* Each listener's last stated level is kept, so that a change that
//! must not ring (law 8), a merge of two calls or a slow start cannot leave anybody with a wrong
//! one: whoever differs gets a snapshot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::gauge;
use tokio::sync::oneshot;

use super::course::Stage;
use super::desk::{Desk, NotAdmitted};
use super::listener::{Listener, ListenerId, Reach};
use super::message::Message;
use super::queue::Ear;
use super::scribe::Moment;
use super::telling::Resumed;
use crate::domain::alias::{Anchor, Naming};
use crate::domain::calling_event::Testimony;
use crate::domain::ids::{Digest, Tenant};
use crate::domain::instant::Millis;
use crate::domain::notice::{IndicationView, is_old_news};
use crate::telemetry::names;

/// Changes are kept for cursors for so long, ms.
pub const RESUME_WINDOW: Millis = 15 * 60 * 1000;
/// A cursor from before this is one from before anything is known, ms.
const REMEMBERED: Millis = 24 * 60 * 60 * 1000;
/// What was folded so shortly before a cursor's instant is told once more, ms.
const OVERLAP: Millis = 5_000;

/// The board of a node.
#[derive(Clone)]
pub struct Board {
    state: Arc<Mutex<State>>,
    /// Messages that may wait for one listener.
    queue: usize,
    most_listeners: usize,
}

#[derive(Default)]
struct State {
    desks: HashMap<Tenant, Desk>,
    /// Those who wait until an event is on the board.
    awaited: HashMap<Digest, Vec<oneshot::Sender<()>>>,
    next_listener: u64,
    /// The latest broker time that came in, and that of what was told, ms. A cursor says the latter.
    arrived_through: Millis,
    told_through: Millis,
    phase: Phase,
    /// A part of the log is still to be read.
    unread: bool,
    /// The stop has begun.
    closed: bool,
    /// Which log it is, for cursors.
    incarnation: String,
}

/// What is told, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// The log, or a part of it, is not there: what comes is all that is known, and it is told.
    #[default]
    Blind,
    /// The log is being read to its end, in silence: a level in the middle of it was never true.
    CatchingUp,
    /// Live; the changes of every call are known from then on, ms. A cursor from before gets `gap`.
    Live { known_since: Millis },
}

/// An event that the log or the spool brought.
pub struct Arrival {
    pub tenant: Tenant,
    pub naming: Naming,
    /// What it says, if the rules read it; its ids teach aliases all the same.
    pub testimony: Option<Testimony>,
    /// When a door of ours received it, ms.
    pub received: Millis,
    /// When the log or the spool got it, ms.
    pub at: Millis,
}

/// Which way events came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Log,
    Spool,
}

/// No place for another listener.
#[derive(Debug)]
pub enum NoPlace {
    /// There are as many as there may be.
    Full,
    /// The stop has begun.
    Closed,
}

/// What a new stream begins with.
pub struct Opening {
    pub id: ListenerId,
    pub ear: Ear,
}

/// The level of one call as a question finds it.
pub struct LevelFound {
    /// `None`: the call is not known (yet).
    pub call: Option<Anchor>,
    pub view: IndicationView,
    pub message: Message,
}

/// Somebody waits until an event is on the board.
pub struct Awaiting {
    board: Board,
    key: Digest,
    seen: oneshot::Receiver<()>,
}

impl Awaiting {
    /// Ends when the event is on the board.
    pub async fn seen(&mut self) {
        // The sender is dropped by nobody before.
        let _ = (&mut self.seen).await;
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        self.seen.close();
        let mut state = self.board.lock();
        if let Some(waiting) = state.awaited.get_mut(&self.key) {
            waiting.retain(|waiting| !waiting.is_closed());
            if waiting.is_empty() {
                state.awaited.remove(&self.key);
            }
        }
    }
}

impl Board {
    /// An empty board that knows nothing of the log.
    #[must_use]
    pub fn new(queue: usize, most_listeners: usize) -> Self {
        Self {
            state: Arc::default(),
            queue,
            most_listeners,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock can only leave a call folded too early; the next event mends it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in events, folds each call that they touch and tells whoever was told something else:
    /// a burst states one level.
    pub fn enter(&self, arrivals: Vec<Arrival>, way: Way, now: Millis) {
        self.lock().enter(arrivals, way, true, now);
    }

    /// Takes in events from the spool of which more are to come at once: a level in the middle was
    /// never true.
    pub fn collect(&self, arrivals: Vec<Arrival>, now: Millis) {
        self.lock().enter(arrivals, Way::Spool, false, now);
    }

    /// Nothing more is to come: what was collected is told.
    pub fn tell_collected(&self, now: Millis) {
        let mut state = self.lock();
        if state.phase != Phase::CatchingUp {
            state.tell_spooled(now);
        }
    }

    /// Which log is read here from now on.
    pub fn set_incarnation(&self, incarnation: String) {
        self.lock().incarnation = incarnation;
    }

    /// Which log is read here.
    #[must_use]
    pub fn incarnation(&self) -> String {
        self.lock().incarnation.clone()
    }

    /// Reading has come to another stage. Before it is not catching up any more
    /// [`Board::fold_put_off`] is to be called until nothing is left, unless the log is `unread`.
    pub fn turn(&self, stage: Stage, unread: bool, now: Millis) {
        self.lock().turn(stage, unread, now);
    }

    /// Folds some of what was only collected while the log was read; false: nothing was left.
    pub fn fold_put_off(&self, most: usize, now: Millis) -> bool {
        let mut state = self.lock();
        state
            .desks
            .values_mut()
            .any(|desk| desk.fold_put_off(most, now) > 0)
    }

    /// Something of the log is gone or was not followed: every listener is told so.
    pub fn say_gap(&self, reason: &str, now: Millis) {
        let mut state = self.lock();
        let message = Message::gap(reason, state.told_through, now);
        for desk in state.desks.values_mut() {
            desk.audience.tell_everybody(&message, now);
        }
    }

    /// Folds the calls whose time has come, and lets go of what is over.
    pub fn tick(&self, now: Millis) {
        let mut state = self.lock();
        if state.phase != Phase::CatchingUp {
            state.tick(now);
            for desk in state.desks.values_mut() {
                desk.close_over(now);
            }
        }
        gauge!(names::STREAMS).set(state.listeners() as f64);
    }

    /// Forgets calls that ended long ago, and calls that nothing was heard of for `quiet` ms.
    /// `read_to` is the log's own time while it is being read.
    pub fn tidy(&self, read_to: Option<Millis>, quiet: Option<Millis>, now: Millis) {
        let mut state = self.lock();
        if state.unread && read_to.is_none() {
            return;
        }
        for desk in state.desks.values_mut() {
            desk.tidy(read_to.unwrap_or(now), quiet, now);
        }
        state.desks.retain(|_, desk| !desk.is_empty());
        if let Phase::Live { known_since } = &mut state.phase {
            *known_since = (*known_since).max(now - REMEMBERED);
        }
        gauge!(names::BOARD_CALLS).set(state.calls() as f64);
    }

    /// To be asked before the event with this key is sent.
    #[must_use]
    pub fn awaits(&self, key: Digest) -> Awaiting {
        let (send, seen) = oneshot::channel();
        self.lock().awaited.entry(key).or_default().push(send);
        Awaiting {
            board: self.clone(),
            key,
            seen,
        }
    }

    /// Whether a report of this person at this attachment may be taken.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn admits(
        &self,
        tenant: &Tenant,
        attachment: &str,
        person: &str,
        server_call_id: Option<&str>,
    ) -> Result<(), NotAdmitted> {
        match self.lock().desks.get(tenant) {
            Some(desk) => desk.admits(attachment, person, server_call_id),
            None => Ok(()),
        }
    }

    /// Whether the attachment is known to be somebody else's.
    #[must_use]
    pub fn is_foreign(&self, tenant: &Tenant, attachment: &str, person: &str) -> bool {
        let state = self.lock();
        let desk = state.desks.get(tenant);
        desk.is_some_and(|desk| desk.is_foreign(attachment, person))
    }

    /// What a cursor written now says.
    #[must_use]
    pub fn told_through(&self) -> Millis {
        self.lock().told_through
    }

    /// The level of the one call that a reach names.
    #[must_use]
    pub fn level(&self, tenant: &Tenant, reach: &Reach, now: Millis) -> LevelFound {
        let state = self.lock();
        let at = state.told_through;
        let Some(desk) = state.desks.get(tenant) else {
            return LevelFound {
                call: None,
                view: IndicationView::default(),
                message: Message::nothing_known(at, now),
            };
        };
        let (call, view, message) = desk.answer(reach, Moment { at, now });
        LevelFound {
            call,
            view,
            message,
        }
    }

    /// Opens a stream. With `since` (ms, of a cursor; 0: of one that says nothing here) what was
    /// missed comes first, and that something may have been; the levels come in any case.
    ///
    /// # Errors
    ///
    /// [`NoPlace`].
    pub fn listen(
        &self,
        tenant: &Tenant,
        reach: Reach,
        since: Option<Millis>,
        now: Millis,
    ) -> Result<Opening, NoPlace> {
        let mut state = self.lock();
        if state.closed {
            return Err(NoPlace::Closed);
        }
        if state.listeners() >= self.most_listeners {
            return Err(NoPlace::Full);
        }
        state.next_listener += 1;
        let id = ListenerId::new(state.next_listener);
        let at = state.told_through;
        let phase = state.phase;
        let resumed = since.map(|since| Resumed {
            from: (since > 0).then_some(since - OVERLAP),
            known: matches!(phase, Phase::Live { known_since } if known_since <= since),
        });
        let (listener, ear) = Listener::new(reach, self.queue);
        let desk = state.desk(tenant);
        desk.open(id, listener, resumed, Moment { at, now });
        Ok(Opening { id, ear })
    }

    /// Nobody is told anything more: each listener's queue ends with what is in it.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for desk in state.desks.values_mut() {
            desk.audience.dismiss();
        }
    }

    /// A stream has ended.
    pub fn forget_listener(&self, tenant: &Tenant, id: ListenerId) {
        if let Some(desk) = self.lock().desks.get_mut(tenant) {
            desk.audience.remove(id);
        }
    }
}

impl State {
    fn desk(&mut self, tenant: &Tenant) -> &mut Desk {
        self.desks
            .entry(tenant.clone())
            .or_insert_with(|| Desk::new(tenant.clone()))
    }

    fn enter(&mut self, arrivals: Vec<Arrival>, way: Way, at_once: bool, now: Millis) {
        let folding = at_once && self.phase != Phase::CatchingUp;
        if folding {
            // What time alone has changed by now is told as that.
            self.tick(now);
        }
        let mut keys = Vec::with_capacity(arrivals.len());
        let (mut young, mut old) = (Vec::new(), Vec::new());
        for arrival in arrivals {
            // A clock that is ahead must not take everybody's cursor with it.
            self.arrived_through = self.arrived_through.max(arrival.at.min(now));
            self.desk(&arrival.tenant)
                .learn(&arrival.naming, arrival.at.min(now));
            let (Some(anchor), Some(testimony)) = (arrival.naming.anchor, arrival.testimony) else {
                continue;
            };
            keys.push(testimony.id);
            let aged = if is_old_news(now, testimony.t) {
                &mut old
            } else {
                &mut young
            };
            aged.push((arrival.tenant, anchor, testimony, arrival.received));
        }
        for (tenant, anchor, testimony, received) in old {
            self.desk(&tenant)
                .take_in(&anchor, testimony, received, now);
        }
        if folding {
            self.settle(false, now);
        }
        for (tenant, anchor, testimony, received) in young {
            self.desk(&tenant)
                .take_in(&anchor, testimony, received, now);
        }
        if folding {
            self.settle(true, now);
        } else {
            for desk in self.desks.values_mut() {
                desk.put_off(way == Way::Spool);
            }
        }
        for waiting in keys
            .iter()
            .filter_map(|key| self.awaited.remove(key))
            .flatten()
        {
            // Whoever waited may have given up.
            let _ = waiting.send(());
        }
    }

    /// Folds what is marked. A change may ring only where nothing of the log is unknown.
    fn settle(&mut self, may_ring: bool, now: Millis) {
        self.told_through = self.told_through.max(self.arrived_through);
        let at = self.told_through;
        let may_ring = may_ring && matches!(self.phase, Phase::Live { .. });
        for desk in self.desks.values_mut() {
            desk.settle(may_ring, Moment { at, now });
        }
    }

    fn tick(&mut self, now: Millis) {
        self.settle(false, now);
        for desk in self.desks.values_mut() {
            desk.mark_due(now);
        }
        self.settle(true, now);
    }

    fn tell_spooled(&mut self, now: Millis) {
        for desk in self.desks.values_mut() {
            desk.take_up_spooled();
        }
        self.settle(false, now);
    }

    fn turn(&mut self, stage: Stage, unread: bool, now: Millis) {
        self.unread = unread;
        self.phase = match stage {
            Stage::CatchingUp => {
                self.phase = Phase::CatchingUp;
                for desk in self.desks.values_mut() {
                    desk.put_off(true);
                }
                return;
            }
            Stage::Blind => Phase::Blind,
            Stage::Live => Phase::Live { known_since: now },
        };
        self.tell_spooled(now);
        if !unread {
            let moment = Moment {
                at: self.told_through,
                now,
            };
            for desk in self.desks.values_mut() {
                desk.state_levels(moment);
            }
        }
        gauge!(names::BOARD_CALLS).set(self.calls() as f64);
    }

    fn calls(&self) -> usize {
        self.desks.values().map(Desk::number_of_calls).sum()
    }

    fn listeners(&self) -> usize {
        self.desks.values().map(|desk| desk.audience.len()).sum()
    }
}

#[cfg(test)]
mod tests;
