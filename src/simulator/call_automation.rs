//! Call Automation's dialect: the callbacks of one leg, and of a recorder.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::cast::{CallIds, Person, RecordingIds};
use super::chance::Chance;
use super::script::{SimulatedEvent, Wrap};
use super::times;
use crate::domain::fact::ProviderState;

/// By whose will a call is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordingKind {
    /// A Teams user's.
    Teams,
    /// A policy's.
    TeamsCompliance,
    /// The app's.
    AzureCommunicationServices,
}

impl RecordingKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Teams => "teams",
            Self::TeamsCompliance => "teamsCompliance",
            Self::AzureCommunicationServices => "azureCommunicationServices",
        }
    }
}

/// The callbacks of a call.
#[derive(Clone, Debug)]
pub(super) struct CallAutomation<'c> {
    pub ids: &'c CallIds,
    /// That of the client which made the leg; several run side by side.
    pub api_version: &'static str,
}

impl CallAutomation<'_> {
    pub fn connected(&self, at: DateTime<Utc>, chance: &mut Chance) -> SimulatedEvent {
        self.of_leg("CallConnected", ok(), json!({}), at, chance)
    }

    pub fn disconnected(&self, at: DateTime<Utc>, chance: &mut Chance) -> SimulatedEvent {
        let (sub_code, message) = chance.one_of([
            (7000, "The conversation has ended. DiagCode: 0#7000.@"),
            (5001, "This conversation has ended.. DiagCode: 0#5001.@"),
        ]);
        let result = json!({ "code": 200, "subCode": sub_code, "message": message });
        self.of_leg("CallDisconnected", result, json!({}), at, chance)
    }

    /// Everybody who is in the call; recorders are never among them.
    pub fn participants(
        &self,
        sequence: i64,
        present: &[&Person],
        at: DateTime<Utc>,
        chance: &mut Chance,
    ) -> SimulatedEvent {
        let entry = |person: &&Person| json!({ "identifier": person.identifier(true), "isMuted": false, "isOnHold": false });
        let participants: Vec<Value> = present.iter().map(entry).collect();
        let data = json!({ "participants": participants, "sequenceNumber": sequence });
        self.of_leg("ParticipantsUpdated", ok(), data, at, chance)
    }

    pub fn participant_added(
        &self,
        person: &Person,
        at: DateTime<Utc>,
        chance: &mut Chance,
    ) -> SimulatedEvent {
        let data = json!({ "participant": person.identifier(true), "operationContext": "agent-1" });
        self.of_leg("AddParticipantSucceeded", ok(), data, at, chance)
    }

    /// Tones are keyed in: they must be redacted.
    pub fn tones_recognized(&self, at: DateTime<Utc>, chance: &mut Chance) -> SimulatedEvent {
        let data = json!({ "recognitionType": "dtmf", "dtmfResult": { "tones": ["four", "two", "pound"] } });
        let result = json!({ "code": 200, "subCode": 8533, "message": "Action completed, DTMF option matched." });
        self.of_leg("RecognizeCompleted", result, data, at, chance)
    }

    /// A recording began or ended. It is told of by the recorder's leg, not by ours.
    pub fn recording(
        &self,
        recording: &RecordingIds,
        kind: RecordingKind,
        state: ProviderState,
        started: DateTime<Utc>,
        at: DateTime<Utc>,
        chance: &mut Chance,
    ) -> SimulatedEvent {
        let source = format!(
            "calling/recordings/{}/{}/RecordingStateChanged",
            self.ids.server_call_id(),
            recording.recording_id
        );
        let data = json!({
            "recordingId": recording.recording_id,
            "state": match state { ProviderState::Active => "active", ProviderState::Inactive => "inactive" },
            "startDateTime": times::of_callback(started, chance),
            "recordingKind": kind.as_str(),
            "resultInformation": ok(),
        });
        self.event(
            "RecordingStateChanged",
            source,
            &recording.endpoint,
            data,
            at,
            chance,
        )
    }

    /// Our leg's own transcription began or ended.
    pub fn transcription(
        &self,
        state: ProviderState,
        at: DateTime<Utc>,
        chance: &mut Chance,
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
        self.of_leg(name, result, data, at, chance)
    }

    /// How a delivery of so many callbacks is wrapped.
    pub fn wrap(&self, events: usize, chance: &mut Chance) -> Wrap {
        if events == 1 && chance.happens(0.1) {
            Wrap::BareCallback
        } else {
            Wrap::Callbacks
        }
    }

    fn of_leg(
        &self,
        name: &str,
        result: Value,
        mut data: Value,
        at: DateTime<Utc>,
        chance: &mut Chance,
    ) -> SimulatedEvent {
        data["resultInformation"] = result;
        let source = format!("calling/callConnections/{}", self.ids.call_connection_id);
        self.event(name, source, &self.ids.call_connection_id, data, at, chance)
    }

    fn event(
        &self,
        name: &str,
        source: String,
        leg: &str,
        mut data: Value,
        at: DateTime<Utc>,
        chance: &mut Chance,
    ) -> SimulatedEvent {
        let source_type = format!("Microsoft.Communication.{name}");
        data["version"] = json!(self.api_version);
        data["callConnectionId"] = json!(leg);
        data["serverCallId"] = json!(self.ids.server_call_id());
        data["correlationId"] = json!(self.ids.correlation_id);
        data["publicEventType"] = json!(source_type);
        let id = chance.guid();
        let body = json!({
            "id": id,
            "source": source,
            "type": source_type,
            "data": data,
            "time": times::of_callback(at, chance),
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
