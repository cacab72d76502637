//! The deliveries of the three senders.

use chrono::{DateTime, Utc};

use crate::call::call_ids::RecordingIds;
use crate::call::participants::SimulatedPerson;
use crate::call::script::{BodyFormat, DeliveryNumber, DeliveryTarget, SimulatedEvent};
use crate::formats::call_automation::CallAutomation;
use crate::formats::client_leg::ReportContent;
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
        let state = if level == Level::On {
            ProviderState::Active
        } else {
            ProviderState::Inactive
        };
        let phase = Some(self.phase);
        if capture_type == CaptureType::Transcription {
            return self.post_call_automation(at, phase, |call_automation, time, rng| {
                call_automation.transcription(state, time, rng)
            });
        }
        if state == ProviderState::Active {
            self.recording = Some((RecordingIds::random(&mut self.scheduler.rng), at));
        }
        let (recording, started) = self.recording.clone()?;
        let (kind, started) = (self.recording_kind, self.scheduler.time(started));
        self.post_call_automation(at, phase, |call_automation, time, rng| {
            call_automation.recording(&recording, kind, state, started, time, rng)
        })
    }

    /// Call Automation posts the participants that are present.
    pub(super) fn post_roster(&mut self, at: Millis, phase: Option<u32>) {
        // The sequence counts per leg, and has gaps.
        self.roster_sequence += self.scheduler.rng.between(1, 3);
        let sequence = self.roster_sequence;
        let joined = self.joins.iter().filter(|(_, is_present)| *is_present);
        let present: Vec<SimulatedPerson> = joined
            .map(|(join, _)| &join.person)
            .chain(&self.participants.others)
            .cloned()
            .collect();
        self.post_call_automation(at, phase, |call_automation, time, rng| {
            call_automation.participants(sequence, &present, time, rng)
        });
    }

    /// Every client that is present reports.
    pub(super) fn post_reports(
        &mut self,
        shown: &[CaptureType],
        leaving: bool,
        at: Millis,
    ) -> Vec<DeliveryNumber> {
        self.present_legs()
            .into_iter()
            .filter_map(|leg| self.post_report(leg, shown, leaving, at, self.phase))
            .collect()
    }

    /// The indices of the clients that are present.
    pub(super) fn present_legs(&self) -> Vec<usize> {
        let legs = self.legs.iter().enumerate();
        legs.filter(|(_, leg)| leg.is_present)
            .map(|(index, _)| index)
            .collect()
    }

    /// A client reports. Its app shows a notice of the captures in `shown`, unless it is faulty.
    pub(super) fn post_report(
        &mut self,
        leg: usize,
        shown: &[CaptureType],
        leaving: bool,
        at: Millis,
        phase: u32,
    ) -> Option<DeliveryNumber> {
        let inputs = self.inputs;
        let reports = |capture_type: &CaptureType| inputs.reporters(*capture_type).clients;
        let leg = self.legs.get_mut(leg)?;
        let shows =
            |capture_type: &CaptureType| leg.fault.is_none() || leg.showing.contains(capture_type);
        let content = ReportContent {
            levels: self
                .levels
                .iter()
                .filter(|(capture_type, _)| reports(capture_type))
                .map(|(capture_type, level)| (*capture_type, *level))
                .collect(),
            shown: shown
                .iter()
                .copied()
                .filter(|capture_type| reports(capture_type) && shows(capture_type))
                .collect(),
            leaving,
        };
        let event = leg.report(&self.participants.ids, &content, &mut self.scheduler.rng);
        let target = DeliveryTarget::Reports {
            raw_id: leg.raw_id.clone(),
        };
        let events = vec![event];
        let phase = Some(phase);
        Some(
            self.scheduler
                .schedule(target, BodyFormat::Report, events, at, phase),
        )
    }

    /// Event Grid posts one event, if it has events of the call.
    pub(super) fn post_event_grid(
        &mut self,
        at: Millis,
        phase: Option<u32>,
        event: impl FnOnce(&EventGrid<'c>, DateTime<Utc>, &mut SeededRng) -> SimulatedEvent,
    ) {
        if let Some(event_grid) = &self.event_grid {
            let time = self.scheduler.time(at);
            let event = event(event_grid, time, &mut self.scheduler.rng);
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
        event: impl FnOnce(&CallAutomation<'c>, DateTime<Utc>, &mut SeededRng) -> SimulatedEvent,
    ) -> Option<DeliveryNumber> {
        let call_automation = self.call_automation.as_ref()?;
        let time = self.scheduler.time(at);
        let rng = &mut self.scheduler.rng;
        let events = vec![event(call_automation, time, rng)];
        let format = call_automation.body_format(rng);
        let target = DeliveryTarget::CallAutomation;
        Some(self.scheduler.schedule(target, format, events, at, phase))
    }
}
