//! Who is told what, when the calls of a desk have changed.
//!
//! # Why
//!
//! *What rings.* Old facts, links and merges are folded first, and told as they are. Only then come
//! the young facts: what differs after them differs by them, and is told as a change (law 8).
//!
//! *A listener of one call has one level*, whatever its call is called by now: calls merge, part,
//! and are forgotten, and each time the level is compared with what was stated last (law 7).

use std::collections::BTreeSet;

use metrics::histogram;

use super::call::Past;
use super::desk::Desk;
use super::listener::{Listener, ListenerId, Reach};
use super::message::Message;
use super::scribe::{Moment, Scribe, again};
use crate::domain::alias::Anchor;
use crate::domain::indication::{IndicationState, Indications};
use crate::domain::instant::Millis;
use crate::domain::notice::{IndicationView, announces, changed};
use crate::telemetry::names;

/// What a resumed stream missed.
pub(super) struct Resumed {
    /// Changes since then are to be told once more, ms; `None`: nobody can say since when.
    pub from: Option<Millis>,
    /// This node knows all changes since then.
    pub known: bool,
}

impl Desk {
    /// Folds the calls that are marked, and tells whoever was told something else: as a change, if
    /// that `may_ring` and the deciding fact is young.
    pub fn settle(&mut self, may_ring: bool, moment: Moment) {
        for (call, deciding) in std::mem::take(&mut self.unfolded) {
            // It may have become part of another one, which is marked too.
            if self.aliases.call_of(&call) != call {
                continue;
            }
            let Some(before) = self.fold(&call, moment.now) else {
                continue;
            };
            let Some(live) = self.calls.get_mut(&call) else {
                continue;
            };
            if changed(&before, &live.level)
                && let Some(deciding) = deciding
            {
                live.cause = deciding.cause;
            }
            let is_open = live.goes_on();
            let rings = may_ring
                && deciding
                    .as_ref()
                    .is_some_and(|it| announces(moment.now, is_open, it.t));
            let announced = self.tell(&call, &before, rings, moment);
            if announced && let Some(received) = deciding.and_then(|it| it.received) {
                let took = moment.now.saturating_sub(received).max(0);
                histogram!(names::NOTICE_SECONDS).record(took as f64 / 1000.0);
            }
        }
        let moved = std::mem::take(&mut self.moved);
        let persons = moved.iter().filter_map(|anchor| self.owners.person(anchor));
        let mut concerned = self.audience.of_persons(persons);
        concerned.extend(self.audience.at(&moved));
        self.look_again(concerned, moment);
    }

    /// Tells of a call whose level was `before`; gives whether that was announced to anybody.
    fn tell(&mut self, call: &Anchor, before: &Indications, rings: bool, moment: Moment) -> bool {
        let members = self.aliases.members(call);
        let hearers = self.hearers(call, &members);
        let Some(live) = self.calls.get(call) else {
            return false;
        };
        let mut announced = false;
        let level = live.level;
        let differs = changed(before, &level);
        let mut scribe = Scribe::new(&self.tenant, call, live, &members, &self.owners, moment);
        for id in hearers {
            let Some(listener) = self.audience.get(id) else {
                continue;
            };
            let stated = listener.stated(call);
            if changed(&stated, &level) {
                // Whoever was told less than everybody else learns the level, not a change.
                let previous = (rings && differs).then_some(stated);
                let message = scribe.level(previous, listener.reach.person());
                if self.audience.tell(id, message, moment.now)
                    && let Some(listener) = self.audience.get_mut(id)
                {
                    listener.state(call, level);
                    announced |= previous.is_some();
                }
            }
        }
        if differs && let Some(live) = self.calls.get_mut(call) {
            live.remember(Past {
                at: moment.at,
                now: moment.now,
                call: call.clone(),
                previous: rings.then_some(*before),
                level,
                view: live.view.clone(),
                cause: live.cause,
            });
        }
        announced
    }

    /// Compares what was stated to these listeners with what is so now, and tells whoever was told
    /// something else. Nothing of it is a change that just happened.
    pub(super) fn look_again(&mut self, ids: BTreeSet<ListenerId>, moment: Moment) {
        for id in ids {
            let Some(listener) = self.audience.get(id) else {
                continue;
            };
            if let Some(stated) = listener.stated_of_one() {
                self.look_at_one(id, stated, moment);
            } else {
                self.look_at_many(id, moment);
            }
        }
    }

