//! Event Grid's format of calling events: three generations, in either schema.
//!
//! The formats are those of the published examples: 2021 identifies people directly, 2022 inside
//! `communicationIdentifier`, 2025 with their `kind`, and 2025 renames `durationOfCall` and
//! `endpointType`.

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::call::call_ids::{RecordingIds, SimulatedCallIds};
use crate::call::participants::{SimulatedPerson, SimulatedResource};
use crate::call::script::{BodyFormat, SimulatedEvent};
use crate::formats::timestamps::event_grid_timestamp;
use crate::rng::SeededRng;

/// The generation of Event Grid's calling events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EventGridGeneration {
    #[value(name = "2021")]
    G2021,
    #[value(name = "2022")]
    G2022,
    #[value(name = "2025")]
    G2025,
}

/// The schema of a subscription's deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliverySchema {
    EventGrid,
    CloudEvents,
}

const USER_AGENTS: [&str; 3] = [
    "acs-web-client-ACSWeb(3617/1.0.0.0/os=windows; browser=chrome; browserVer=131.0; deviceType=Desktop)/TsCallingVersion=2025.02.01/Ovb=0",
    "acs-ios-client-ACSiOS(2.15.0/os=ios; deviceType=iPhone)",
    "acs-android-client-ACSAndroid(2.13.0/os=android; deviceType=Pixel 8)",
];

/// What all events of one call have in common.
#[derive(Clone, Debug)]
pub(crate) struct EventGrid<'c> {
    pub resource: &'c SimulatedResource,
    pub ids: &'c SimulatedCallIds,
    pub generation: EventGridGeneration,
    pub schema: DeliverySchema,
    pub started_by: &'c SimulatedPerson,
    pub is_two_party: bool,
    /// Whether the events have a correlationId: it is missing in the specification of 2021, and
    /// present in its documentation.
    pub states_correlation: bool,
}

/// One presence of a person in a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ParticipantJoin {
    pub person: SimulatedPerson,
    pub participant_id: String,
    pub user_agent: &'static str,
}

impl ParticipantJoin {
    pub(crate) fn random(person: &SimulatedPerson, rng: &mut SeededRng) -> Self {
        Self {
            person: person.clone(),
            participant_id: rng.guid(),
            user_agent: rng.one_of(USER_AGENTS),
        }
    }
}

