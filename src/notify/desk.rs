//! One tenant's part of the board.

use std::collections::{BTreeSet, HashMap, HashSet};

use metrics::counter;

use super::call::{LiveCall, Past};
use super::listener::{Listener, ListenerId, Reach, Told};
use super::message::{Level, Message};
use crate::domain::alias::{Aliases, Anchor, Naming};
use crate::domain::calling_event::{Statement, Testimony};
use crate::domain::ids::{Digest, Tenant};
use crate::domain::indication::Indications;
use crate::domain::instant::Millis;
use crate::domain::notice::{IndicationView, announces, changed};
use crate::domain::parameters::Parameters;
use crate::domain::picture::account;
use crate::telemetry::names;

/// An ended call is known by its level alone this long after anything was heard of it, ms.
const ENDED_KEPT_WHOLE: Millis = 60 * 60 * 1000;
/// And not at all after this long, ms.
const ENDED_KEPT: Millis = 24 * 60 * 60 * 1000;

/// What decides a level: which fact, and when it happened.
#[derive(Clone)]
pub(super) struct Deciding {
    pub t: Millis,
    pub fact: String,
}

/// When a fold happens.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// What the log has been folded through, ms.
    pub at: Millis,
    /// The instant of the fold, ms.
    pub now: Millis,
    /// Whether listeners are told at all.
    pub tell: bool,
    /// Whether a change may be announced to them as one.
    pub announce: bool,
}

/// Which calls are to be folded anew.
pub(super) struct Touched {
    pub calls: BTreeSet<Anchor>,
    /// What was a call and is part of another one now.
    pub gone: BTreeSet<Anchor>,
}

/// A call's timer before and after a fold, ms.
pub(super) struct NextChange {
    pub before: Option<Millis>,
    pub after: Option<Millis>,
}

/// The events at one anchor.
#[derive(Default)]
struct Shelf {
    keys: HashSet<Digest>,
    all: Vec<Testimony>,
    /// When the last one came, ms.
    heard: Millis,
}

/// One tenant's calls and listeners.
#[derive(Default)]
pub(super) struct Desk {
    aliases: Aliases,
    testimonies: HashMap<Anchor, Shelf>,
    calls: HashMap<Anchor, LiveCall>,
    /// Whom each attachment belongs to: the person of its first report.
    owners: HashMap<String, (Millis, String)>,
    listeners: HashMap<ListenerId, Listener>,
    /// Listeners of one call, by the anchor that they named.
    by_anchor: HashMap<Anchor, BTreeSet<ListenerId>>,
    by_person: HashMap<String, BTreeSet<ListenerId>>,
    of_everything: BTreeSet<ListenerId>,
}

impl Desk {
    /// Puts an event that came at `at` (ms) where it belongs. `None`: nothing new.
    pub fn take_in(&mut self, testimony: Testimony, at: Millis) -> Option<Touched> {
        let naming = Naming::of(&testimony.event.ids);
        let anchor = naming.anchor?;
        if self
            .calls
            .get(&self.aliases.call_of(&anchor))
            .is_some_and(|call| call.closed)
        {
            return None;
        }
        let shelf = self.testimonies.entry(anchor.clone()).or_default();
        shelf.heard = shelf.heard.max(at);
        // The same key with another content is kept beside the first: the fold settles it.
        if shelf.keys.contains(&testimony.id)
            && shelf
                .all
                .iter()
                .any(|known| known.id == testimony.id && known.event == testimony.event)
        {
            return None;
        }
        if let (Statement::Report(report), Some(attachment)) =
            (&testimony.event.statement, &testimony.event.ids.attachment)
        {
            let claim = (testimony.t, report.participant.raw_id.clone());
            let owner = self
                .owners
                .entry(attachment.clone())
                .or_insert_with(|| claim.clone());
            if claim < *owner {
                *owner = claim;
            }
        }
        shelf.keys.insert(testimony.id);
        shelf.all.push(testimony);

        let mut touched = Touched {
            calls: BTreeSet::new(),
            gone: BTreeSet::new(),
        };
        let mut moved = BTreeSet::from([anchor]);
        for link in naming.links {
            for anchor in self.aliases.led_through(&link.lower) {
                touched.calls.insert(self.aliases.call_of(&anchor));
            }
            moved.extend(self.aliases.learn(link));
        }
        for anchor in moved {
            let call = self.aliases.call_of(&anchor);
            if call != anchor {
                touched.gone.insert(anchor);
            }
            touched.calls.insert(call);
        }
        touched
            .calls
            .retain(|call| self.aliases.call_of(call) == *call);
        Some(touched)
    }