    fn look_at_one(&mut self, id: ListenerId, stated: Indications, moment: Moment) {
        let Some(reach) = self.audience.get(id).map(|listener| &listener.reach) else {
            return;
        };
        let call = self.one_call_of(reach);
        let level = call.as_ref().map_or_else(Indications::default, |call| {
            self.calls
                .get(call)
                .map(|live| live.level)
                .unwrap_or_default()
        });
        if !changed(&stated, &level) {
            return;
        }
        let message = self.snapshot(call.as_ref(), reach.person(), moment);
        if self.audience.tell(id, message, moment.now)
            && let Some(listener) = self.audience.get_mut(id)
        {
            match &call {
                Some(call) => listener.state(call, level),
                None => listener.state_nothing(),
            }
        }
    }

    fn look_at_many(&mut self, id: ListenerId, moment: Moment) {
        let Some(listener) = self.audience.get(id) else {
            return;
        };
        let calls = self.calls_within(&listener.reach);
        let gone: Vec<Anchor> = listener
            .stated_calls()
            .into_iter()
            .filter(|call| !calls.contains(call))
            .collect();
        let person = listener.reach.person().map(str::to_owned);
        for call in gone {
            let stated = self
                .audience
                .get_mut(id)
                .and_then(|listener| listener.forget_stated(&call));
            if stated.is_some_and(goes_on) {
                let message = Message::forgotten(&call, moment.at, moment.now);
                self.audience.tell(id, message, moment.now);
            }
        }
        for call in calls {
            let (Some(listener), Some(live)) = (self.audience.get(id), self.calls.get(&call))
            else {
                continue;
            };
            let (level, ended) = (live.level, !live.goes_on());
            let stated = listener.stated(&call);
            // Nobody hears for the first time of a call that is over.
            let is_news = !ended || listener.was_told_of(&call);
            if changed(&stated, &level) && is_news {
                let message = self.snapshot(Some(&call), person.as_deref(), moment);
                if self.audience.tell(id, message, moment.now)
                    && let Some(listener) = self.audience.get_mut(id)
                {
                    listener.state(&call, level);
                }
            }
        }
    }

    /// What was stated of a call was stated of the one that it is part of now.
    pub(super) fn carry(&mut self, gone: &Anchor, into: &Anchor) {
        let members = self.aliases.members(into);
        let persons = members.iter().filter_map(|it| self.owners.person(it));
        let mut ids = self.audience.of_persons(persons);
        ids.extend(self.audience.of_everything());
        for id in ids {
            if let Some(listener) = self.audience.get_mut(id) {
                listener.carry(gone, into);
            }
        }
    }

    /// Everybody who may hear of a call with these members.
    pub(super) fn hearers(
        &self,
        call: &Anchor,
        members: &BTreeSet<Anchor>,
    ) -> BTreeSet<ListenerId> {
        if self.audience.is_empty() {
            return BTreeSet::new();
        }
        let mut hearers = self.audience.at(members);
        // An anchor may name several calls to a listener, of which it hears the likeliest.
        hearers.retain(|id| {
            let listener = self.audience.get(*id);
            listener.is_some_and(|it| match &it.reach {
                // It is one of the members, or it would not be among these.
                Reach::Call { anchors, .. } if anchors.len() == 1 => true,
                reach => self.one_call_of(reach).as_ref() == Some(call),
            })
        });
        let persons = members.iter().filter_map(|it| self.owners.person(it));
        hearers.extend(self.audience.of_persons(persons));
        hearers.extend(self.audience.of_everything());
        hearers
    }

    /// The call that somebody hears of who hears of one.
    fn one_call_of(&self, reach: &Reach) -> Option<Anchor> {
        let known = |anchor: &Anchor| {
            let call = self.aliases.call_of(anchor);
            self.calls.contains_key(&call).then_some(call)
        };
        match reach {
            Reach::Attachment { attachment, person } => {
                // An attachment that is named may be somebody else's.
                let anchor = Anchor::attachment(attachment);
                let own = self.owners.person(&anchor) == Some(person);
                own.then(|| known(&anchor)).flatten()
            }
            Reach::Call { anchors, .. } => anchors.iter().find_map(known),
            Reach::Person(_) | Reach::Everything => None,
        }
    }

