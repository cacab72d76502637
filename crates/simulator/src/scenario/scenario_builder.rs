//! Builds the script of a call from its timeline: the events of Event Grid, Call Automation and the
//! clients, each in its own format, late, out of order and repeated.

pub(crate) mod deliveries;
pub(crate) mod notices;

use std::collections::{BTreeMap, BTreeSet};

use crate::call::call_ids::RecordingIds;
use crate::call::intruder::Intruder;
use crate::call::participants::{CallType, Participants};
use crate::call::script::{CallScript, ChangeTrigger, DeliveryNumber, ExpectedChange};
use crate::formats::call_automation::{CallAutomation, SimulatedRecordingKind};
use crate::formats::client_leg::{ClientLeg, NoticeAction};
use crate::formats::event_grid::{EventGrid, ParticipantJoin};
use crate::scenario::call_timeline::{CallTimeline, TimelineAction, TimelineInputs, TimelineStep};
use crate::scenario::delivery_scheduler::{DeliveryScheduler, FIRST_REPORTS_PHASE};
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::{CaptureType, Level};
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::indication::IndicationState;

/// A script while it is built.
pub(crate) struct ScenarioBuilder<'c> {
    participants: &'c Participants,
    inputs: TimelineInputs,
    event_grid: Option<EventGrid<'c>>,
    call_automation: Option<CallAutomation<'c>>,
    recording_kind: SimulatedRecordingKind,
    /// The joins of the ACS users.
    joins: Vec<ParticipantJoin>,
    /// The leg of each join, if clients report.
    legs: Vec<ClientLeg>,
    intruder: Option<Intruder>,
    levels: BTreeMap<CaptureType, Level>,
    /// The last recording of the provider, and when it started.
    recording: Option<(RecordingIds, Millis)>,
    /// The off of a client that soon states on again.
    flap: Option<DeliveryNumber>,
    /// Whether a participant joins twice. Then only ids tell which of the two sessions a client
    /// belongs to.
    has_rejoin: bool,
    roster_sequence: i64,
    phase: u32,
    scheduler: DeliveryScheduler,
    changes: Vec<ExpectedChange>,
}

impl<'c> ScenarioBuilder<'c> {
    pub(crate) fn new(
        participants: &'c Participants,
        inputs: TimelineInputs,
        event_grid: Option<EventGrid<'c>>,
        call_automation: Option<CallAutomation<'c>>,
        recording_kind: SimulatedRecordingKind,
        intruder: Option<Intruder>,
        scheduler: DeliveryScheduler,
    ) -> Self {
        // Before the first capture, a client states off for each type that it can report.
        let reported = CaptureType::ALL
            .into_iter()
            .filter(|capture_type| inputs.reporters(*capture_type).clients);
        Self {
            participants,
            inputs,
            event_grid,
            call_automation,
            recording_kind,
            joins: Vec::new(),
            legs: Vec::new(),
            intruder,
            levels: reported.map(|capture_type| (capture_type, Level::Off)).collect(),
            recording: None,
            flap: None,
            has_rejoin: false,
            roster_sequence: 0,
            phase: FIRST_REPORTS_PHASE,
            scheduler,
            changes: Vec::new(),
        }
    }

    /// Builds the script.
    pub(crate) fn build(mut self, number: u64, timeline: &CallTimeline) -> CallScript {
        let is_rejoin = |step: &TimelineStep| step.action == TimelineAction::Rejoin;
        self.has_rejoin = timeline.steps.iter().any(is_rejoin);
        self.add_start();
        for step in &timeline.steps {
            self.phase += 1;
            self.add_step(step);
            self.intrude(step.at);
        }
        self.phase += 1;
        self.add_end(timeline.end);
        let mut anchors: BTreeSet<Anchor> = self.participants.ids.anchors();
        anchors.extend(self.legs.iter().map(|leg| Anchor::attachment(&leg.attachment)));
        anchors.extend(self.intruder.iter().map(|it| Anchor::attachment(it.attachment())));
        CallScript {
            number,
            title: match self.participants.call_type {
                CallType::OneToOne => "1:1 call with a Teams user",
                CallType::GroupCall => "group call with a Teams user",
                CallType::ContactCentre => "contact centre call",
                CallType::Meeting => "Teams meeting",
            },
            public_id: self.public_id(),
            anchors,
            deliveries: self.scheduler.into_deliveries(),
            changes: self.changes,
            length: timeline.end,
        }
    }

