//! Call Automation's format: the callbacks of one leg, and of a recorder.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use crate::call::call_ids::{RecordingIds, SimulatedCallIds};
use crate::call::participants::SimulatedPerson;
use crate::call::script::{BodyFormat, SimulatedEvent};
use crate::formats::event_content::EventContent;
use crate::formats::timestamps::callback_timestamp;
use crate::rng::SeededRng;
use onrecord_evidence::fact::kinds::ProviderState;

/// The origin of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum SimulatedRecordingKind {
    /// A Teams user started it.
    Teams,
    /// A compliance policy started it.
    TeamsCompliance,
    /// The app started it.
    AzureCommunicationServices,
}

/// The callbacks of a call.
#[derive(Clone, Debug)]
pub(crate) struct CallAutomation<'c> {
    pub ids: &'c SimulatedCallIds,
    /// The API version of the client that made the leg; several versions are in use.
    pub api_version: &'static str,
}

impl CallAutomation<'_> {
    pub(crate) fn connected(&self) -> EventContent {
        self.leg_event("CallConnected", ok(), json!({}))
    }

    pub(crate) fn disconnected(&self, rng: &mut SeededRng) -> EventContent {
        let (sub_code, message) = rng.one_of([
            (7000, "The conversation has ended. DiagCode: 0#7000.@"),
            (5001, "This conversation has ended.. DiagCode: 0#5001.@"),
        ]);
        self.leg_event("CallDisconnected", result(sub_code, message), json!({}))
    }

    /// The participants of the call; recorders are never among them.
    pub(crate) fn participants(&self, sequence: i64, present: &[SimulatedPerson]) -> EventContent {
        let entry = |person: &SimulatedPerson| json!({ "identifier": person.identifier(true), "isMuted": false, "isOnHold": false });
        let participants: Vec<Value> = present.iter().map(entry).collect();
        let data = json!({ "participants": participants, "sequenceNumber": sequence });
        self.leg_event("ParticipantsUpdated", ok(), data)
    }

    pub(crate) fn participant_added(&self, person: &SimulatedPerson) -> EventContent {
        let data = json!({ "participant": person.identifier(true), "operationContext": "agent-1" });
        self.leg_event("AddParticipantSucceeded", ok(), data)
    }

    /// The caller enters tones, which the service has to redact.
    pub(crate) fn tones_recognized(&self) -> EventContent {
        let data = json!({ "recognitionType": "dtmf", "dtmfResult": { "tones": ["four", "two", "pound"] } });
        let result = result(8533, "Action completed, DTMF option matched.");
        self.leg_event("RecognizeCompleted", result, data)
    }

    /// A recording started or ended. The callback comes from the recorder's leg, not from the
    /// app's.
    pub(crate) fn recording(
        &self,
        recording: &RecordingIds,
        kind: SimulatedRecordingKind,
        state: ProviderState,
        started: DateTime<Utc>,
        rng: &mut SeededRng,
    ) -> EventContent {
        let RecordingIds { endpoint, recording_id } = recording;
        let server_call_id = self.ids.server_call_id();
        let data = json!({
            "callConnectionId": endpoint,
            "recordingId": recording_id,
            "state": state,
            "startDateTime": callback_timestamp(started, rng),
            "recordingKind": kind,
            "resultInformation": ok(),
        });
        let subject =
            format!("calling/recordings/{server_call_id}/{recording_id}/RecordingStateChanged");
        EventContent { name: "RecordingStateChanged", subject, data }
    }

    /// The transcription of the app's own leg started or ended.
    pub(crate) fn transcription(&self, state: ProviderState) -> EventContent {
        let (name, status, details) = match state {
            ProviderState::Active => {
                ("TranscriptionStarted", "transcriptionStarted", "subscriptionStarted")
            }
            ProviderState::Inactive => {
                ("TranscriptionStopped", "transcriptionStopped", "subscriptionStopped")
            }
        };
        let data = json!({ "transcriptionUpdate": { "transcriptionStatus": status, "transcriptionStatusDetails": details } });
        self.leg_event(name, result(0, "Action completed successfully."), data)
    }

    /// The format of a delivery of one callback.
    pub(crate) fn body_format(&self, rng: &mut SeededRng) -> BodyFormat {
        if rng.random_bool(0.1) { BodyFormat::SingleCallback } else { BodyFormat::CallbackArray }
    }

    fn leg_event(&self, name: &'static str, result: Value, mut data: Value) -> EventContent {
        let leg = &self.ids.call_connection_id;
        data["callConnectionId"] = json!(leg);
        data["resultInformation"] = result;
        EventContent { name, subject: format!("calling/callConnections/{leg}"), data }
    }

    /// A callback with its envelope.
    pub(crate) fn event(
        &self,
        content: EventContent,
        at: DateTime<Utc>,
        rng: &mut SeededRng,
    ) -> SimulatedEvent {
        let source_type = content.source_type();
        let EventContent { subject: source, mut data, .. } = content;
        data["version"] = json!(self.api_version);
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
        SimulatedEvent { source, source_type, id, body, decides: false }
    }
}

fn ok() -> Value {
    result(0, "")
}

fn result(sub_code: i32, message: &str) -> Value {
    json!({ "code": 200, "subCode": sub_code, "message": message })
}
