//! A node's live picture of the calls going on, and who must hear of them.
//!
//! Everything is in memory and behind one lock that is never held over an await. Testimonies enter
//! from the log and the spool, in any order and any number of times; a call is folded from the set
//! of its testimonies by the same function as in the ledger, and whoever listens to it is told when
//! its level differs from what they were told last.
//!
//! # Why
//!
//! *One lock.* A fold takes some ten microseconds and telling a listener is a push into its bounded
//! queue; sharding would buy little and make "level, not edge" (law 7) hard to see.
//!
//! *The log is folded once, at its end.* Folding a call after each of its messages costs the square
//! of their number, and would only tell a node that starts which notices others gave: a cursor from
//! before its start is answered with `gap` and the levels.
//!
//! *Notices are told by level.* Each listener's last stated level is kept, so that a change that
//! must not ring (law 8), a merge of two calls or a slow start cannot leave anybody with a wrong
//! one: whoever differs gets a snapshot.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::gauge;
use tokio::sync::{mpsc, oneshot};

use super::call::Past;
use super::desk::{Deciding, Desk, Moment, Touched};
use super::listener::{Listener, ListenerId, Reach};
use super::message::Message;
use crate::domain::alias::Anchor;
use crate::domain::calling_event::Testimony;
use crate::domain::ids::{Digest, Tenant};
use crate::domain::instant::Millis;
use crate::domain::notice::IndicationView;
use crate::telemetry::names;

/// A cursor can be resumed for so long, ms.
pub const RESUME_WINDOW: Millis = 15 * 60 * 1000;
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
    /// When to fold again although nothing came.
    timers: BTreeSet<(Millis, Tenant, Anchor)>,
    /// Those who wait until an event is on the board.
    awaited: HashMap<Digest, Vec<oneshot::Sender<()>>>,
    listeners: usize,
    next_listener: u64,
    /// The latest broker time that was folded, ms: what a cursor says.
    folded_through: Millis,
    phase: Phase,
    /// Which log it is, for cursors.
    incarnation: String,
}

/// How far the board is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// The log was not there yet: what the spool brings is all that is known, and it is told.
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
    pub testimony: Testimony,
    /// When the log or the spool got it, ms.
    pub at: Millis,
}

/// No place for another listener.
#[derive(Debug)]
pub struct Full;

/// What a new stream begins with.
pub struct Opening {
    pub id: ListenerId,
    pub messages: mpsc::Receiver<Message>,
    /// Told before everything in `messages`.
    pub first: Vec<Message>,
}

/// The level of one call as a question finds it.
pub struct LevelFound {
    /// `None`: the call is not known (yet).
    pub call: Option<Anchor>,
    pub view: IndicationView,
    pub message: Message,
}

impl Board {
    /// An empty board that is catching up.
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

    /// Takes in events, and folds each call that they touch once: a burst costs one fold and
    /// states one level.
    pub fn enter(&self, arrivals: Vec<Arrival>, now: Millis) {
        self.lock().enter(arrivals, now);
    }

    /// The log has been read to its end: what was only collected is folded, in silence; whoever
    /// listens already is told the level.
    pub fn go_live(&self, now: Millis) {
        self.lock().go_live(now);
    }

    /// The log is there and is about to be read: nobody is told anything until its end.
    pub fn catch_up(&self, incarnation: String) {
        let mut state = self.lock();
        state.phase = Phase::CatchingUp;
        state.incarnation = incarnation;
    }

    /// Which log is read here.
    #[must_use]
    pub fn incarnation(&self) -> String {
        self.lock().incarnation.clone()
    }

    /// Something of the log is gone or unknown: every listener is told so.
    pub fn say_gap(&self, reason: &str, now: Millis) {
        self.lock().say_gap(reason, now);
    }

    /// Folds the calls whose time has come.
    pub fn tick(&self, now: Millis) {
        self.lock().tick(now);
    }

    /// Forgets calls that ended long ago, and calls that nothing was heard of for `quiet` ms.
    pub fn tidy(&self, now: Millis, quiet: Option<Millis>) {
        self.lock().tidy(now, quiet);
    }

    /// Is resolved when the event with this key is on the board.
    #[must_use]
    pub fn awaits(&self, key: Digest) -> oneshot::Receiver<()> {
        let (send, receive) = oneshot::channel();
        self.lock().awaited.entry(key).or_default().push(send);
        receive
    }

    /// Nobody waits for this key any more, or not all who did.
    pub fn stop_awaiting(&self, key: Digest) {
        let mut state = self.lock();
        if let Some(waiting) = state.awaited.get_mut(&key) {
            waiting.retain(|waiting| !waiting.is_closed());
            if waiting.is_empty() {
                state.awaited.remove(&key);
            }
        }
    }