    /// What was a call is part of another one now: its past and its listeners go over.
    pub fn merge_away(&mut self, gone: &Anchor) {
        let Some(live) = self.calls.remove(gone) else {
            return;
        };
        let call = self.aliases.call_of(gone);
        for listener in self.listeners.values_mut() {
            if let Some(stated) = listener.stated.remove(gone) {
                listener.stated.entry(call.clone()).or_insert(stated);
            }
        }
        match self.calls.get_mut(&call) {
            Some(into) => into.remember_all_of(live),
            None => {
                self.calls.insert(call, live);
            }
        }
    }

    /// Folds a call and tells whoever was told something else. `None`: there is nothing to fold.
    pub fn refold(
        &mut self,
        tenant: &Tenant,
        call: &Anchor,
        deciding: &Deciding,
        moment: Moment,
        dropped: &mut BTreeSet<ListenerId>,
    ) -> Option<NextChange> {
        // A timer may outlive the call's merge into another.
        if self.aliases.call_of(call) != *call
            || self.calls.get(call).is_some_and(|live| live.closed)
        {
            return None;
        }
        let members = self.aliases.members(call);
        let shelves = || {
            members
                .iter()
                .filter_map(|member| self.testimonies.get(member))
        };
        let heard = shelves()
            .map(|shelf| shelf.heard)
            .max()
            .unwrap_or(moment.at);
        let testimonies: Vec<&Testimony> = shelves().flat_map(|shelf| &shelf.all).collect();
        if testimonies.is_empty() {
            self.calls.remove(call);
            return None;
        }
        let picture = account(testimonies, moment.now, &Parameters::default()).picture;
        let view = IndicationView::of(&picture);
        let hearers = if moment.tell {
            self.hearers(&members)
        } else {
            BTreeSet::new()
        };
        let live = self
            .calls
            .entry(call.clone())
            .or_insert_with(|| LiveCall::new(view.clone(), heard));
        let before = std::mem::replace(&mut live.level, picture.indications);
        let next_change = NextChange {
            before: live.next_change,
            after: picture.next_change,
        };
        live.next_change = picture.next_change;
        live.view = view;
        live.ended = picture.call.as_ref().and_then(|call| call.end);
        live.heard = heard;
        let differs = changed(&before, &live.level);
        if differs {
            live.deciding.clone_from(&deciding.fact);
        }

        // Old news never rings (law 8); whoever differs learns the level all the same.
        let rings = announces(moment.now, live.ended.is_none(), deciding.t);
        let names: Vec<&str> = members.iter().map(Anchor::as_str).collect();
        let level = Level {
            tenant,
            call,
            members: &names,
            level: live.level,
            view: &live.view,
            deciding: &live.deciding,
        };
        let compose = |previous: &Indications, may_ring: bool| {
            if may_ring {
                Message::notice(&level, previous, moment.at, moment.now)
            } else {
                Message::snapshot(&level, moment.at, moment.now)
            }
        };
        let mut told: HashMap<(Indications, bool), Message> = HashMap::new();
        for id in hearers {
            let Some(listener) = self.listeners.get_mut(&id) else {
                continue;
            };
            let stated = listener.stated.get(call).copied();
            let known = stated.unwrap_or_default();
            if !changed(&known, &level.level) {
                continue;
            }
            // A level that was never stated to them is no change of it, unless it began just now.
            let may_ring = rings && moment.announce && (stated.is_some() || differs);
            let message = told
                .entry((known, may_ring))
                .or_insert_with(|| compose(&known, may_ring))
                .clone();
            counter!(names::NOTICES, "kind" => message.kind.as_str()).increment(1);
            match listener.tell(message) {
                Told::Queued => {
                    listener.stated.insert(call.clone(), level.level);
                }
                Told::Dropped { slow } => {
                    if slow {
                        counter!(names::STREAMS_DROPPED).increment(1);
                    }
                    dropped.insert(id);
                }
            }
        }
        let past = differs.then(|| Past {
            at: moment.at,
            message: compose(&before, rings),
        });
        if let Some(past) = past {
            live.remember(past);
        }
        Some(next_change)
    }

