//! Writes the script of a call: lets Event Grid, Call Automation and the clients tell of its
//! course, each in its own dialect, late, out of order and twice.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::call_automation::{CallAutomation, RecordingKind};
use super::cast::{CallIds, Person, RecordingIds};
use super::chance::Chance;
use super::client_leg::{ClientLeg, Word};
use super::course::{Course, LATEST, Premises, Setting, Step, Turn};
use super::event_grid::{EventGrid, Join};
use super::production::Production;
use super::script::{Cause, Change, Delivery, DeliveryId, Door, Script, SimulatedEvent, Wrap};
use crate::domain::alias::Anchor;
use crate::domain::fact::{CaptureType, Level, ProviderState};
use crate::domain::indication::IndicationState;
use crate::domain::instant::Millis;

/// What decides no level may be so late, ms.
const LATEST_OF_ALL: Millis = 2_500;
/// A delivery is on its way so long at least and, if it is not late, at most, ms.
const ON_ITS_WAY: (Millis, Millis) = (5, 40);
/// A delivery that comes again does so within this time, ms.
const AGAIN_WITHIN: Millis = 1_500;

/// Who is in a call, and its ids.
#[derive(Clone, Debug)]
pub(super) struct Cast {
    pub setting: Setting,
    pub ids: CallIds,
    /// Of whom Event Grid tells.
    pub acs: Vec<Person>,
    /// Of whom it does not.
    pub others: Vec<Person>,
    pub caller: Person,
    /// Whether the clients of the ACS users report.
    pub clients_report: bool,
}

/// The act of the clients' first reports.
const FIRST_REPORTS: u32 = 0;

/// A script in the writing.
pub(super) struct Author<'c> {
    cast: &'c Cast,
    premises: Premises,
    event_grid: Option<EventGrid<'c>>,
    call_automation: Option<CallAutomation<'c>>,
    recording_kind: RecordingKind,
    /// With whether they are there.
    joins: Vec<(Join, bool)>,
    legs: Vec<ClientLeg>,
    levels: BTreeMap<CaptureType, Level>,
    /// The recording that the provider told of last, and when it began.
    recording: Option<(RecordingIds, Millis)>,
    /// The off of a client that will soon state on again.
    flap: Option<DeliveryId>,
    roster_sequence: i64,
    act: u32,
    deliveries: Vec<Delivery>,
    changes: Vec<Change>,
}

/// What an author writes with.
struct Pen<'p> {
    production: &'p Production,
    start: DateTime<Utc>,
    chance: Chance,
}

impl Pen<'_> {
    fn time(&self, offset: Millis) -> DateTime<Utc> {
        self.start + TimeDelta::milliseconds(offset)
    }

    /// When a delivery that tells of `happened` is posted, at most `latest` later.
    fn posted(&mut self, happened: Millis, latest: Millis) -> Millis {
        let (least, most) = ON_ITS_WAY;
        let usual = happened + self.chance.between(least, most);
        if self.chance.happens(self.production.disorder) {
            usual + self.chance.between(0, latest - most)
        } else {
            usual
        }
    }
}