    /// Whose attachment it is, if a report named it.
    #[must_use]
    pub fn owner_of(&self, tenant: &Tenant, attachment: &str) -> Option<String> {
        self.lock()
            .desks
            .get(tenant)?
            .owner_of(attachment)
            .map(str::to_owned)
    }

    /// Whether anything was ever heard of this anchor.
    #[must_use]
    pub fn knows(&self, tenant: &Tenant, anchor: &Anchor) -> bool {
        self.lock()
            .desks
            .get(tenant)
            .is_some_and(|desk| desk.known_call(std::slice::from_ref(anchor)).is_some())
    }

    /// What a cursor written now says.
    #[must_use]
    pub fn folded_through(&self) -> Millis {
        self.lock().folded_through
    }

    /// The level of the call that one of `anchors` is part of.
    #[must_use]
    pub fn level(&self, tenant: &Tenant, anchors: &[Anchor], now: Millis) -> LevelFound {
        let state = self.lock();
        let at = state.folded_through;
        let found = state
            .desks
            .get(tenant)
            .and_then(|desk| Some((desk, desk.known_call(anchors)?)));
        match found {
            Some((desk, call)) => LevelFound {
                view: desk.view_of(&call),
                message: desk.snapshot(tenant, &call, at, now),
                call: Some(call),
            },
            None => LevelFound {
                call: None,
                view: IndicationView::default(),
                message: Message::nothing_known(at, now),
            },
        }
    }

    /// Opens a stream. With `since` (ms, of a cursor) what was missed comes first; the levels come
    /// in any case.
    ///
    /// # Errors
    ///
    /// [`Full`].
    pub fn listen(
        &self,
        tenant: &Tenant,
        reach: Reach,
        since: Option<Millis>,
        now: Millis,
    ) -> Result<Opening, Full> {
        let (send, messages) = mpsc::channel(self.queue);
        let mut state = self.lock();
        if state.listeners >= self.most_listeners {
            return Err(Full);
        }
        state.next_listener += 1;
        let id = ListenerId::new(state.next_listener);
        let (phase, at) = (state.phase, state.folded_through);
        let desk = state.desks.entry(tenant.clone()).or_default();
        let mut listener = Listener::new(reach, send);
        let calls = desk.calls_within(&listener.reach);
        let mut first = Vec::new();
        if let Some(since) = since {
            let from = since - OVERLAP;
            let known = matches!(phase, Phase::Live { known_since } if known_since <= since);
            if !known || !desk.past_reaches(&calls, from) {
                first.push(Message::gap(
                    "the notices since the cursor are not all known here; the levels follow",
                    at,
                    now,
                ));
            }
            let mut missed: Vec<&Past> = desk.past_of(&calls, from).collect();
            missed.sort_by_key(|past| past.at);
            first.extend(missed.into_iter().map(|past| past.message.clone()));
        }
        // A level in the middle of the log was never true.
        let settled = phase != Phase::CatchingUp;
        for call in calls.iter().filter(|_| settled) {
            // Whoever listens to everything is not told of calls that are over.
            if listener.reach.is_one_call() || desk.goes_on(call) {
                listener.stated.insert(call.clone(), desk.level_of(call));
                first.push(desk.snapshot(tenant, call, at, now));
            }
        }
        if (calls.is_empty() || !settled) && listener.reach.is_one_call() {
            first.push(Message::nothing_known(at, now));
        }
        desk.add_listener(id, listener);
        state.listeners += 1;
        gauge!(names::STREAMS).set(state.listeners as f64);
        Ok(Opening {
            id,
            messages,
            first,
        })
    }

    /// A stream has ended.
    pub fn forget_listener(&self, tenant: &Tenant, id: ListenerId) {
        let mut state = self.lock();
        if let Some(desk) = state.desks.get_mut(tenant)
            && desk.remove_listener(id)
        {
            state.listeners -= 1;
            gauge!(names::STREAMS).set(state.listeners as f64);
        }
    }
}

/// What one tenant's arrivals touched.
#[derive(Default)]
struct Batch {
    gone: BTreeSet<Anchor>,
    /// Each call with the youngest fact that may have decided its level.
    calls: BTreeMap<Anchor, Deciding>,
}

