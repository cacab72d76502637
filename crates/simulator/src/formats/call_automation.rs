//! Call Automation's format: the callbacks of one leg, and of a recorder.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::call::call_ids::{RecordingIds, SimulatedCallIds};
use crate::call::participants::SimulatedPerson;
use crate::call::script::{BodyFormat, SimulatedEvent};
use crate::formats::timestamps::callback_timestamp;
use crate::rng::SeededRng;
use onrecord_evidence::fact::kinds::ProviderState;

/// The origin of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "camelCase")]
pub(crate) enum SimulatedRecordingKind {
    /// A Teams user started it.
    Teams,
    /// A compliance policy started it.
    TeamsCompliance,
    /// The app started it.
    AzureCommunicationServices,
}

impl SimulatedRecordingKind {
    fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The callbacks of a call.
#[derive(Clone, Debug)]
pub(crate) struct CallAutomation<'c> {
    pub ids: &'c SimulatedCallIds,
    /// The API version of the client that made the leg; several versions are in use.
    pub api_version: &'static str,
}

impl CallAutomation<'_> {
    pub(crate) fn connected(&self, at: DateTime<Utc>, rng: &mut SeededRng) -> SimulatedEvent {
        self.leg_event("CallConnected", ok(), json!({}), at, rng)
    }

    pub(crate) fn disconnected(&self, at: DateTime<Utc>, rng: &mut SeededRng) -> SimulatedEvent {
        let (sub_code, message) = rng.one_of([
            (7000, "The conversation has ended. DiagCode: 0#7000.@"),
            (5001, "This conversation has ended.. DiagCode: 0#5001.@"),
        ]);
        let result = json!({ "code": 200, "subCode": sub_code, "message": message });
        self.leg_event("CallDisconnected", result, json!({}), at, rng)
    }

    /// The participants of the call; recorders are never among them.
    pub(crate) fn participants(
        &self,
        sequence: i64,
        present: &[SimulatedPerson],
        at: DateTime<Utc>,
        rng: &mut SeededRng,
    ) -> SimulatedEvent {
        let entry = |person: &SimulatedPerson| json!({ "identifier": person.identifier(true), "isMuted": false, "isOnHold": false });
        let participants: Vec<Value> = present.iter().map(entry).collect();
        let data = json!({ "participants": participants, "sequenceNumber": sequence });
        self.leg_event("ParticipantsUpdated", ok(), data, at, rng)
    }

    pub(crate) fn participant_added(
        &self,
        person: &SimulatedPerson,
        at: DateTime<Utc>,
        rng: &mut SeededRng,
    ) -> SimulatedEvent {
        let data = json!({ "participant": person.identifier(true), "operationContext": "agent-1" });
        self.leg_event("AddParticipantSucceeded", ok(), data, at, rng)
    }

    /// The caller enters tones, which the service has to redact.
    pub(crate) fn tones_recognized(
        &self,
        at: DateTime<Utc>,
        rng: &mut SeededRng,
    ) -> SimulatedEvent {
        let data = json!({ "recognitionType": "dtmf", "dtmfResult": { "tones": ["four", "two", "pound"] } });
        let result = json!({ "code": 200, "subCode": 8533, "message": "Action completed, DTMF option matched." });
        self.leg_event("RecognizeCompleted", result, data, at, rng)
    }

    /// A recording started or ended. The callback comes from the recorder's leg, not from the
    /// app's.
    pub(crate) fn recording(
        &self,
        recording: &RecordingIds,
        kind: SimulatedRecordingKind,
        state: ProviderState,
        started: DateTime<Utc>,
        at: DateTime<Utc>,
        rng: &mut SeededRng,
    ) -> SimulatedEvent {
        let source = format!(
            "calling/recordings/{}/{}/RecordingStateChanged",
            self.ids.server_call_id(),
            recording.recording_id
        );
        let data = json!({
            "recordingId": recording.recording_id,
            "state": match state { ProviderState::Active => "active", ProviderState::Inactive => "inactive" },
            "startDateTime": callback_timestamp(started, rng),
            "recordingKind": kind.as_str(),
            "resultInformation": ok(),
        });
        self.event(
            "RecordingStateChanged",
            source,
            &recording.endpoint,
            data,
            at,
            rng,
        )
    }

    /// The transcription of the app's own leg started or ended.
    pub(crate) fn transcription(
        &self,
        state: ProviderState,
        at: DateTime<Utc>,
        rng: &mut SeededRng,
    ) -> SimulatedEvent {
        let (name, status, details) = match state {
            ProviderState::Active => (
                "TranscriptionStarted",
                "transcriptionStarted",
                "subscriptionStarted",
            ),
            ProviderState::Inactive => (
                "TranscriptionStopped",
                "transcriptionStopped",
                "subscriptionStopped",
            ),
        };
        let data = json!({ "transcriptionUpdate": { "transcriptionStatus": status, "transcriptionStatusDetails": details } });
        let result =
            json!({ "code": 200, "subCode": 0, "message": "Action completed successfully." });
        self.leg_event(name, result, data, at, rng)
    }

    /// The format of a delivery of one callback.
    pub(crate) fn body_format(&self, rng: &mut SeededRng) -> BodyFormat {
        if rng.random_bool(0.1) {
            BodyFormat::SingleCallback
        } else {
            BodyFormat::CallbackArray
        }
    }

    fn leg_event(
        &self,
        name: &str,
        result: Value,
        mut data: Value,
        at: DateTime<Utc>,
        rng: &mut SeededRng,
    ) -> SimulatedEvent {
        data["resultInformation"] = result;
        let source = format!("calling/callConnections/{}", self.ids.call_connection_id);
        self.event(name, source, &self.ids.call_connection_id, data, at, rng)
    }

    fn event(
        &self,
        name: &str,
        source: String,
        leg: &str,
        mut data: Value,
        at: DateTime<Utc>,
        rng: &mut SeededRng,
    ) -> SimulatedEvent {
        let source_type = format!("Microsoft.Communication.{name}");
        data["version"] = json!(self.api_version);
        data["callConnectionId"] = json!(leg);
        data["serverCallId"] = json!(self.ids.server_call_id());
        data["correlationId"] = json!(self.ids.correlation_id);
        data["publicEventType"] = json!(source_type);
        let id = rng.guid();
        let body = json!({
            "id": id,
            "source": source,
            "type": source_type,
            "data": data,
            "time": callback_timestamp(at, rng),
            "specversion": "1.0",
            "datacontenttype": "application/json",
            "subject": source,
        });
        SimulatedEvent {
            source,
            source_type,
            id,
            body,
            decides: false,
        }
    }
}

fn ok() -> Value {
    json!({ "code": 200, "subCode": 0, "message": "" })
}