impl<'c> Author<'c> {
    pub fn new(
        cast: &'c Cast,
        premises: Premises,
        event_grid: Option<EventGrid<'c>>,
        call_automation: Option<CallAutomation<'c>>,
        recording_kind: RecordingKind,
    ) -> Self {
        // Before anything is captured, a client that can tell says off.
        let told = CaptureType::ALL.into_iter().filter(|capture| premises.tellers(*capture).clients);
        Self {
            cast,
            premises,
            event_grid,
            call_automation,
            recording_kind,
            joins: Vec::new(),
            legs: Vec::new(),
            levels: told.map(|capture| (capture, Level::Off)).collect(),
            recording: None,
            flap: None,
            roster_sequence: 0,
            act: FIRST_REPORTS,
            deliveries: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Writes it all.
    pub fn write(mut self, production: &Production, number: u64, start: DateTime<Utc>, course: &Course, chance: Chance) -> Script {
        let mut pen = Pen { production, start, chance };
        self.opening(&mut pen);
        for step in &course.steps {
            self.act += 1;
            self.step(step, &mut pen);
        }
        self.act += 1;
        self.ending(course.end, &mut pen);
        let mut anchors: BTreeSet<Anchor> = self.cast.ids.anchors();
        anchors.extend(self.legs.iter().map(|leg| Anchor::attachment(&leg.attachment)));
        self.deliveries.sort_by_key(|delivery| (delivery.at, delivery.act));
        Script {
            number,
            title: match self.cast.setting {
                Setting::OneToOne => "1:1 call with a Teams user",
                Setting::GroupCall => "group call with a Teams user",
                Setting::ContactCentre => "contact centre call",
                Setting::Meeting => "Teams meeting",
            },
            correlation_id: self.cast.ids.correlation_id.clone(),
            anchors,
            deliveries: self.deliveries,
            changes: self.changes,
            length: course.end,
        }
    }

    /// Everybody comes. Nothing is captured yet, and all may arrive in any order.
    fn opening(&mut self, pen: &mut Pen<'_>) {
        let is_contact_centre = self.cast.setting == Setting::ContactCentre;
        if let Some(event_grid) = self.event_grid.clone() {
            if is_contact_centre && let Some(bot) = self.cast.acs.first() {
                let offered = event_grid.incoming_call(&self.cast.caller, bot, pen.time(0), &mut pen.chance);
                self.by_event_grid(vec![offered], 0, None, pen);
            }
            let started = event_grid.call_started(pen.time(100), &mut pen.chance);
            self.by_event_grid(vec![started], 100, None, pen);
        }
        for (person, came) in self.cast.acs.iter().zip([150, 270, 390]) {
            let join = Join::draw(person, &mut pen.chance);
            self.comes(join, came, None, pen);
        }
        let Some(call_automation) = self.call_automation.clone() else { return };
        let connected = call_automation.connected(pen.time(300), &mut pen.chance);
        self.by_call_automation(vec![connected], 300, None, pen);
        self.roster(320, None, pen);
        if is_contact_centre {
            let recognized = call_automation.tones_recognized(pen.time(500), &mut pen.chance);
            self.by_call_automation(vec![recognized], 500, None, pen);
            if let Some(agent) = self.cast.others.first() {
                let added = call_automation.participant_added(agent, pen.time(700), &mut pen.chance);
                self.by_call_automation(vec![added], 700, None, pen);
            }
        }
        self.roster(720, None, pen);
    }

    /// An ACS user comes, and its client reports for the first time a moment later.
    fn comes(&mut self, join: Join, came: Millis, act: Option<u32>, pen: &mut Pen<'_>) {
        if let Some(event_grid) = self.event_grid.clone() {
            let added = event_grid.participant_added(&join, pen.time(came), &mut pen.chance);
            self.by_event_grid(vec![added], came, act, pen);
        }
        let number = self.joins.len();
        let mut leg = ClientLeg::draw(&join, number, self.cast.setting == Setting::Meeting, &mut pen.chance);
        // Whoever comes back knows the call.
        leg.knows_call |= act.is_some();
        self.joins.push((join, true));
        if self.cast.clients_report {
            self.legs.push(leg);
            let last = self.legs.len() - 1;
            let seen = if act.is_some() { came } else { came + 250 };
            self.report(last, &[], false, seen, act.unwrap_or(FIRST_REPORTS), pen);
        }
    }

    fn step(&mut self, step: &Step, pen: &mut Pen<'_>) {
        match &step.turn {
            Turn::Levels(changed) => self.levels_change(changed, step.at, pen),
            Turn::FlapOff(capture) => {
                self.levels.insert(*capture, Level::Off);
                self.flap = self.all_report(&[], false, step.at, pen).pop();
            }
            Turn::FlapOn(capture) => {
                self.levels.insert(*capture, Level::On);
                let on = self.all_report(&[*capture], false, step.at, pen).pop();
                if let (Some(off), Some(on)) = (self.flap.take(), on) {
                    let cause = Cause::Flapped { off, on };
                    self.changes.push(Change { capture: *capture, state: IndicationState::Off, cause });
                }
            }
            Turn::Drops => self.drops(step.at, pen),
            Turn::Returns => {
                let gone = self.joins.iter().rfind(|(_, is_there)| !is_there).map(|(join, _)| join.person.clone());
                if let Some(person) = gone {
                    let join = Join::draw(&person, &mut pen.chance);
                    self.comes(join, step.at, Some(self.act), pen);
                    self.roster(step.at, Some(self.act), pen);
                }
            }
            Turn::Heartbeat => {
                self.all_report(&[], false, step.at, pen);
            }
        }
    }

    fn levels_change(&mut self, changed: &[(CaptureType, Level)], at: Millis, pen: &mut Pen<'_>) {
        let mut by_provider = BTreeMap::new();
        for (capture, level) in changed {
            self.levels.insert(*capture, *level);
            if self.premises.tellers(*capture).provider {
                by_provider.insert(*capture, self.provider_tells(*capture, *level, at, pen));
            }
        }
        let by_clients = if changed.iter().any(|(capture, _)| self.premises.tellers(*capture).clients) {
            let shown: Vec<CaptureType> = changed.iter().filter(|(_, level)| *level == Level::On).map(|(capture, _)| *capture).collect();
            self.all_report(&shown, false, at, pen)
        } else {
            Vec::new()
        };
        for (capture, level) in changed {
            let mut told: Vec<DeliveryId> = by_provider.get(capture).copied().flatten().into_iter().collect();
            let clients_tell = self.premises.tellers(*capture).clients;
            let (state, cause) = match level {
                Level::Off if clients_tell => (IndicationState::Off, Cause::Settled(by_clients.clone())),
                Level::Off => (IndicationState::Off, Cause::Last(told)),
                Level::On | Level::Paused => {
                    if clients_tell {
                        told.extend(&by_clients);
                    }
                    let state = if *level == Level::On { IndicationState::On } else { IndicationState::Paused };
                    (state, Cause::First(told))
                }
            };
            self.changes.push(Change { capture: *capture, state, cause });
        }
    }

    fn provider_tells(&mut self, capture: CaptureType, level: Level, at: Millis, pen: &mut Pen<'_>) -> Option<DeliveryId> {
        let call_automation = self.call_automation.clone()?;
        let state = if level == Level::On { ProviderState::Active } else { ProviderState::Inactive };
        let told = match capture {
            CaptureType::Transcription => call_automation.transcription(state, pen.time(at), &mut pen.chance),
            CaptureType::Recording => {
                if state == ProviderState::Active {
                    self.recording = Some((RecordingIds::draw(&mut pen.chance), at));
                }
                let (recording, began) = self.recording.clone()?;
                call_automation.recording(&recording, self.recording_kind, state, pen.time(began), pen.time(at), &mut pen.chance)
            }
        };
        Some(self.by_call_automation(vec![told], at, Some(self.act), pen))
    }

    /// The last client's connection breaks; its SDK still says goodbye.
    fn drops(&mut self, at: Millis, pen: &mut Pen<'_>) {
        let Some(last) = self.legs.iter().rposition(|leg| leg.is_present) else { return };
        self.report(last, &[], true, at, self.act, pen);
        let Some(leg) = self.legs.get_mut(last) else { return };
        leg.is_present = false;
        let Some((join, is_there)) = self.joins.get_mut(leg.join) else { return };
        *is_there = false;
        let join = join.clone();
        if let Some(event_grid) = self.event_grid.clone() {
            let removed = event_grid.participant_removed(&join, pen.time(at), &mut pen.chance);
            self.by_event_grid(vec![removed], at, Some(self.act), pen);
        }
        self.roster(at, Some(self.act), pen);
    }

    /// Everybody leaves, in any order; afterwards the file of the recording is ready.
    fn ending(&mut self, at: Millis, pen: &mut Pen<'_>) {
        let before = self.deliveries.len();
        self.all_report(&[], true, at, pen);
        let there: Vec<Join> = self.joins.iter().filter(|(_, is_there)| *is_there).map(|(join, _)| join.clone()).collect();
        if let Some(event_grid) = self.event_grid.clone() {
            let mut events: Vec<SimulatedEvent> =
                there.iter().map(|join| event_grid.participant_removed(join, pen.time(at), &mut pen.chance)).collect();
            // Milliseconds to seconds, with the noise of floating point that the service writes.
            let lasted = at as f64 / 1000.0 + 1e-15;
            events.push(event_grid.call_ended(&self.cast.caller, lasted, pen.time(at), &mut pen.chance));
            if pen.chance.happens(0.35) {
                self.by_event_grid(events, at, Some(self.act), pen);
            } else {
                for event in events {
                    self.by_event_grid(vec![event], at, Some(self.act), pen);
                }
            }
        }
        if let Some(call_automation) = self.call_automation.clone() {
            let disconnected = call_automation.disconnected(pen.time(at), &mut pen.chance);
            self.by_call_automation(vec![disconnected], at, Some(self.act), pen);
            for (_, is_there) in &mut self.joins {
                *is_there = false;
            }
            self.roster(at, Some(self.act), pen);
        }
        let last: Vec<DeliveryId> = (before..self.deliveries.len()).collect();
        for (capture, level) in self.levels.clone() {
            if level != Level::Off {
                self.changes.push(Change { capture, state: IndicationState::Off, cause: Cause::CallOver(last.clone()) });
            }
        }
        if let (Some(event_grid), Some((recording, began)), RecordingKind::AzureCommunicationServices) =
            (self.event_grid.clone(), self.recording.clone(), self.recording_kind)
        {
            let ready = at + 900;
            let file = event_grid.recording_file(&recording, pen.time(began), at - began, pen.time(ready), &mut pen.chance);
            self.by_event_grid(vec![file], ready, None, pen);
        }
    }

    /// Who is there, as the leg of Call Automation sees it.
    fn roster(&mut self, at: Millis, act: Option<u32>, pen: &mut Pen<'_>) {
        let Some(call_automation) = self.call_automation.clone() else { return };
        // It counts by leg, and has gaps.
        self.roster_sequence += pen.chance.between(1, 3);
        let there = self.joins.iter().filter(|(_, is_there)| *is_there).map(|(join, _)| &join.person);
        let present: Vec<&Person> = there.chain(&self.cast.others).collect();
        let roster = call_automation.participants(self.roster_sequence, &present, pen.time(at), &mut pen.chance);
        self.by_call_automation(vec![roster], at, act, pen);
    }

    /// Every client that is there reports.
    fn all_report(&mut self, shown: &[CaptureType], leaving: bool, at: Millis, pen: &mut Pen<'_>) -> Vec<DeliveryId> {
        let present: Vec<usize> = (0..self.legs.len()).filter(|leg| self.legs.get(*leg).is_some_and(|leg| leg.is_present)).collect();
        present.into_iter().filter_map(|leg| self.report(leg, shown, leaving, at, self.act, pen)).collect()
    }

    fn report(&mut self, leg: usize, shown: &[CaptureType], leaving: bool, at: Millis, act: u32, pen: &mut Pen<'_>) -> Option<DeliveryId> {
        let tells = |capture: &CaptureType| self.premises.tellers(*capture).clients;
        let word = Word {
            levels: self.levels.iter().filter(|(capture, _)| tells(capture)).map(|(capture, level)| (*capture, *level)).collect(),
            shown: shown.iter().copied().filter(tells).collect(),
            leaving,
        };
        let leg = self.legs.get_mut(leg)?;
        let event = leg.report(&self.cast.ids, &word, &mut pen.chance);
        let door = Door::Reports { raw_id: leg.raw_id.clone() };
        Some(self.deliver(door, Wrap::Report, vec![event], at, Some(act), pen))
    }

    fn by_event_grid(&mut self, events: Vec<SimulatedEvent>, at: Millis, act: Option<u32>, pen: &mut Pen<'_>) -> DeliveryId {
        let wrap = self.event_grid.as_ref().map_or(Wrap::EventGridSchema, |event_grid| event_grid.wrap(events.len(), &mut pen.chance));
        self.deliver(Door::EventGrid, wrap, events, at, act, pen)
    }

    fn by_call_automation(&mut self, events: Vec<SimulatedEvent>, at: Millis, act: Option<u32>, pen: &mut Pen<'_>) -> DeliveryId {
        let wrap = self.call_automation.as_ref().map_or(Wrap::Callbacks, |callbacks| callbacks.wrap(events.len(), &mut pen.chance));
        self.deliver(Door::CallAutomation, wrap, events, at, act, pen)
    }

    fn deliver(
        &mut self,
        door: Door,
        wrap: Wrap,
        mut events: Vec<SimulatedEvent>,
        happened: Millis,
        act: Option<u32>,
        pen: &mut Pen<'_>,
    ) -> DeliveryId {
        for event in &mut events {
            event.decides = act.is_some_and(|act| act > FIRST_REPORTS);
        }
        let latest = if act.is_some() { LATEST } else { LATEST_OF_ALL };
        let id = self.deliveries.len();
        let at = pen.posted(happened, latest);
        let again = pen.chance.happens(pen.production.duplicates).then(|| pen.chance.between(0, AGAIN_WITHIN));
        self.deliveries.push(Delivery { id, door, wrap, events, at, act, again });
        id
    }
}