impl Batch {
    fn add(&mut self, touched: Touched, deciding: Deciding) {
        for gone in touched.gone {
            self.calls.remove(&gone);
            self.gone.insert(gone);
        }
        for call in touched.calls {
            self.gone.remove(&call);
            let kept = self.calls.entry(call).or_insert_with(|| deciding.clone());
            if kept.t < deciding.t {
                *kept = deciding.clone();
            }
        }
    }
}

impl State {
    fn enter(&mut self, arrivals: Vec<Arrival>, now: Millis) {
        let mut keys = Vec::with_capacity(arrivals.len());
        let mut batches: HashMap<Tenant, Batch> = HashMap::new();
        for Arrival {
            tenant,
            testimony,
            at,
        } in arrivals
        {
            self.folded_through = self.folded_through.max(at);
            keys.push(testimony.id);
            let deciding = Deciding {
                t: testimony.t,
                fact: testimony.id.to_string(),
            };
            let desk = self.desks.entry(tenant.clone()).or_default();
            if let Some(touched) = desk.take_in(testimony, at) {
                batches.entry(tenant).or_default().add(touched, deciding);
            }
        }
        // While catching up nothing is folded: a level in the middle of the log was never true.
        if self.phase != Phase::CatchingUp {
            let moment = self.moment(self.folded_through, now);
            for (tenant, batch) in batches {
                self.refold(&tenant, &batch.gone, &batch.calls, moment);
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

    fn moment(&self, at: Millis, now: Millis) -> Moment {
        Moment {
            at,
            now,
            tell: self.phase != Phase::CatchingUp,
            announce: matches!(self.phase, Phase::Live { .. }),
        }
    }

    fn refold(
        &mut self,
        tenant: &Tenant,
        gone: &BTreeSet<Anchor>,
        calls: &BTreeMap<Anchor, Deciding>,
        moment: Moment,
    ) {
        let Some(desk) = self.desks.get_mut(tenant) else {
            return;
        };
        let mut dropped = BTreeSet::new();
        for gone in gone {
            desk.merge_away(gone);
        }
        for (call, deciding) in calls {
            let Some(next_change) = desk.refold(tenant, call, deciding, moment, &mut dropped)
            else {
                continue;
            };
            if let Some(before) = next_change.before {
                self.timers.remove(&(before, tenant.clone(), call.clone()));
            }
            if let Some(after) = next_change.after {
                self.timers.insert((after, tenant.clone(), call.clone()));
            }
        }
        for id in dropped {
            if desk.remove_listener(id) {
                self.listeners -= 1;
                gauge!(names::STREAMS).set(self.listeners as f64);
            }
        }
    }

    fn go_live(&mut self, now: Millis) {
        let at = self.folded_through;
        self.phase = Phase::Live { known_since: now };
        let tenants: Vec<Tenant> = self.desks.keys().cloned().collect();
        for tenant in tenants {
            let Some(desk) = self.desks.get(&tenant) else {
                continue;
            };
            let deciding = || Deciding {
                t: Millis::MIN,
                fact: "start".to_owned(),
            };
            let calls = desk
                .all_calls()
                .into_iter()
                .map(|call| (call, deciding()))
                .collect();
            self.refold(
                &tenant,
                &BTreeSet::new(),
                &calls,
                Moment {
                    at,
                    now,
                    tell: true,
                    announce: false,
                },
            );
        }
        gauge!(names::BOARD_CALLS).set(self.calls() as f64);
    }

    fn calls(&self) -> usize {
        self.desks.values().map(Desk::number_of_calls).sum()
    }

    fn tick(&mut self, now: Millis) {
        if self.phase == Phase::CatchingUp {
            return;
        }
        while let Some((due, tenant, call)) = self.timers.first().cloned() {
            if due > now {
                return;
            }
            self.timers.pop_first();
            let deciding = Deciding {
                t: due,
                fact: format!("time {due}"),
            };
            let moment = self.moment(self.folded_through, now);
            self.refold(
                &tenant,
                &BTreeSet::new(),
                &BTreeMap::from([(call, deciding)]),
                moment,
            );
        }
    }

    fn say_gap(&mut self, reason: &str, now: Millis) {
        let message = Message::gap(reason, self.folded_through, now);
        for desk in self.desks.values_mut() {
            self.listeners -= desk.tell_all(&message);
        }
    }

    fn tidy(&mut self, now: Millis, quiet: Option<Millis>) {
        for desk in self.desks.values_mut() {
            desk.tidy(now, quiet);
        }
        self.desks.retain(|_, desk| !desk.is_empty());
        if let Phase::Live { known_since } = &mut self.phase {
            *known_since = (*known_since).max(now - RESUME_WINDOW);
        }
        gauge!(names::BOARD_CALLS).set(self.calls() as f64);
    }
}