    /// Everybody who may hear of a call with these members.
    fn hearers(&self, members: &BTreeSet<Anchor>) -> BTreeSet<ListenerId> {
        let named = members
            .iter()
            .filter_map(|member| self.by_anchor.get(member))
            .flatten();
        let persons = self.owners_of(members);
        let own = persons
            .iter()
            .filter_map(|person| self.by_person.get(person))
            .flatten();
        let all = named.chain(own).chain(&self.of_everything).copied();
        all.filter(|id| {
            self.listeners
                .get(id)
                .is_some_and(|listener| self.may_hear(&listener.reach))
        })
        .collect()
    }

    /// An attachment that is named may be somebody else's.
    fn may_hear(&self, reach: &Reach) -> bool {
        match reach {
            Reach::Attachment { attachment, person } => self.owner_of(attachment) == Some(person),
            Reach::Call(_) | Reach::Person(_) | Reach::Everything => true,
        }
    }

    /// The persons whose attachments are of a call with these members.
    fn owners_of(&self, members: &BTreeSet<Anchor>) -> BTreeSet<String> {
        if self.by_person.is_empty() {
            return BTreeSet::new();
        }
        let own = members
            .iter()
            .filter_map(|member| self.testimonies.get(member))
            .flat_map(|shelf| &shelf.all);
        let persons = own.filter_map(|testimony| match &testimony.event.statement {
            Statement::Report(_) => testimony
                .event
                .ids
                .attachment
                .as_deref()
                .and_then(|attachment| self.owner_of(attachment)),
            _ => None,
        });
        persons.map(str::to_owned).collect()
    }

    /// Whose attachment it is.
    pub fn owner_of(&self, attachment: &str) -> Option<&str> {
        self.owners
            .get(attachment)
            .map(|(_, person)| person.as_str())
    }

    /// The first call of these anchors that is on the desk.
    pub fn known_call(&self, anchors: &[Anchor]) -> Option<Anchor> {
        anchors
            .iter()
            .map(|anchor| self.aliases.call_of(anchor))
            .find(|call| self.calls.contains_key(call))
    }

    /// The calls that a listener hears of.
    pub fn calls_within(&self, reach: &Reach) -> Vec<Anchor> {
        match reach {
            Reach::Attachment { attachment, .. } if self.may_hear(reach) => self
                .known_call(&[Anchor::attachment(attachment)])
                .into_iter()
                .collect(),
            Reach::Attachment { .. } => Vec::new(),
            Reach::Call(anchor) => self
                .known_call(std::slice::from_ref(anchor))
                .into_iter()
                .collect(),
            Reach::Person(person) => {
                let own = self.owners.iter().filter(|(_, (_, owner))| owner == person);
                let calls: BTreeSet<Anchor> = own
                    .filter_map(|(attachment, _)| {
                        self.known_call(&[Anchor::attachment(attachment)])
                    })
                    .collect();
                calls.into_iter().collect()
            }
            Reach::Everything => self.calls.keys().cloned().collect(),
        }
    }

    /// The level of a call as a message.
    pub fn snapshot(&self, tenant: &Tenant, call: &Anchor, at: Millis, now: Millis) -> Message {
        let Some(live) = self.calls.get(call) else {
            return Message::nothing_known(at, now);
        };
        let members = self.aliases.members(call);
        let names: Vec<&str> = members.iter().map(Anchor::as_str).collect();
        let level = Level {
            tenant,
            call,
            members: &names,
            level: live.level,
            view: &live.view,
            deciding: &live.deciding,
        };
        Message::snapshot(&level, at, now)
    }

    pub fn view_of(&self, call: &Anchor) -> IndicationView {
        self.calls
            .get(call)
            .map(|live| live.view.clone())
            .unwrap_or_default()
    }

    pub fn level_of(&self, call: &Anchor) -> Indications {
        self.calls
            .get(call)
            .map(|live| live.level)
            .unwrap_or_default()
    }

    pub fn goes_on(&self, call: &Anchor) -> bool {
        self.calls
            .get(call)
            .is_some_and(|live| live.ended.is_none())
    }

