//! A call whose captures a user starts and stops: what Azure posts about it, and what the Calling SDK
//! of each participant states.
//!
//! # Why
//!
//! *The SDKs differ.* One states a capture at once, one after two seconds, one never, so that the
//! user sees what the notices of the service are for.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::call::call_ids::{RecordingIds, SimulatedCallIds};
use crate::call::participants::{PersonKind, SimulatedPerson, SimulatedResource};
use crate::call::script::{DeliveryTarget, SimulatedDelivery};
use crate::formats::call_automation::{CallAutomation, SimulatedRecordingKind};
use crate::formats::event_content::EventContent;
use crate::formats::event_grid::{DeliverySchema, EventGrid, EventGridGeneration, ParticipantJoin};
use crate::rng::SeededRng;
use onrecord_evidence::fact::kinds::{CaptureType, ProviderState};

/// The participants, and how many milliseconds the SDK of each takes to state a change; `None`: it
/// states none.
const PARTICIPANTS: [(&str, Option<u64>); 3] =
    [("Priya Nair", Some(0)), ("Tom Berger", Some(2000)), ("Amal Haddad", None)];
/// The API version of the callbacks.
const API_VERSION: &str = "2025-06-15";

/// What the Calling SDK of a participant states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SdkState {
    /// The call of the SDK is connected.
    pub connected: bool,
    pub recording: bool,
    pub transcription: bool,
}

/// A participant of an interactive call, as the participant's app knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InteractiveParticipant {
    pub raw_id: String,
    pub participant_id: String,
    pub name: &'static str,
    /// Milliseconds until the SDK states a change; `None`: it states none.
    pub sdk_delay_ms: Option<u64>,
}

/// The ids and the participants of an interactive call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InteractiveCallInfo {
    /// As the Calling SDK states it.
    pub server_call_id: String,
    pub correlation_id: String,
    pub participants: Vec<InteractiveParticipant>,
}

/// An interactive call. Each method that changes it returns what Azure posts then, in this order.
#[derive(Debug)]
pub struct InteractiveCall {
    resource: SimulatedResource,
    ids: SimulatedCallIds,
    joins: [ParticipantJoin; PARTICIPANTS.len()],
    sdks: [SdkState; PARTICIPANTS.len()],
    /// The captures in progress, and when each started.
    active: BTreeMap<CaptureType, DateTime<Utc>>,
    /// The recording in progress, or else the last one.
    recording: RecordingIds,
    roster_sequence: i64,
    started: DateTime<Utc>,
    rng: SeededRng,
}

impl InteractiveCall {
    /// The call of this number, which starts at `started`.
    #[must_use]
    pub fn new(
        resource: SimulatedResource,
        seed: u64,
        number: u64,
        started: DateTime<Utc>,
    ) -> Self {
        let mut rng = SeededRng::new(seed, "interactive call", number);
        let ids = SimulatedCallIds::random(true, started, &mut rng);
        let joins = PARTICIPANTS.map(|(name, _)| {
            let person = SimulatedPerson::random(PersonKind::AcsUser, &resource, &mut rng);
            ParticipantJoin::random(&SimulatedPerson { name: name.to_owned(), ..person }, &mut rng)
        });
        Self {
            resource,
            ids,
            joins,
            sdks: Default::default(),
            active: BTreeMap::new(),
            recording: RecordingIds::random(&mut rng),
            roster_sequence: 0,
            started,
            rng,
        }
    }

    /// What the apps of the participants know about the call.
    #[must_use]
    pub fn info(&self) -> InteractiveCallInfo {
        let participants = self.joins.iter().zip(PARTICIPANTS);
        let participants =
            participants.map(|(join, (name, sdk_delay_ms))| InteractiveParticipant {
                raw_id: join.person.raw_id.clone(),
                participant_id: join.participant_id.clone(),
                name,
                sdk_delay_ms,
            });
        InteractiveCallInfo {
            server_call_id: self.ids.server_call_id(),
            correlation_id: self.ids.correlation_id.clone(),
            participants: participants.collect(),
        }
    }

    /// What the SDKs state, in the order of the participants.
    #[must_use]
    pub fn sdks(&self) -> &[SdkState] {
        &self.sdks
    }

    /// The participants whose SDKs state changes, and how long after the change.
    pub(crate) fn sdk_delays() -> impl Iterator<Item = (usize, Duration)> {
        let delays = PARTICIPANTS.into_iter().enumerate();
        delays.filter_map(|(participant, (_, delay))| {
            Some((participant, Duration::from_millis(delay?)))
        })
    }