    /// The public id that the call has in the end. The clients of a call do not know its
    /// correlationId.
    fn public_id(&self) -> String {
        let event_grid = self.event_grid.as_ref();
        let is_stated = self.call_automation.is_some()
            || event_grid.is_some_and(|event_grid| event_grid.states_correlation);
        let ids = &self.participants.ids;
        let server = ids.server_anchor().filter(|_| !is_stated);
        server.unwrap_or_else(|| Anchor::correlation(&ids.correlation_id)).to_string()
    }

    /// All participants join. Nothing is captured yet, so the deliveries may arrive in any order.
    fn add_start(&mut self) {
        let participants = self.participants;
        let is_contact_centre = participants.call_type == CallType::ContactCentre;
        if is_contact_centre && let Some(bot) = participants.acs.first() {
            self.post_event_grid(0, None, |event_grid, rng| {
                event_grid.incoming_call(&participants.caller, bot, rng)
            });
        }
        self.post_event_grid(100, None, |event_grid, _| event_grid.call_started());
        for (person, joined) in participants.acs.iter().zip([150, 270, 390]) {
            let join = ParticipantJoin::random(person, &mut self.scheduler.rng);
            self.add_join(join, joined, None);
        }
        self.post_call_automation(300, None, |callbacks, _| callbacks.connected());
        self.post_roster(320, None);
        if is_contact_centre {
            self.post_call_automation(500, None, |callbacks, _| callbacks.tones_recognized());
            if let Some(agent) = participants.others.first() {
                self.post_call_automation(700, None, |callbacks, _| {
                    callbacks.participant_added(agent)
                });
            }
        }
        self.post_roster(720, None);
    }

    /// An ACS user joins, and its client reports for the first time a moment later.
    fn add_join(&mut self, join: ParticipantJoin, joined: Millis, phase: Option<u32>) {
        // An intruder counts for nothing once the platform has named a participant, so that comes
        // before it.
        let has_intruder = self.intruder.is_some();
        let first_phase = has_intruder.then_some(FIRST_REPORTS_PHASE);
        self.post_event_grid(joined, phase.or(first_phase), |event_grid, _| {
            event_grid.participant_added(&join)
        });
        if has_intruder {
            self.scheduler.keep_last();
        }
        let is_meeting = self.participants.call_type == CallType::Meeting;
        let mut leg = ClientLeg::random(&join, is_meeting, &mut self.scheduler.rng);
        // A client that joins again knows the call.
        leg.knows_call |= phase.is_some();
        if self.has_rejoin {
            leg.participant_id = Some(join.participant_id.clone());
        }
        if self.legs.is_empty() {
            leg.fault = self.inputs.fault;
        }
        self.joins.push(join);
        if self.inputs.clients > 0 {
            self.legs.push(leg);
            let last = self.legs.len() - 1;
            let reported = if phase.is_some() { joined } else { joined + 250 };
            let on = self.types_on();
            self.post_report(last, &on, false, reported, phase.unwrap_or(FIRST_REPORTS_PHASE));
            self.show_notices(last, &on, joined);
        }
    }

    /// The types that are captured now.
    fn types_on(&self) -> Vec<CaptureType> {
        let on = self.levels.iter().filter(|(_, level)| **level == Level::On);
        on.map(|(capture_type, _)| *capture_type).collect()
    }

    fn add_step(&mut self, step: &TimelineStep) {
        match &step.action {
            TimelineAction::Levels(changed) => self.change_levels(changed, step.at),
            &TimelineAction::FlapOff(capture_type) => {
                self.levels.insert(capture_type, Level::Off);
                self.flap = self.post_reports(&[], false, step.at).pop();
            }
            &TimelineAction::FlapOn(capture_type) => {
                self.levels.insert(capture_type, Level::On);
                let on = self.post_reports(&[capture_type], false, step.at).pop();
                if let (Some(off), Some(on)) = (self.flap.take(), on) {
                    let state = IndicationState::Off;
                    let trigger = ChangeTrigger::Flapped { off, on };
                    self.changes.push(ExpectedChange { capture_type, state, trigger });
                }
            }
            TimelineAction::Disconnect => self.disconnect(step.at),
            TimelineAction::Rejoin => {
                if let Some(left) = self.joins.iter().rfind(|join| !join.is_present) {
                    let join = ParticipantJoin::random(&left.person, &mut self.scheduler.rng);
                    self.add_join(join, step.at, Some(self.phase));
                    self.post_roster(step.at, Some(self.phase));
                }
            }
            TimelineAction::AnswerNotices => self.answer_notices(step.at),
            TimelineAction::ShowLateNotice => self.show_late_notices(step.at),
            TimelineAction::Heartbeat => {
                self.post_reports(&[], false, step.at);
            }
        }
    }

