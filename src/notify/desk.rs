//! One tenant's part of the board: its calls.
//!
//! Events are put in their places first and folded afterwards: [`Desk::learn`] and
//! [`Desk::take_in`] mark the calls that must be folded anew, [`Desk::settle`] folds them and tells
//! whoever was told something else (in `telling.rs`). What is over leaves in `desk/leaving.rs`.

mod leaving;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use super::audience::Audience;
use super::call::{LiveCall, Progress};
use super::owners::Owners;
use super::shelf::Shelf;
use crate::domain::alias::{Aliases, Anchor, Naming};
use crate::domain::calling_event::{Statement, Testimony};
use crate::domain::ids::Tenant;
use crate::domain::indication::Indications;
use crate::domain::instant::Millis;
use crate::domain::notice::{Cause, IndicationView};
use crate::domain::parameters::Parameters;
use crate::domain::picture::account;
use crate::domain::reports::Taken;

/// One person may have so many attachments in one call: enough to rejoin all day.
const MOST_ATTACHMENTS: usize = 32;
/// The reports of one attachment may say something else than before so often.
const MOST_CHANGES: usize = 256;
/// And so many of them may be kept one by one: half a day of heartbeats that contradict each other.
const MOST_KEPT: usize = 2048;

/// What decides a level: which fact, and when it happened.
#[derive(Clone, Copy)]
pub(super) struct Deciding {
    pub t: Millis,
    pub cause: Cause,
    /// When we received it, ms; `None`: time alone decided.
    pub received: Option<Millis>,
}

/// Why a report is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// The attachment belongs to somebody else.
    Foreign,
    /// Its person has too many attachments in the call.
    TooManyAttachments,
    /// It said too often something else than before.
    TooManyChanges,
}

/// One tenant's calls and listeners.
pub(super) struct Desk {
    pub(super) tenant: Tenant,
    pub(super) aliases: Aliases,
    shelves: HashMap<Anchor, Shelf>,
    /// Most of them are over, and there are many.
    pub(super) calls: HashMap<Anchor, Box<LiveCall>>,
    pub(super) owners: Owners,
    pub(super) audience: Audience,
    /// Calls to be folded anew, with the youngest of the facts that ask for it.
    pub(super) unfolded: BTreeMap<Anchor, Option<Deciding>>,
    /// Anchors that may be part of another call than before.
    pub(super) moved: BTreeSet<Anchor>,
    /// Calls to be folded when the log has been read to its end.
    put_off: HashSet<Anchor>,
    /// Those of them that the spool told of.
    spooled: HashSet<Anchor>,
    /// When to fold a call again although nothing came.
    timers: BTreeSet<(Millis, Anchor)>,
    /// Calls that are over, by when to look whether they may be closed.
    closing: VecDeque<(Millis, Anchor)>,
    #[cfg(test)]
    pub folds: usize,
}

impl Desk {
    pub fn new(tenant: Tenant) -> Self {
        Self {
            tenant,
            aliases: Aliases::default(),
            shelves: HashMap::new(),
            calls: HashMap::new(),
            owners: Owners::default(),
            audience: Audience::default(),
            unfolded: BTreeMap::new(),
            moved: BTreeSet::new(),
            put_off: HashSet::new(),
            spooled: HashSet::new(),
            timers: BTreeSet::new(),
            closing: VecDeque::new(),
            #[cfg(test)]
            folds: 0,
        }
    }

    /// Learns what an event that came at `at` (ms) says of its call by its ids alone.
    pub fn learn(&mut self, naming: &Naming, at: Millis) {
        let Some(anchor) = &naming.anchor else {
            return;
        };
        if !self.shelves.contains_key(anchor) && !self.is_closed(anchor) {
            self.shelves.insert(anchor.clone(), Shelf::default());
            self.moved.insert(anchor.clone());
        }
        for link in &naming.links {
            if self.aliases.knows(link) {
                continue;
            }
            let through = self.aliases.led_through(&link.lower);
            let before: Vec<Anchor> = through.iter().map(|it| self.aliases.call_of(it)).collect();
            self.aliases.learn(link.clone());
            for (anchor, was) in through.into_iter().zip(before) {
                let is = self.aliases.call_of(&anchor);
                if is != was {
                    self.moved.insert(anchor);
                    self.mark(is, None);
                    self.leave(was);
                }
            }
        }
        let call = self.aliases.call_of(anchor);
        let live = self.calls.entry(call).or_default();
        live.heard = live.heard.max(at);
    }