    /// The SDK of a participant states which captures are in progress now.
    pub(crate) fn update_sdk(&mut self, participant: usize) {
        let is_active = |capture_type| self.active.contains_key(&capture_type);
        if let Some(sdk) = self.sdks.get_mut(participant) {
            sdk.recording = is_active(CaptureType::Recording);
            sdk.transcription = is_active(CaptureType::Transcription);
        }
    }

    /// The call starts, and its participants join.
    pub(crate) fn start(&mut self) -> Vec<SimulatedDelivery> {
        let at = self.started;
        for sdk in &mut self.sdks {
            sdk.connected = true;
        }
        let mut deliveries = vec![self.event_grid(at, |event_grid, _| event_grid.call_started())];
        for join in self.joins.clone() {
            deliveries
                .push(self.event_grid(at, |event_grid, _| event_grid.participant_added(&join)));
        }
        deliveries.push(self.call_automation(at, |callbacks, _| callbacks.connected()));
        deliveries.push(self.roster(at));
        deliveries
    }

    /// A capture starts or stops; nothing happens if it has already.
    pub(crate) fn set_capture(
        &mut self,
        capture_type: CaptureType,
        state: ProviderState,
        at: DateTime<Utc>,
    ) -> Vec<SimulatedDelivery> {
        let since = self.active.get(&capture_type).copied();
        let started = match (state, since) {
            (ProviderState::Active, None) => {
                self.active.insert(capture_type, at);
                at
            }
            (ProviderState::Inactive, Some(started)) => {
                self.active.remove(&capture_type);
                started
            }
            _ => return Vec::new(),
        };
        if capture_type == CaptureType::Transcription {
            return vec![self.call_automation(at, |callbacks, _| callbacks.transcription(state))];
        }
        if state == ProviderState::Active {
            self.recording = RecordingIds::random(&mut self.rng);
        }
        // The app has started it, so it has a file in the end.
        let kind = SimulatedRecordingKind::AzureCommunicationServices;
        let recording = self.recording.clone();
        let mut deliveries = vec![self.call_automation(at, |callbacks, rng| {
            callbacks.recording(&recording, kind, state, started, rng)
        })];
        if state == ProviderState::Inactive {
            let duration = (at - started).num_milliseconds();
            deliveries.push(self.event_grid(at, |event_grid, rng| {
                event_grid.recording_file(&recording, started, duration, rng)
            }));
        }
        deliveries
    }