impl EventGrid<'_> {
    /// A call is offered to an ACS identity.
    pub(crate) fn incoming_call(
        &self,
        from: &SimulatedPerson,
        to: &SimulatedPerson,
        at: DateTime<Utc>,
        rng: &mut SeededRng,
    ) -> SimulatedEvent {
        // A real context lets its holder answer the call, so the service has to redact it.
        let context = format!(
            "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.",
            rng.text(b"ABCDEFGHIJabcdefghij0123456789-_", 240)
        );
        let data = json!({
            "to": to.identifier(true),
            "from": from.identifier(true),
            "serverCallId": self.ids.server_call_id(),
            "callerDisplayName": from.name,
            "customContext": { "sipHeaders": { "X-MS-Custom-queue": "billing" }, "voipHeaders": {} },
            "incomingCallContext": context,
            "correlationId": self.ids.correlation_id,
        });
        let subject = format!("/caller/{}/recipient/{}", from.raw_id, to.raw_id);
        self.event("IncomingCall", &subject, data, at, rng)
    }

    pub(crate) fn call_started(&self, at: DateTime<Utc>, rng: &mut SeededRng) -> SimulatedEvent {
        let subject = format!(
            "call/{}/startedBy/{}",
            self.ids.unpadded_server_call_id(),
            self.started_by.raw_id
        );
        self.event("CallStarted", &subject, Value::Object(self.call()), at, rng)
    }

    pub(crate) fn participant_added(
        &self,
        join: &ParticipantJoin,
        at: DateTime<Utc>,
        rng: &mut SeededRng,
    ) -> SimulatedEvent {
        let data = self.participant(join);
        self.event(
            "CallParticipantAdded",
            &self.participant_subject(join),
            data,
            at,
            rng,
        )
    }

    pub(crate) fn participant_removed(
        &self,
        join: &ParticipantJoin,
        at: DateTime<Utc>,
        rng: &mut SeededRng,
    ) -> SimulatedEvent {
        let mut data = self.participant(join);
        if self.generation == EventGridGeneration::G2025 {
            data["reason"] = json!({ "code": 0, "subCode": 0, "phrase": "" });
        }
        self.event(
            "CallParticipantRemoved",
            &self.participant_subject(join),
            data,
            at,
            rng,
        )
    }

    /// `seconds` is the length of the call.
    pub(crate) fn call_ended(
        &self,
        ended_by: &SimulatedPerson,
        seconds: f64,
        at: DateTime<Utc>,
        rng: &mut SeededRng,
    ) -> SimulatedEvent {
        let mut data = self.call();
        if self.generation == EventGridGeneration::G2025 {
            // One example of the specification has the lower-case form.
            let member = rng.one_of(["communicationIdentifier", "communicationidentifier"]);
            data.insert("callDurationInSeconds".to_owned(), json!(seconds));
            data.insert("endedBy".to_owned(), json!({ member: ended_by.identifier(true), "type": "Participant", "name": ended_by.name }));
            data.insert(
                "reason".to_owned(),
                json!({ "code": 0, "subCode": 7000, "phrase": "" }),
            );
        } else {
            data.insert("durationOfCall".to_owned(), json!(seconds));
        }
        let subject = format!("call/{}", self.ids.unpadded_server_call_id());
        self.event("CallEnded", &subject, Value::Object(data), at, rng)
    }

    /// The file of an ACS recording is ready. Only the subject names its call.
    pub(crate) fn recording_file(
        &self,
        recording: &RecordingIds,
        started: DateTime<Utc>,
        duration_ms: i64,
        at: DateTime<Utc>,
        rng: &mut SeededRng,
    ) -> SimulatedEvent {
        let document = format!("0-eus-d12-{}", rng.text(b"0123456789abcdef", 32));
        let location = format!("https://us-storage.asm.skype.com/v1/objects/{document}");
        let data = json!({
            "recordingStorageInfo": { "recordingChunks": [{
                "documentId": document,
                "index": 0,
                "endReason": "SessionEnded",
                "contentLocation": format!("{location}/content/audio"),
                "metadataLocation": format!("{location}/content/acsmetadata"),
                "deleteLocation": location,
            }] },
            "recordingStartTime": event_grid_timestamp(started, rng),
            "recordingDurationMs": duration_ms,
            "recordingContentType": "Audio",
            "recordingChannelType": "Mixed",
            "recordingFormatType": "Wav",
            "sessionEndReason": "CallEnded",
        });
        let server_call_id = self.ids.unpadded_server_call_id();
        // The format of 2024 omits the serverCallId.
        let server_path = if rng.random_bool(0.5) {
            format!("serverCallId/{server_call_id}/")
        } else {
            String::new()
        };
        let subject = format!(
            "/recording/call/{}/{server_path}recordingId/{}",
            self.ids.correlation_id, recording.recording_id
        );
        self.event("RecordingFileStatusUpdated", &subject, data, at, rng)
    }

    /// The format of a delivery of this many events.
    pub(crate) fn body_format(&self, events: usize, rng: &mut SeededRng) -> BodyFormat {
        match self.schema {
            DeliverySchema::EventGrid => BodyFormat::EventGridSchema,
            DeliverySchema::CloudEvents if events > 1 => BodyFormat::CloudEventBatch,
            DeliverySchema::CloudEvents => rng.one_of([
                BodyFormat::CloudEvent,
                BodyFormat::CloudEvent,
                BodyFormat::CloudEventBatch,
                BodyFormat::CloudEventBinary,
            ]),
        }
    }

    fn participant_subject(&self, join: &ParticipantJoin) -> String {
        format!(
            "call/{}/participant/{}",
            self.ids.unpadded_server_call_id(),
            join.person.raw_id
        )
    }

    fn person(&self, person: &SimulatedPerson) -> Value {
        match self.generation {
            EventGridGeneration::G2021 => person.identifier(false),
            EventGridGeneration::G2022 => {
                json!({ "communicationIdentifier": person.identifier(false), "role": "Attendee" })
            }
            EventGridGeneration::G2025 => {
                json!({ "communicationIdentifier": person.identifier(true), "role": "Attendee" })
            }
        }
    }

    /// The members that all events of a call have.
    fn call(&self) -> Map<String, Value> {
        let mut data = Map::new();
        let mut put = |name: &str, value: Value| {
            data.insert(name.to_owned(), value);
        };
        put("startedBy", self.person(self.started_by));
        put("serverCallId", json!(self.ids.unpadded_server_call_id()));
        put("group", json!({ "id": self.ids.group_id }));
        put("isTwoParty", json!(self.is_two_party));
        if self.states_correlation {
            put("correlationId", json!(self.ids.correlation_id));
        }
        if self.generation != EventGridGeneration::G2021 {
            put("isRoomsCall", json!(false));
        }
        data
    }

    fn participant(&self, join: &ParticipantJoin) -> Value {
        let mut data = self.call();
        let user_agent = if self.generation == EventGridGeneration::G2025 {
            "userAgent"
        } else {
            "endpointType"
        };
        data.insert("user".to_owned(), self.person(&join.person));
        data.insert("displayName".to_owned(), json!(join.person.name));
        data.insert("participantId".to_owned(), json!(join.participant_id));
        data.insert(user_agent.to_owned(), json!(join.user_agent));
        Value::Object(data)
    }

    fn event(
        &self,
        name: &str,
        subject: &str,
        data: Value,
        at: DateTime<Utc>,
        rng: &mut SeededRng,
    ) -> SimulatedEvent {
        let source = self
            .resource
            .topic(self.schema == DeliverySchema::EventGrid);
        let source_type = format!("Microsoft.Communication.{name}");
        let (id, time) = (rng.guid(), event_grid_timestamp(at, rng));
        let body = match self.schema {
            DeliverySchema::EventGrid => json!({
                "id": id,
                "topic": source,
                "subject": subject,
                "data": data,
                "eventType": source_type,
                "dataVersion": "1.0",
                "metadataVersion": "1",
                "eventTime": time,
            }),
            DeliverySchema::CloudEvents => json!({
                "id": id,
                "source": source,
                "specversion": "1.0",
                "type": source_type,
                "subject": subject,
                "time": time,
                "data": data,
            }),
        };
        SimulatedEvent {
            source,
            source_type,
            id,
            body,
            decides: false,
        }
    }
}
