//! The deliveries of the three senders.

use crate::call::call_ids::RecordingIds;
use crate::call::script::{BodyFormat, DeliveryNumber, DeliveryTarget, SimulatedEvent};
use crate::formats::call_automation::CallAutomation;
use crate::formats::event_content::EventContent;
use crate::formats::event_grid::EventGrid;
use crate::rng::SeededRng;
use crate::scenario::scenario_builder::ScenarioBuilder;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::{CaptureType, Level, ProviderState};

impl<'c> ScenarioBuilder<'c> {
    /// Call Automation posts a level, if it has a leg in the call.
    pub(super) fn post_provider_level(
        &mut self,
        capture_type: CaptureType,
        level: Level,
        at: Millis,
    ) -> Option<DeliveryNumber> {
        let state =
            if level == Level::On { ProviderState::Active } else { ProviderState::Inactive };
        let phase = Some(self.phase);
        if capture_type == CaptureType::Transcription {
            return self
                .post_call_automation(at, phase, |callbacks, _| callbacks.transcription(state));
        }
        if state == ProviderState::Active {
            self.recording = Some((RecordingIds::random(&mut self.scheduler.rng), at));
        }
        let (recording, started) = self.recording.clone()?;
        let (kind, started) = (self.recording_kind, self.scheduler.time(started));
        self.post_call_automation(at, phase, |callbacks, rng| {
            callbacks.recording(&recording, kind, state, started, rng)
        })
    }

    /// Call Automation posts the participants that are present.
    pub(super) fn post_roster(&mut self, at: Millis, phase: Option<u32>) {
        // The sequence counts per leg, and has gaps.
        self.roster_sequence += self.scheduler.rng.between(1, 3);
        let sequence = self.roster_sequence;
        let joined = self.joins.iter().filter(|join| join.is_present).map(|join| &join.person);
        let present: Vec<_> = joined.chain(&self.participants.others).cloned().collect();
        self.post_call_automation(at, phase, |callbacks, _| {
            callbacks.participants(sequence, &present)
        });
    }

    /// Every client that is present reports.
    pub(super) fn post_reports(
        &mut self,
        shown: &[CaptureType],
        leaving: bool,
        at: Millis,
    ) -> Vec<DeliveryNumber> {
        let legs = self.present_legs().into_iter();
        legs.map(|leg| self.post_report(leg, shown, leaving, at, self.phase)).collect()
    }

    /// The indices of the clients that are present.
    pub(super) fn present_legs(&self) -> Vec<usize> {
        (0..self.legs.len()).filter(|leg| self.joins[*leg].is_present).collect()
    }

    /// A client reports. Its app shows a notice of the captures in `shown`, unless it is faulty.
    pub(super) fn post_report(
        &mut self,
        leg: usize,
        shown: &[CaptureType],
        leaving: bool,
        at: Millis,
        phase: u32,
    ) -> DeliveryNumber {
        let reports = |capture_type: &CaptureType| self.inputs.reporters(*capture_type).clients;
        let leg = &mut self.legs[leg];
        let mut levels = self.levels.clone();
        levels.retain(|capture_type, _| reports(capture_type));
        let mut shown = shown.to_vec();
        shown.retain(|capture_type| {
            reports(capture_type) && (leg.fault.is_none() || leg.showing.contains(capture_type))
        });
        let (ids, rng) = (&self.participants.ids, &mut self.scheduler.rng);
        let events = vec![leg.report(ids, &levels, &shown, leaving, rng)];
        let target = DeliveryTarget::Reports(leg.raw_id.clone());
        self.scheduler.schedule(target, BodyFormat::Report, events, at, Some(phase))
    }

    /// The intruder of the call, if it has one, reports and acknowledges.
    pub(super) fn intrude(&mut self, at: Millis) {
        let (Some(intruder), Some(claimed)) = (&mut self.intruder, self.joins.first()) else {
            return;
        };
        let report = intruder.report(claimed, &self.participants.ids);
        let acknowledgements = intruder.acknowledgements();
        let raw_id = intruder.raw_id().to_owned();
        let (phase, scheduler) = (Some(self.phase), &mut self.scheduler);
        let target = DeliveryTarget::Reports(raw_id.clone());
        scheduler.schedule(target, BodyFormat::Report, vec![report], at, phase);
        let target = DeliveryTarget::Acknowledgements(raw_id);
        scheduler.schedule(target, BodyFormat::Acknowledgements, acknowledgements, at, phase);
    }

    /// Event Grid posts one event, if it has events of the call.
    pub(super) fn post_event_grid(
        &mut self,
        at: Millis,
        phase: Option<u32>,
        content: impl FnOnce(&EventGrid<'c>, &mut SeededRng) -> EventContent,
    ) {
        if let Some(event_grid) = &self.event_grid {
            let (time, rng) = (self.scheduler.time(at), &mut self.scheduler.rng);
            let event = event_grid.event(content(event_grid, rng), time, rng);
            self.post_event_grid_batch(vec![event], at, phase);
        }
    }

    /// Event Grid posts several events in one delivery.
    pub(super) fn post_event_grid_batch(
        &mut self,
        events: Vec<SimulatedEvent>,
        at: Millis,
        phase: Option<u32>,
    ) {
        if let Some(event_grid) = &self.event_grid {
            let format = event_grid.body_format(events.len(), &mut self.scheduler.rng);
            let target = DeliveryTarget::EventGrid;
            self.scheduler.schedule(target, format, events, at, phase);
        }
    }

    /// Call Automation posts one callback, if it has a leg in the call.
    pub(super) fn post_call_automation(
        &mut self,
        at: Millis,
        phase: Option<u32>,
        content: impl FnOnce(&CallAutomation<'c>, &mut SeededRng) -> EventContent,
    ) -> Option<DeliveryNumber> {
        let call_automation = self.call_automation.as_ref()?;
        let (time, rng) = (self.scheduler.time(at), &mut self.scheduler.rng);
        let events = vec![call_automation.event(content(call_automation, rng), time, rng)];
        let format = call_automation.body_format(rng);
        let target = DeliveryTarget::CallAutomation;
        Some(self.scheduler.schedule(target, format, events, at, phase))
    }
}
