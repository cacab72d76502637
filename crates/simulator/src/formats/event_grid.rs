//! Event Grid's format of calling events: three generations, in either schema.
//!
//! The formats are those of the published examples: 2021 identifies people directly, 2022 inside
//! `communicationIdentifier`, 2025 with their `kind`, and 2025 renames `durationOfCall` and
//! `endpointType`.

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::call::call_ids::{HEXADECIMAL, RecordingIds, SimulatedCallIds};
use crate::call::participants::{SimulatedPerson, SimulatedResource};
use crate::call::script::{BodyFormat, SimulatedEvent};
use crate::formats::event_content::EventContent;
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
    /// The person has not left yet.
    pub is_present: bool,
}

impl ParticipantJoin {
    pub(crate) fn random(person: &SimulatedPerson, rng: &mut SeededRng) -> Self {
        Self {
            person: person.clone(),
            participant_id: rng.guid(),
            user_agent: rng.one_of(USER_AGENTS),
            is_present: true,
        }
    }
}

impl EventGrid<'_> {
    /// A call is offered to an ACS identity.
    pub(crate) fn incoming_call(
        &self,
        from: &SimulatedPerson,
        to: &SimulatedPerson,
        rng: &mut SeededRng,
    ) -> EventContent {
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
        EventContent { name: "IncomingCall", subject, data }
    }

    pub(crate) fn call_started(&self) -> EventContent {
        let subject = self.subject(&format!("/startedBy/{}", self.started_by.raw_id));
        EventContent { name: "CallStarted", subject, data: self.call() }
    }

    pub(crate) fn participant_added(&self, join: &ParticipantJoin) -> EventContent {
        let mut data = self.call();
        let is_2025 = self.generation == EventGridGeneration::G2025;
        data["user"] = self.person(&join.person);
        data["displayName"] = json!(join.person.name);
        data["participantId"] = json!(join.participant_id);
        data[if is_2025 { "userAgent" } else { "endpointType" }] = json!(join.user_agent);
        let subject = self.subject(&format!("/participant/{}", join.person.raw_id));
        EventContent { name: "CallParticipantAdded", subject, data }
    }

    pub(crate) fn participant_removed(&self, join: &ParticipantJoin) -> EventContent {
        let mut content = self.participant_added(join);
        if self.generation == EventGridGeneration::G2025 {
            content.data["reason"] = json!({ "code": 0, "subCode": 0, "phrase": "" });
        }
        EventContent { name: "CallParticipantRemoved", ..content }
    }

    /// `seconds` is the length of the call.
    pub(crate) fn call_ended(
        &self,
        ended_by: &SimulatedPerson,
        seconds: f64,
        rng: &mut SeededRng,
    ) -> EventContent {
        let mut data = self.call();
        if self.generation == EventGridGeneration::G2025 {
            // One example of the specification has the lower-case form.
            let member = rng.one_of(["communicationIdentifier", "communicationidentifier"]);
            data["callDurationInSeconds"] = json!(seconds);
            data["endedBy"] = json!({ member: ended_by.identifier(true), "type": "Participant", "name": ended_by.name });
            data["reason"] = json!({ "code": 0, "subCode": 7000, "phrase": "" });
        } else {
            data["durationOfCall"] = json!(seconds);
        }
        EventContent { name: "CallEnded", subject: self.subject(""), data }
    }

    /// The file of an ACS recording is ready. Only the subject names its call.
    pub(crate) fn recording_file(
        &self,
        recording: &RecordingIds,
        started: DateTime<Utc>,
        duration_ms: i64,
        rng: &mut SeededRng,
    ) -> EventContent {
        let document = format!("0-eus-d12-{}", rng.text(HEXADECIMAL, 32));
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
        let correlation_id = &self.ids.correlation_id;
        // The format of 2024 omits the serverCallId.
        let server_path = if rng.random_bool(0.5) {
            format!("serverCallId/{}/", self.ids.unpadded_server_call_id())
        } else {
            String::new()
        };
        let recording_id = &recording.recording_id;
        let subject =
            format!("/recording/call/{correlation_id}/{server_path}recordingId/{recording_id}");
        EventContent { name: "RecordingFileStatusUpdated", subject, data }
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

    /// The subject of an event of a call; `below` names a participant.
    fn subject(&self, below: &str) -> String {
        format!("call/{}{below}", self.ids.unpadded_server_call_id())
    }

    fn person(&self, person: &SimulatedPerson) -> Value {
        if self.generation == EventGridGeneration::G2021 {
            return person.identifier(false);
        }
        let identifier = person.identifier(self.generation == EventGridGeneration::G2025);
        json!({ "communicationIdentifier": identifier, "role": "Attendee" })
    }

    /// The members that all events of a call have.
    fn call(&self) -> Value {
        let mut data = json!({
            "startedBy": self.person(self.started_by),
            "serverCallId": self.ids.unpadded_server_call_id(),
            "group": { "id": self.ids.group_id },
            "isTwoParty": self.is_two_party,
        });
        if self.states_correlation {
            data["correlationId"] = json!(self.ids.correlation_id);
        }
        if self.generation != EventGridGeneration::G2021 {
            data["isRoomsCall"] = json!(false);
        }
        data
    }

    /// An event with its envelope.
    pub(crate) fn event(
        &self,
        content: EventContent,
        at: DateTime<Utc>,
        rng: &mut SeededRng,
    ) -> SimulatedEvent {
        let source = self.resource.topic(self.schema == DeliverySchema::EventGrid);
        let source_type = content.source_type();
        let EventContent { subject, data, .. } = content;
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
        SimulatedEvent { source, source_type, id, body, decides: false }
    }
}