    /// A call lost a part of itself; perhaps it is nothing but a part of another call now.
    fn leave(&mut self, call: Anchor) {
        let into = self.aliases.call_of(&call);
        if into == call {
            self.mark(call, None);
        } else {
            self.merge(&call, &into);
        }
    }

    /// What was a call is part of another one now: its past and its listeners go over.
    fn merge(&mut self, gone: &Anchor, into: &Anchor) {
        let Some(mut live) = self.calls.remove(gone) else {
            return;
        };
        live.there.clear();
        if let Some(next_change) = live.next_change.take() {
            self.timers.remove(&(next_change, gone.clone()));
        }
        self.carry(gone, into);
        if !self.calls.contains_key(into) {
            self.calls.insert(into.clone(), live);
            return;
        }
        let is_closed = live.is_closed() || self.is_closed(into);
        // Some of it may not have been folded yet.
        let told = is_closed.then(|| told_by(self.testimonies(into)));
        if is_closed {
            self.drop_testimonies(into);
        }
        if let Some(call) = self.calls.get_mut(into) {
            call.merge(*live);
            call.observe_late(told.unwrap_or_default());
        }
    }

    /// Puts a testimony that was received at `received` (ms) where it belongs by its own ids.
    pub fn take_in(
        &mut self,
        anchor: &Anchor,
        testimony: Testimony,
        received: Millis,
        now: Millis,
    ) {
        let call = self.aliases.call_of(anchor);
        let deciding = Deciding {
            t: testimony.t,
            cause: Cause::Event(testimony.id),
            received: Some(received),
        };
        let mut reporter = None;
        if let Statement::Report(report) = &testimony.event.statement
            && let Some(attachment) = &testimony.event.ids.attachment
        {
            let owned = Anchor::attachment(attachment);
            let person = &report.participant.raw_id;
            self.owners.claim(&owned, testimony.t, person, anchor);
            reporter = Some(attachment.clone());
        }
        if let Some(live) = self.calls.get_mut(&call)
            && live.is_closed()
        {
            live.observe_late(told_by([&testimony]));
            self.mark(call, Some(deciding));
            return;
        }
        let shelf = self.shelves.entry(anchor.clone()).or_default();
        match shelf.take_in(testimony, now) {
            Taken::Known => return,
            Taken::Heartbeat => {
                // The timer of the last fold comes in time, or too early: then it finds another.
                let there = self.calls.get(&call).map(|live| &live.there);
                if let Some(attachment) = &reporter
                    && there.is_some_and(|there| there.contains(attachment))
                    && !self.put_off.contains(&call)
                {
                    return;
                }
            }
            Taken::New => {}
        }
        self.mark(call, Some(deciding));
    }

