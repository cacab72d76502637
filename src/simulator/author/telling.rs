//! How the author lets each of the three tell: one delivery after the other.

use super::Author;
use crate::domain::fact::{CaptureType, Level, ProviderState};
use crate::domain::instant::Millis;
use crate::simulator::cast::{Person, RecordingIds};
use crate::simulator::client_leg::Word;
use crate::simulator::script::{DeliveryId, Door, SimulatedEvent, Wrap};

impl Author<'_> {
    /// Call Automation tells of a level, if it has a leg in the call.
    pub(super) fn provider_tells(
        &mut self,
        capture: CaptureType,
        level: Level,
        at: Millis,
    ) -> Option<DeliveryId> {
        let call_automation = self.call_automation.clone()?;
        let state = if level == Level::On {
            ProviderState::Active
        } else {
            ProviderState::Inactive
        };
        let told = match capture {
            CaptureType::Transcription => {
                call_automation.transcription(state, self.pen.time(at), &mut self.pen.chance)
            }
            CaptureType::Recording => {
                if state == ProviderState::Active {
                    self.recording = Some((RecordingIds::draw(&mut self.pen.chance), at));
                }
                let (recording, began) = self.recording.clone()?;
                call_automation.recording(
                    &recording,
                    self.recording_kind,
                    state,
                    self.pen.time(began),
                    self.pen.time(at),
                    &mut self.pen.chance,
                )
            }
        };
        Some(self.by_call_automation(vec![told], at, Some(self.act)))
    }

    /// Who is there, as the leg of Call Automation sees it.
    pub(super) fn roster(&mut self, at: Millis, act: Option<u32>) {
        let Some(call_automation) = self.call_automation.clone() else {
            return;
        };
        // It counts by leg, and has gaps.
        self.roster_sequence += self.pen.chance.between(1, 3);
        let there = self
            .joins
            .iter()
            .filter(|(_, is_there)| *is_there)
            .map(|(join, _)| &join.person);
        let present: Vec<&Person> = there.chain(&self.cast.others).collect();
        let roster = call_automation.participants(
            self.roster_sequence,
            &present,
            self.pen.time(at),
            &mut self.pen.chance,
        );
        self.by_call_automation(vec![roster], at, act);
    }

    /// Every client that is there reports.
    pub(super) fn all_report(
        &mut self,
        shown: &[CaptureType],
        leaving: bool,
        at: Millis,
    ) -> Vec<DeliveryId> {
        self.present()
            .into_iter()
            .filter_map(|leg| self.report(leg, shown, leaving, at, self.act))
            .collect()
    }

    /// The clients that are there.
    pub(super) fn present(&self) -> Vec<usize> {
        (0..self.legs.len())
            .filter(|leg| self.legs.get(*leg).is_some_and(|leg| leg.is_present))
            .collect()
    }

    /// A client reports. Of what was just captured its app shows a notice, unless it fails to.
    pub(super) fn report(
        &mut self,
        leg: usize,
        shown: &[CaptureType],
        leaving: bool,
        at: Millis,
        act: u32,
    ) -> Option<DeliveryId> {
        let tells = |capture: &CaptureType| self.premises.tellers(*capture).clients;
        let shows = |capture: &CaptureType| {
            let leg = self.legs.get(leg);
            leg.is_some_and(|leg| leg.lapse.is_none() || leg.showing.contains(capture))
        };
        let word = Word {
            levels: self
                .levels
                .iter()
                .filter(|(capture, _)| tells(capture))
                .map(|(capture, level)| (*capture, *level))
                .collect(),
            shown: shown
                .iter()
                .copied()
                .filter(|capture| tells(capture) && shows(capture))
                .collect(),
            leaving,
        };
        let leg = self.legs.get_mut(leg)?;
        let event = leg.report(&self.cast.ids, &word, &mut self.pen.chance);
        let door = Door::Reports {
            raw_id: leg.raw_id.clone(),
        };
        Some(
            self.pen
                .deliver(door, Wrap::Report, vec![event], at, Some(act)),
        )
    }

    pub(super) fn by_event_grid(
        &mut self,
        events: Vec<SimulatedEvent>,
        at: Millis,
        act: Option<u32>,
    ) -> DeliveryId {
        let wrap = self
            .event_grid
            .as_ref()
            .map_or(Wrap::EventGridSchema, |event_grid| {
                event_grid.wrap(events.len(), &mut self.pen.chance)
            });
        self.pen.deliver(Door::EventGrid, wrap, events, at, act)
    }

    pub(super) fn by_call_automation(
        &mut self,
        events: Vec<SimulatedEvent>,
        at: Millis,
        act: Option<u32>,
    ) -> DeliveryId {
        let wrap = self
            .call_automation
            .as_ref()
            .map_or(Wrap::Callbacks, |callbacks| {
                callbacks.wrap(events.len(), &mut self.pen.chance)
            });
        self.pen
            .deliver(Door::CallAutomation, wrap, events, at, act)
    }
}