    fn change_levels(&mut self, changed: &[(CaptureType, Level)], at: Millis) {
        let mut by_provider = Vec::new();
        for &(capture_type, level) in changed {
            self.levels.insert(capture_type, level);
            let is_reported = self.inputs.reporters(capture_type).provider;
            let post = || self.post_provider_level(capture_type, level, at);
            by_provider.push(is_reported.then(post).flatten());
        }
        let of_level = |wanted: Level| -> Vec<CaptureType> {
            let changed = changed.iter().filter(|(_, level)| *level == wanted);
            changed.map(|(capture_type, _)| *capture_type).collect()
        };
        let on = of_level(Level::On);
        let clients_report = |(capture_type, _)| self.inputs.reporters(capture_type).clients;
        let by_clients = if changed.iter().copied().any(clients_report) {
            self.post_reports(&on, false, at)
        } else {
            Vec::new()
        };
        for leg in self.present_legs() {
            self.show_notices(leg, &on, at);
            let paused = NoticeAction::Displayed(Level::Paused);
            self.withdraw_notices(leg, &of_level(Level::Paused), paused, at);
            self.withdraw_notices(leg, &of_level(Level::Off), NoticeAction::Hidden, at);
        }
        for (&(capture_type, level), delivery) in changed.iter().zip(by_provider) {
            let mut deliveries = Vec::from_iter(delivery);
            let clients_report = self.inputs.reporters(capture_type).clients;
            let trigger = match level {
                Level::Off if clients_report => ChangeTrigger::SettledOff(by_clients.clone()),
                Level::Off => ChangeTrigger::LastOf(deliveries),
                Level::On | Level::Paused => {
                    if clients_report {
                        deliveries.extend(&by_clients);
                    }
                    ChangeTrigger::FirstOf(deliveries)
                }
            };
            let state = match level {
                Level::On => IndicationState::On,
                Level::Paused => IndicationState::Paused,
                Level::Off => IndicationState::Off,
            };
            self.changes.push(ExpectedChange { capture_type, state, trigger });
        }
    }

    /// The connection of the last client breaks; its SDK still reports that it leaves.
    fn disconnect(&mut self, at: Millis) {
        let Some(last) = self.present_legs().pop() else {
            return;
        };
        let phase = Some(self.phase);
        self.post_report(last, &[], true, at, self.phase);
        self.joins[last].is_present = false;
        let join = self.joins[last].clone();
        self.post_event_grid(at, phase, |event_grid, _| event_grid.participant_removed(&join));
        self.post_roster(at, phase);
    }

    /// All participants leave, in any order; afterwards the file of the recording is ready.
    fn add_end(&mut self, at: Millis) {
        let phase = Some(self.phase);
        let first = self.scheduler.deliveries.len();
        self.post_reports(&[], true, at);
        if let Some(event_grid) = self.event_grid.clone() {
            let (time, rng) = (self.scheduler.time(at), &mut self.scheduler.rng);
            let mut events = Vec::new();
            for join in self.joins.iter().filter(|join| join.is_present) {
                events.push(event_grid.event(event_grid.participant_removed(join), time, rng));
            }
            // The service writes a floating-point number of seconds with such an error.
            let seconds = at as f64 / 1000.0 + 1e-15;
            let ended = event_grid.call_ended(&self.participants.caller, seconds, rng);
            events.push(event_grid.event(ended, time, rng));
            if rng.random_bool(0.35) {
                self.post_event_grid_batch(events, at, phase);
            } else {
                for event in events {
                    self.post_event_grid_batch(vec![event], at, phase);
                }
            }
        }
        self.post_call_automation(at, phase, CallAutomation::disconnected);
        for join in &mut self.joins {
            join.is_present = false;
        }
        self.post_roster(at, phase);
        let deliveries: Vec<DeliveryNumber> = (first..self.scheduler.deliveries.len()).collect();
        for (capture_type, level) in self.levels.clone() {
            if level != Level::Off {
                let trigger = ChangeTrigger::CallEnded(deliveries.clone());
                let state = IndicationState::Off;
                self.changes.push(ExpectedChange { capture_type, state, trigger });
            }
        }
        if self.recording_kind == SimulatedRecordingKind::AzureCommunicationServices
            && let Some((recording, started)) = self.recording.clone()
        {
            let started_at = self.scheduler.time(started);
            self.post_event_grid(at + 900, None, |event_grid, rng| {
                event_grid.recording_file(&recording, started_at, at - started, rng)
            });
        }
    }
}