    /// The captures stop, all participants leave, and the call ends.
    pub(crate) fn end(&mut self, at: DateTime<Utc>) -> Vec<SimulatedDelivery> {
        let mut deliveries = Vec::new();
        for capture_type in CaptureType::ALL {
            deliveries.extend(self.set_capture(capture_type, ProviderState::Inactive, at));
        }
        self.sdks.fill(SdkState::default());
        for join in self.joins.clone() {
            deliveries
                .push(self.event_grid(at, |event_grid, _| event_grid.participant_removed(&join)));
        }
        for join in &mut self.joins {
            join.is_present = false;
        }
        deliveries.push(self.roster(at));
        let seconds = (at - self.started).as_seconds_f64();
        deliveries.push(self.event_grid(at, |event_grid, rng| {
            event_grid.call_ended(event_grid.started_by, seconds, rng)
        }));
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method itself is of one lifetime only"
        )]
        deliveries.push(self.call_automation(at, |callbacks, rng| callbacks.disconnected(rng)));
        deliveries
    }

    /// Call Automation posts the participants that are present.
    fn roster(&mut self, at: DateTime<Utc>) -> SimulatedDelivery {
        self.roster_sequence += 1;
        let sequence = self.roster_sequence;
        let present = self.joins.iter().filter(|join| join.is_present);
        let present: Vec<SimulatedPerson> = present.map(|join| join.person.clone()).collect();
        self.call_automation(at, |callbacks, _| callbacks.participants(sequence, &present))
    }

    /// Event Grid posts one event.
    fn event_grid(
        &mut self,
        at: DateTime<Utc>,
        content: impl FnOnce(&EventGrid<'_>, &mut SeededRng) -> EventContent,
    ) -> SimulatedDelivery {
        let [host, ..] = &self.joins;
        let event_grid = EventGrid {
            resource: &self.resource,
            ids: &self.ids,
            generation: EventGridGeneration::G2025,
            schema: DeliverySchema::EventGrid,
            started_by: &host.person,
            is_two_party: false,
            states_correlation: true,
        };
        let rng = &mut self.rng;
        let event = event_grid.event(content(&event_grid, rng), at, rng);
        let body_format = event_grid.body_format(1, rng);
        SimulatedDelivery::now(DeliveryTarget::EventGrid, body_format, event)
    }

    /// Call Automation posts one callback.
    fn call_automation(
        &mut self,
        at: DateTime<Utc>,
        content: impl FnOnce(&CallAutomation<'_>, &mut SeededRng) -> EventContent,
    ) -> SimulatedDelivery {
        let call_automation = CallAutomation { ids: &self.ids, api_version: API_VERSION };
        let rng = &mut self.rng;
        let event = call_automation.event(content(&call_automation, rng), at, rng);
        let body_format = call_automation.body_format(rng);
        SimulatedDelivery::now(DeliveryTarget::CallAutomation, body_format, event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CaptureType::{Recording, Transcription};
    use ProviderState::{Active, Inactive};

    fn time(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_000_000 + seconds, 0).unwrap()
    }

    fn call(number: u64) -> InteractiveCall {
        InteractiveCall::new(SimulatedResource::new(7, None), 7, number, time(0))
    }

    fn names(deliveries: &[SimulatedDelivery]) -> Vec<&str> {
        let events = deliveries.iter().flat_map(|delivery| &delivery.events);
        let names =
            events.map(|event| event.source_type.trim_start_matches("Microsoft.Communication."));
        names.collect()
    }

    #[test]
    fn each_step_is_posted_as_azure_posts_it() {
        let mut call = call(0);
        let added = ["CallParticipantAdded"; 3];
        let started = [&["CallStarted"][..], &added, &["CallConnected", "ParticipantsUpdated"]];
        assert_eq!(names(&call.start()), started.concat());
        let recording = call.set_capture(Recording, Active, time(1));
        assert_eq!(names(&recording), ["RecordingStateChanged"]);
        assert_eq!(recording[0].events[0].body["data"]["state"], "active");
        assert_eq!(call.set_capture(Recording, Active, time(2)), []);
        let transcription = call.set_capture(Transcription, Active, time(3));
        assert_eq!(names(&transcription), ["TranscriptionStarted"]);
        let stopped = call.set_capture(Recording, Inactive, time(4));
        assert_eq!(names(&stopped), ["RecordingStateChanged", "RecordingFileStatusUpdated"]);
        assert_eq!(stopped[0].events[0].body["data"]["state"], "inactive");
        let ids = |at: usize| &[&recording, &stopped][at][0].events[0].body["data"]["recordingId"];
        assert_eq!(ids(0), ids(1));
        assert_eq!(stopped[1].events[0].body["data"]["recordingDurationMs"], 3000);
        let removed = ["CallParticipantRemoved"; 3];
        let ended = [
            &["TranscriptionStopped"][..],
            &removed,
            &["ParticipantsUpdated", "CallEnded", "CallDisconnected"],
        ];
        assert_eq!(names(&call.end(time(5))), ended.concat());
    }

    #[test]
    fn one_sdk_states_a_capture_at_once_one_after_two_seconds_and_one_never() {
        let mut call = call(0);
        let delays = call.info().participants.into_iter().map(|each| each.sdk_delay_ms);
        assert_eq!(delays.collect::<Vec<_>>(), [Some(0), Some(2000), None]);
        let all: Vec<usize> = InteractiveCall::sdk_delays().map(|(who, _)| who).collect();
        assert_eq!(all, [0, 1]);
        call.start();
        call.set_capture(Recording, Active, time(1));
        assert!(call.sdks().iter().all(|sdk| sdk.connected && !sdk.recording));
        call.update_sdk(0);
        let recording = |call: &InteractiveCall| call.sdks.map(|sdk| sdk.recording);
        assert_eq!(recording(&call), [true, false, false]);
        // A recording that is over by then is not stated.
        call.set_capture(Recording, Inactive, time(2));
        call.update_sdk(1);
        assert_eq!(recording(&call), [true, false, false]);
        call.end(time(3));
        assert_eq!(call.sdks, [SdkState::default(); 3]);
    }

    #[test]
    fn two_calls_have_no_id_in_common() {
        let (one, other) = (call(0).info(), call(1).info());
        assert_ne!(one.correlation_id, other.correlation_id);
        assert_ne!(one.server_call_id, other.server_call_id);
        for (one, other) in one.participants.iter().zip(&other.participants) {
            assert_ne!(one.raw_id, other.raw_id);
            assert_ne!(one.participant_id, other.participant_id);
        }
    }
}