    /// The calls that somebody hears of.
    fn calls_within(&self, reach: &Reach) -> BTreeSet<Anchor> {
        match reach {
            Reach::Attachment { .. } | Reach::Call { .. } => {
                self.one_call_of(reach).into_iter().collect()
            }
            Reach::Person(person) => {
                let attachments = self.owners.attachments(person);
                let calls = attachments.map(|attachment| self.aliases.call_of(attachment));
                calls.filter(|call| self.calls.contains_key(call)).collect()
            }
            Reach::Everything => self.calls.keys().cloned().collect(),
        }
    }

    /// The level of a call as a message.
    fn snapshot(&self, call: Option<&Anchor>, person: Option<&str>, moment: Moment) -> Message {
        let Some((call, live)) = call.and_then(|call| Some((call, self.calls.get(call)?))) else {
            return Message::nothing_known(moment.at, moment.now);
        };
        let members = self.aliases.members(call);
        Scribe::new(&self.tenant, call, live, &members, &self.owners, moment).level(None, person)
    }

    /// The level that a question finds: call, what is to be said of it, and that as a message.
    pub fn answer(
        &self,
        reach: &Reach,
        moment: Moment,
    ) -> (Option<Anchor>, IndicationView, Message) {
        let call = self.one_call_of(reach);
        let message = self.snapshot(call.as_ref(), reach.person(), moment);
        let live = call.as_ref().and_then(|call| self.calls.get(call));
        let view = live.map(|live| live.view.clone()).unwrap_or_default();
        (call, view, message)
    }

    /// Opens a stream: what was missed first, the levels in any case.
    pub fn open(
        &mut self,
        id: ListenerId,
        listener: Listener,
        resumed: Option<Resumed>,
        moment: Moment,
    ) {
        let reach = listener.reach.clone();
        let is_one_call = listener.is_one_call();
        self.audience.add(id, listener);
        let calls = self.calls_within(&reach);
        let live = || calls.iter().filter_map(|call| self.calls.get(call));
        let mut first = Vec::new();
        if let Some(Resumed { from, known }) = resumed {
            let reaches = |from| live().all(|live| live.past_reaches(from));
            if !known || !from.is_some_and(reaches) {
                first.push(Message::gap(
                    "the notices since the cursor are not all known here; the levels follow",
                    moment.at,
                    moment.now,
                ));
            }
            let past = from.map(|from| live().flat_map(move |live| live.since(from)));
            let mut missed: Vec<&Past> = past.into_iter().flatten().collect();
            missed.sort_by_key(|past| past.at);
            first.extend(missed.into_iter().map(|past| {
                let members = self.aliases.members(&past.call);
                again(&self.tenant, past, &members, &self.owners)
            }));
        }
        for message in first {
            self.audience.tell(id, message, moment.now);
        }
        if calls.is_empty() && is_one_call {
            let message = Message::nothing_known(moment.at, moment.now);
            self.audience.tell(id, message, moment.now);
        }
        for call in calls {
            let Some(live) = self.calls.get(&call) else {
                continue;
            };
            let (level, ended) = (live.level, !live.goes_on());
            // Whoever listens to many is not told of calls that are over, nor of those of which
            // the log has still to be read.
            let is_to_be_read = self.is_put_off(&call) && level == Indications::default();
            if is_one_call || !(ended || is_to_be_read) {
                let message = self.snapshot(Some(&call), reach.person(), moment);
                self.audience.tell(id, message, moment.now);
                if let Some(listener) = self.audience.get_mut(id) {
                    listener.state(&call, level);
                }
            }
        }
        if let Some(listener) = self.audience.get_mut(id) {
            listener.allow_for_opening();
        }
    }

    /// Tells everybody what differs from what they were told last.
    pub fn state_levels(&mut self, moment: Moment) {
        self.moved.clear();
        let everybody = self.audience.everybody();
        self.look_again(everybody.into_iter().collect(), moment);
    }
}

fn goes_on(level: Indications) -> bool {
    let on = |state| matches!(state, IndicationState::On | IndicationState::Paused);
    on(level.recording.state) || on(level.transcription.state)
}
