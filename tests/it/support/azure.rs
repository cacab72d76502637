//! Events as Azure sends them.

use base64::Engine as _;
use serde_json::{Value, json};
use uuid::Uuid;

pub const ALICE: &str = "8:acs:11111111-1111-4111-8111-111111111111_0000000a-alice";
pub const BOB: &str = "8:orgid:22222222-2222-4222-8222-222222222222";
const TOPIC: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Communication/communicationServices/c";

/// One call and its ids.
pub struct Call {
    pub correlation: String,
    pub server_call_id: String,
    pub leg: String,
}

impl Call {
    pub fn new() -> Self {
        let url = format!(
            "https://api.flightproxy.skype.com/api/v2/cp/conv.skype.com/conv/{}?i=10&e=1",
            Uuid::new_v4()
        );
        Self {
            correlation: Uuid::new_v4().to_string(),
            server_call_id: base64::engine::general_purpose::STANDARD.encode(url),
            leg: Uuid::new_v4().to_string(),
        }
    }

    /// One Event Grid event, as an array.
    pub fn event(&self, name: &str, time: chrono::DateTime<chrono::Utc>, more: &Value) -> Value {
        let mut data = json!({ "serverCallId": self.server_call_id, "correlationId": self.correlation, "isTwoParty": true });
        merge(&mut data, more);
        json!([{
            "id": Uuid::new_v4(), "topic": TOPIC, "subject": format!("call/{}", self.server_call_id),
            "eventType": format!("Microsoft.Communication.{name}"), "eventTime": time.to_rfc3339(),
            "dataVersion": "1.0", "metadataVersion": "1", "data": data,
        }])
    }

    pub fn started(&self) -> Value {
        self.event("CallStarted", chrono::Utc::now(), &json!({ "startedBy": nested(ALICE) }))
    }

    pub fn ended(&self) -> Value {
        self.event(
            "CallEnded",
            chrono::Utc::now(),
            &json!({ "startedBy": nested(ALICE), "durationOfCall": 1.5 }),
        )
    }

    pub fn joined(&self, raw_id: &str, participant_id: &str) -> Value {
        let data = json!({ "user": nested(raw_id), "participantId": participant_id, "displayName": "Somebody", "endpointType": "web" });
        self.event("CallParticipantAdded", chrono::Utc::now(), &data)
    }

    /// One callback, as an array.
    pub fn callback(&self, name: &str, time: chrono::DateTime<chrono::Utc>, more: &Value) -> Value {
        let mut data = json!({ "serverCallId": self.server_call_id, "correlationId": self.correlation, "callConnectionId": self.leg, "version": "2025-06-15" });
        merge(&mut data, more);
        let source = format!("calling/callConnections/{}", self.leg);
        json!([{
            "id": Uuid::new_v4(), "source": source, "subject": source, "type": format!("Microsoft.Communication.{name}"),
            "time": time.to_rfc3339(), "specversion": "1.0", "datacontenttype": "application/json", "data": data,
        }])
    }

    /// The callback that a recording changed its state at this time.
    pub fn recording(&self, state: &str, time: chrono::DateTime<chrono::Utc>) -> Value {
        let recorder = Uuid::new_v4();
        let more = json!({ "recordingId": self.recording_id(), "state": state, "startDateTime": time.to_rfc3339(), "recordingKind": "teams", "callConnectionId": recorder });
        self.callback("RecordingStateChanged", time, &more)
    }

    pub fn recording_id(&self) -> String {
        base64::engine::general_purpose::URL_SAFE_NO_PAD
            .encode(format!("{{\"PlatformEndpointId\":\"{}\"}}", self.leg))
    }

    /// The event that a file of the recording exists, with this start and length.
    pub fn file(&self, start: chrono::DateTime<chrono::Utc>, length: chrono::TimeDelta) -> Value {
        let mut event = self.event("RecordingFileStatusUpdated", chrono::Utc::now(), &json!({}));
        event[0]["subject"] = json!(format!(
            "/recording/call/{}/serverCallId/{}/recordingId/{}",
            self.correlation,
            self.server_call_id,
            self.recording_id()
        ));
        event[0]["data"] = json!({
            "recordingStorageInfo": { "recordingChunks": [{ "documentId": "0-eus-d12", "index": 0, "endReason": "SessionEnded" }] },
            "recordingStartTime": start.to_rfc3339(), "recordingDurationMs": length.num_milliseconds(),
            "sessionEndReason": "CallEnded",
        });
        event
    }

    pub fn roster(&self, sequence: i64, raw_ids: &[&str]) -> Value {
        let participants: Vec<Value> = raw_ids
            .iter()
            .map(|raw_id| json!({ "identifier": identifier(raw_id), "isMuted": false }))
            .collect();
        self.callback(
            "ParticipantsUpdated",
            chrono::Utc::now(),
            &json!({ "participants": participants, "sequenceNumber": sequence }),
        )
    }
}

/// A report of a client.
pub fn report(attachment: &Uuid, sequence: i64, more: &Value) -> Value {
    let mut report = json!({ "report_id": Uuid::new_v4().to_string(), "attachment": attachment, "sequence": sequence });
    merge(&mut report, more);
    report
}

fn identifier(raw_id: &str) -> Value {
    if let Some(user_id) = raw_id.strip_prefix("8:orgid:") {
        json!({ "kind": "microsoftTeamsUser", "rawId": raw_id, "microsoftTeamsUser": { "userId": user_id } })
    } else {
        json!({ "kind": "communicationUser", "rawId": raw_id, "communicationUser": { "id": raw_id } })
    }
}

fn nested(raw_id: &str) -> Value {
    json!({ "communicationIdentifier": identifier(raw_id), "role": "Attendee" })
}

fn merge(into: &mut Value, more: &Value) {
    for (name, value) in more.as_object().into_iter().flatten() {
        into[name] = value.clone();
    }
}
