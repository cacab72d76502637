//! Writes the script of a call: lets Event Grid, Call Automation and the clients tell of its
//! course, each in its own dialect, late, out of order and twice.

mod notices;
mod telling;

use std::collections::{BTreeMap, BTreeSet};

use super::call_automation::{CallAutomation, RecordingKind};
use super::cast::{CallIds, Person, RecordingIds};
use super::client_leg::{Became, ClientLeg};
use super::course::{Course, Premises, Setting, Step, Turn};
use super::event_grid::{EventGrid, Join};
use super::pen::{FIRST_REPORTS, Pen};
use super::script::{Cause, Change, DeliveryId, Script, SimulatedEvent};
use crate::domain::alias::Anchor;
use crate::domain::fact::{CaptureType, Level};
use crate::domain::indication::IndicationState;
use crate::domain::instant::Millis;

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
    /// Somebody will be there twice, and only ids tell which of the two a client is.
    somebody_returns: bool,
    roster_sequence: i64,
    act: u32,
    pen: Pen,
    changes: Vec<Change>,
}

impl<'c> Author<'c> {
    pub fn new(
        cast: &'c Cast,
        premises: Premises,
        event_grid: Option<EventGrid<'c>>,
        call_automation: Option<CallAutomation<'c>>,
        recording_kind: RecordingKind,
        pen: Pen,
    ) -> Self {
        // Before anything is captured, a client that can tell says off.
        let told = CaptureType::ALL
            .into_iter()
            .filter(|capture| premises.tellers(*capture).clients);
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
            somebody_returns: false,
            roster_sequence: 0,
            act: FIRST_REPORTS,
            pen,
            changes: Vec::new(),
        }
    }

    /// Writes it all.
    pub fn write(mut self, number: u64, course: &Course) -> Script {
        let returns = |step: &Step| step.turn == Turn::Returns;
        self.somebody_returns = course.steps.iter().any(returns);
        self.opening();
        for step in &course.steps {
            self.act += 1;
            self.step(step);
        }
        self.act += 1;
        self.ending(course.end);
        let mut anchors: BTreeSet<Anchor> = self.cast.ids.anchors();
        anchors.extend(
            self.legs
                .iter()
                .map(|leg| Anchor::attachment(&leg.attachment)),
        );
        Script {
            number,
            title: match self.cast.setting {
                Setting::OneToOne => "1:1 call with a Teams user",
                Setting::GroupCall => "group call with a Teams user",
                Setting::ContactCentre => "contact centre call",
                Setting::Meeting => "Teams meeting",
            },
            public_id: self.public_id(),
            anchors,
            deliveries: self.pen.deliveries(),
            changes: self.changes,
            length: course.end,
        }
    }

    /// Under which the call is known in the end: its clients know no correlationId.
    fn public_id(&self) -> String {
        let states = |event_grid: &EventGrid<'_>| event_grid.states_correlation;
        let is_stated =
            self.call_automation.is_some() || self.event_grid.as_ref().is_some_and(states);
        let ids = &self.cast.ids;
        let anchor = if is_stated {
            Some(Anchor::correlation(&ids.correlation_id))
        } else {
            ids.server_anchor()
        };
        anchor.map_or_else(|| ids.correlation_id.clone(), |anchor| anchor.to_string())
    }

    /// Everybody comes. Nothing is captured yet, and all may arrive in any order.
    fn opening(&mut self) {
        let is_contact_centre = self.cast.setting == Setting::ContactCentre;
        if let Some(event_grid) = self.event_grid.clone() {
            if is_contact_centre && let Some(bot) = self.cast.acs.first() {
                let offered = event_grid.incoming_call(
                    &self.cast.caller,
                    bot,
                    self.pen.time(0),
                    &mut self.pen.chance,
                );
                self.by_event_grid(vec![offered], 0, None);
            }
            let started = event_grid.call_started(self.pen.time(100), &mut self.pen.chance);
            self.by_event_grid(vec![started], 100, None);
        }
        for (person, came) in self.cast.acs.iter().zip([150, 270, 390]) {
            let join = Join::draw(person, &mut self.pen.chance);
            self.comes(join, came, None);
        }
        let Some(call_automation) = self.call_automation.clone() else {
            return;
        };
        let connected = call_automation.connected(self.pen.time(300), &mut self.pen.chance);
        self.by_call_automation(vec![connected], 300, None);
        self.roster(320, None);
        if is_contact_centre {
            let recognized =
                call_automation.tones_recognized(self.pen.time(500), &mut self.pen.chance);
            self.by_call_automation(vec![recognized], 500, None);
            if let Some(agent) = self.cast.others.first() {
                let added = call_automation.participant_added(
                    agent,
                    self.pen.time(700),
                    &mut self.pen.chance,
                );
                self.by_call_automation(vec![added], 700, None);
            }
        }
        self.roster(720, None);
    }

    /// An ACS user comes, and its client reports for the first time a moment later.
    fn comes(&mut self, join: Join, came: Millis, act: Option<u32>) {
        if let Some(event_grid) = self.event_grid.clone() {
            let added =
                event_grid.participant_added(&join, self.pen.time(came), &mut self.pen.chance);
            self.by_event_grid(vec![added], came, act);
        }
        let number = self.joins.len();
        let mut leg = ClientLeg::draw(
            &join,
            number,
            self.cast.setting == Setting::Meeting,
            &mut self.pen.chance,
        );
        // Whoever comes back knows the call.
        leg.knows_call |= act.is_some();
        if self.somebody_returns {
            leg.participant_id = Some(join.participant_id.clone());
        }
        if self.legs.is_empty() {
            leg.lapse = self.premises.lapse;
        }
        self.joins.push((join, true));
        if self.cast.clients_report {
            self.legs.push(leg);
            let last = self.legs.len() - 1;
            let seen = if act.is_some() { came } else { came + 250 };
            let on = self.types_on();
            self.report(last, &on, false, seen, act.unwrap_or(FIRST_REPORTS));
            self.tells(last, &on, came);
        }
    }

    /// What is captured now.
    fn types_on(&self) -> Vec<CaptureType> {
        let levels = self.levels.iter();
        levels
            .filter(|(_, level)| **level == Level::On)
            .map(|(capture, _)| *capture)
            .collect()
    }

    fn step(&mut self, step: &Step) {
        match &step.turn {
            Turn::Levels(changed) => self.levels_change(changed, step.at),
            Turn::FlapOff(capture) => {
                self.levels.insert(*capture, Level::Off);
                self.flap = self.all_report(&[], false, step.at).pop();
            }
            Turn::FlapOn(capture) => {
                self.levels.insert(*capture, Level::On);
                let on = self.all_report(&[*capture], false, step.at).pop();
                if let (Some(off), Some(on)) = (self.flap.take(), on) {
                    let cause = Cause::Flapped { off, on };
                    self.changes.push(Change {
                        capture: *capture,
                        state: IndicationState::Off,
                        cause,
                    });
                }
            }
            Turn::Drops => self.drops(step.at),
            Turn::Returns => {
                let gone = self
                    .joins
                    .iter()
                    .rfind(|(_, is_there)| !is_there)
                    .map(|(join, _)| join.person.clone());
                if let Some(person) = gone {
                    let join = Join::draw(&person, &mut self.pen.chance);
                    self.comes(join, step.at, Some(self.act));
                    self.roster(step.at, Some(self.act));
                }
            }
            Turn::Answers => self.all_answer(step.at),
            Turn::LateShowing => self.late_show(step.at),
            Turn::Heartbeat => {
                self.all_report(&[], false, step.at);
            }
        }
    }

    fn levels_change(&mut self, changed: &[(CaptureType, Level)], at: Millis) {
        let mut by_provider = BTreeMap::new();
        for (capture, level) in changed {
            self.levels.insert(*capture, *level);
            if self.premises.tellers(*capture).provider {
                by_provider.insert(*capture, self.provider_tells(*capture, *level, at));
            }
        }
        let of_level = |wanted: Level| -> Vec<CaptureType> {
            let changed = changed.iter().filter(|(_, level)| *level == wanted);
            changed.map(|(capture, _)| *capture).collect()
        };
        let on = of_level(Level::On);
        let by_clients = if changed
            .iter()
            .any(|(capture, _)| self.premises.tellers(*capture).clients)
        {
            self.all_report(&on, false, at)
        } else {
            Vec::new()
        };
        for leg in self.present() {
            self.tells(leg, &on, at);
            self.takes_back(
                leg,
                &of_level(Level::Paused),
                Became::Displayed(Level::Paused),
                at,
            );
            self.takes_back(leg, &of_level(Level::Off), Became::Hidden, at);
        }
        for (capture, level) in changed {
            let mut told: Vec<DeliveryId> = by_provider
                .get(capture)
                .copied()
                .flatten()
                .into_iter()
                .collect();
            let clients_tell = self.premises.tellers(*capture).clients;
            let (state, cause) = match level {
                Level::Off if clients_tell => {
                    (IndicationState::Off, Cause::Settled(by_clients.clone()))
                }
                Level::Off => (IndicationState::Off, Cause::Last(told)),
                Level::On | Level::Paused => {
                    if clients_tell {
                        told.extend(&by_clients);
                    }
                    let state = if *level == Level::On {
                        IndicationState::On
                    } else {
                        IndicationState::Paused
                    };
                    (state, Cause::First(told))
                }
            };
            self.changes.push(Change {
                capture: *capture,
                state,
                cause,
            });
        }
    }

    /// The last client's connection breaks; its SDK still says goodbye.
    fn drops(&mut self, at: Millis) {
        let Some(last) = self.legs.iter().rposition(|leg| leg.is_present) else {
            return;
        };
        self.report(last, &[], true, at, self.act);
        let Some(leg) = self.legs.get_mut(last) else {
            return;
        };
        leg.is_present = false;
        let Some((join, is_there)) = self.joins.get_mut(leg.join) else {
            return;
        };
        *is_there = false;
        let join = join.clone();
        if let Some(event_grid) = self.event_grid.clone() {
            let removed =
                event_grid.participant_removed(&join, self.pen.time(at), &mut self.pen.chance);
            self.by_event_grid(vec![removed], at, Some(self.act));
        }
        self.roster(at, Some(self.act));
    }

    /// Everybody leaves, in any order; afterwards the file of the recording is ready.
    fn ending(&mut self, at: Millis) {
        let before = self.pen.next();
        self.all_report(&[], true, at);
        let there: Vec<Join> = self
            .joins
            .iter()
            .filter(|(_, is_there)| *is_there)
            .map(|(join, _)| join.clone())
            .collect();
        if let Some(event_grid) = self.event_grid.clone() {
            let mut events: Vec<SimulatedEvent> = there
                .iter()
                .map(|join| {
                    event_grid.participant_removed(join, self.pen.time(at), &mut self.pen.chance)
                })
                .collect();
            // Milliseconds to seconds, with the noise of floating point that the service writes.
            let lasted = at as f64 / 1000.0 + 1e-15;
            events.push(event_grid.call_ended(
                &self.cast.caller,
                lasted,
                self.pen.time(at),
                &mut self.pen.chance,
            ));
            if self.pen.chance.happens(0.35) {
                self.by_event_grid(events, at, Some(self.act));
            } else {
                for event in events {
                    self.by_event_grid(vec![event], at, Some(self.act));
                }
            }
        }
        if let Some(call_automation) = self.call_automation.clone() {
            let disconnected =
                call_automation.disconnected(self.pen.time(at), &mut self.pen.chance);
            self.by_call_automation(vec![disconnected], at, Some(self.act));
            for (_, is_there) in &mut self.joins {
                *is_there = false;
            }
            self.roster(at, Some(self.act));
        }
        let last: Vec<DeliveryId> = (before..self.pen.next()).collect();
        for (capture, level) in self.levels.clone() {
            if level != Level::Off {
                self.changes.push(Change {
                    capture,
                    state: IndicationState::Off,
                    cause: Cause::CallOver(last.clone()),
                });
            }
        }
        if let (
            Some(event_grid),
            Some((recording, began)),
            RecordingKind::AzureCommunicationServices,
        ) = (
            self.event_grid.clone(),
            self.recording.clone(),
            self.recording_kind,
        ) {
            let ready = at + 900;
            let file = event_grid.recording_file(
                &recording,
                self.pen.time(began),
                at - began,
                self.pen.time(ready),
                &mut self.pen.chance,
            );
            self.by_event_grid(vec![file], ready, None);
        }
    }
}