    /// The call must be folded anew.
    pub(super) fn mark(&mut self, call: Anchor, deciding: Option<Deciding>) {
        let kept = self.unfolded.entry(call).or_default();
        let younger = match (&kept, &deciding) {
            (Some(kept), Some(deciding)) => kept.t < deciding.t,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if younger {
            *kept = deciding;
        }
    }

    /// Nothing is to be folded before the log has been read to its end.
    pub fn put_off(&mut self, from_spool: bool) {
        // Then everybody's level is looked at anyway.
        self.moved.clear();
        for call in std::mem::take(&mut self.unfolded).into_keys() {
            if from_spool {
                self.spooled.insert(call.clone());
            }
            self.put_off.insert(call);
        }
    }

    pub(super) fn is_put_off(&self, call: &Anchor) -> bool {
        self.put_off.contains(call)
    }

    /// Takes up what the spool told of: it must not wait for a log that does not come.
    pub fn take_up_spooled(&mut self) {
        for call in std::mem::take(&mut self.spooled) {
            self.put_off.remove(&call);
            let call = self.aliases.call_of(&call);
            self.mark(call, None);
        }
    }

    /// Folds at most so many calls that were put off, in silence; gives how many are done with.
    pub fn fold_put_off(&mut self, most: usize, now: Millis) -> usize {
        let some: Vec<Anchor> = self.put_off.iter().take(most).cloned().collect();
        for known_as in &some {
            self.put_off.remove(known_as);
            let call = self.aliases.call_of(known_as);
            self.spooled.remove(&call);
            self.fold(&call, now);
        }
        some.len()
    }

    /// Calls whose time has come are marked.
    pub fn mark_due(&mut self, now: Millis) {
        while let Some((due, _)) = self.timers.first()
            && *due <= now
        {
            if let Some((due, call)) = self.timers.pop_first() {
                let deciding = Deciding {
                    t: due,
                    cause: Cause::Time(due),
                    received: None,
                };
                self.mark(call, Some(deciding));
            }
        }
    }

    /// Folds a call; gives the level that it had before. `None`: it is none, or was closed and
    /// has the level that it had.
    pub(super) fn fold(&mut self, call: &Anchor, now: Millis) -> Option<Indications> {
        if let Some(live) = self.calls.get_mut(call)
            && live.is_closed()
        {
            return live.take_belated();
        }
        let members = self.aliases.members(call);
        let shelves: Vec<&Shelf> = members
            .iter()
            .filter_map(|member| self.shelves.get(member))
            .collect();
        if shelves.is_empty() {
            self.remove_call(call);
            return None;
        }
        #[cfg(test)]
        {
            self.folds += 1;
        }
        let testimonies = shelves.into_iter().flat_map(Shelf::testimonies);
        // No level depends on what was told to whom, so the log of notice facts is not read here: a
        // property test in `domain::notice_fact` holds on to that.
        let account = account(testimonies, [], now, &Parameters::default());
        let picture = account.picture;
        let live = self.calls.entry(call.clone()).or_default();
        if let Some(before) = live.next_change {
            self.timers.remove(&(before, call.clone()));
        }
        if let Some(after) = picture.next_change {
            self.timers.insert((after, call.clone()));
        }
        live.next_change = picture.next_change;
        live.view = IndicationView::of(&picture);
        let before = live.progress;
        let progress = match picture.call {
            Some(call) if call.end.is_some() && call.presumed => Progress::PresumedOver,
            Some(call) if call.end.is_some() => Progress::Over,
            _ => Progress::GoesOn,
        };
        live.progress = progress;
        live.there = account.there;
        let level = std::mem::replace(&mut live.level, picture.indications);
        if progress == Progress::Over && before != Progress::Over {
            self.close_later(call, now);
        }
        Some(level)
    }

    fn remove_call(&mut self, call: &Anchor) {
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

    /// Everything that was told of a call.
    fn testimonies(&self, call: &Anchor) -> impl Iterator<Item = &Testimony> {
        let members = self.aliases.members(call);
        let shelves = members.into_iter().filter_map(|it| self.shelves.get(&it));
        shelves.flat_map(Shelf::testimonies)
    }

    fn drop_testimonies(&mut self, call: &Anchor) {
        for member in self.aliases.members(call) {
            self.shelves.remove(&member);
        }
    }

    /// Whether the attachment is known to be somebody else's.
    pub fn is_foreign(&self, attachment: &str, person: &str) -> bool {
        let owner = self.owners.person(&Anchor::attachment(attachment));
        owner.is_some_and(|owner| owner != person)
    }

    /// Whether a report of this person at this attachment may be taken.
    pub fn admits(
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
        for shelf in anchors.filter_map(|anchor| self.shelves.get(anchor)) {
            changes += shelf.changes_of(attachment);
            weight += shelf.weight_of(attachment);
        }
        if changes >= MOST_CHANGES || weight >= MOST_KEPT {
            return Err(NotAdmitted::TooManyChanges);
        }
        let named = server_call_id.map_or_else(|| own.clone(), Anchor::server);
        let call = self.aliases.call_of(&named);
        // One that is in stays in, however it came that there are so many.
        if self.owners.person(&own).is_some() && self.aliases.call_of(&own) == call {
            return Ok(());
        }
        let others = self
            .owners
            .attachments(person)
            .filter(|other| **other != own && self.aliases.call_of(other) == call);
        if others.count() >= MOST_ATTACHMENTS {
            return Err(NotAdmitted::TooManyAttachments);
        }
        Ok(())
    }

    pub fn number_of_calls(&self) -> usize {
        self.calls.len()
    }

    #[cfg(test)]
    pub fn number_of_testimonies(&self) -> usize {
        let shelves = self.shelves.values();
        shelves.map(|shelf| shelf.testimonies().count()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.audience.is_empty() && self.shelves.is_empty()
    }
}

/// The level that these would make, each of them counting already: of which types they tell.
fn told_by<'t>(testimonies: impl IntoIterator<Item = &'t Testimony>) -> Indications {
    let testimonies: Vec<&Testimony> = testimonies.into_iter().collect();
    let last = testimonies.iter().map(|it| it.t).max();
    let parameters = Parameters::default();
    let account = account(testimonies, [], last.unwrap_or_default(), &parameters);
    account.picture.indications
}