    /// Whether every change of these calls since then is still known.
    pub fn past_reaches(&self, calls: &[Anchor], from: Millis) -> bool {
        calls
            .iter()
            .filter_map(|call| self.calls.get(call))
            .all(|live| live.past_reaches(from))
    }

    /// The changes of these calls since then.
    pub fn past_of(&self, calls: &[Anchor], from: Millis) -> impl Iterator<Item = &Past> {
        let live: Vec<&LiveCall> = calls
            .iter()
            .filter_map(|call| self.calls.get(call))
            .collect();
        live.into_iter().flat_map(move |live| live.since(from))
    }

    /// Every anchor that is a call by itself.
    pub fn all_calls(&self) -> BTreeSet<Anchor> {
        self.testimonies
            .keys()
            .map(|anchor| self.aliases.call_of(anchor))
            .collect()
    }

    pub fn number_of_calls(&self) -> usize {
        self.calls.len()
    }

    pub fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.listeners.is_empty() && self.testimonies.is_empty()
    }

    pub fn add_listener(&mut self, id: ListenerId, listener: Listener) {
        match &listener.reach {
            Reach::Attachment { attachment, .. } => self
                .by_anchor
                .entry(Anchor::attachment(attachment))
                .or_default()
                .insert(id),
            Reach::Call(anchor) => self.by_anchor.entry(anchor.clone()).or_default().insert(id),
            Reach::Person(person) => self.by_person.entry(person.clone()).or_default().insert(id),
            Reach::Everything => self.of_everything.insert(id),
        };
        self.listeners.insert(id, listener);
    }

    /// Tells every listener; returns how many were dropped for it.
    pub fn tell_all(&mut self, message: &Message) -> usize {
        let dropped: Vec<ListenerId> = self
            .listeners
            .iter()
            .filter(|(_, listener)| listener.tell(message.clone()) != Told::Queued)
            .map(|(id, _)| *id)
            .collect();
        dropped
            .into_iter()
            .filter(|id| self.remove_listener(*id))
            .count()
    }

    /// Returns whether it was there.
    pub fn remove_listener(&mut self, id: ListenerId) -> bool {
        let Some(listener) = self.listeners.remove(&id) else {
            return false;
        };
        match &listener.reach {
            Reach::Attachment { attachment, .. } => {
                leave(&mut self.by_anchor, &Anchor::attachment(attachment), id)
            }
            Reach::Call(anchor) => leave(&mut self.by_anchor, anchor, id),
            Reach::Person(person) => leave(&mut self.by_person, person, id),
            Reach::Everything => {
                self.of_everything.remove(&id);
            }
        }
        true
    }

    /// Forgets what is over, and what nothing was heard of for `quiet` ms.
    pub fn tidy(&mut self, now: Millis, quiet: Option<Millis>) {
        let mut forgotten = Vec::new();
        let mut closed = Vec::new();
        for (call, live) in &mut self.calls {
            live.forget_before(now - super::board::RESUME_WINDOW);
            let silence = now - live.heard;
            if live.ended.is_some() {
                if silence > ENDED_KEPT {
                    forgotten.push(call.clone());
                } else if silence > ENDED_KEPT_WHOLE && !live.closed {
                    live.closed = true;
                    closed.push(call.clone());
                }
            } else if quiet.is_some_and(|quiet| silence > quiet) {
                forgotten.push(call.clone());
            }
        }
        for call in closed.iter().chain(&forgotten) {
            for member in self.aliases.members(call) {
                for testimony in self
                    .testimonies
                    .remove(&member)
                    .into_iter()
                    .flat_map(|shelf| shelf.all)
                {
                    if let Some(attachment) = &testimony.event.ids.attachment {
                        self.owners.remove(attachment);
                    }
                }
            }
        }
        for call in forgotten {
            for member in self.aliases.members(&call) {
                self.aliases.forget(&member);
            }
            self.calls.remove(&call);
            for listener in self.listeners.values_mut() {
                listener.stated.remove(&call);
            }
        }
    }
}

fn leave<K: std::hash::Hash + Eq>(
    places: &mut HashMap<K, BTreeSet<ListenerId>>,
    place: &K,
    id: ListenerId,
) {
    if let Some(ids) = places.get_mut(place) {
        ids.remove(&id);
        if ids.is_empty() {
            places.remove(place);
        }
    }
}
