//! Event Grid's dialect: three generations of the same events, in either schema.
//!
//! The forms are those of the published examples: 2021 names people flat, 2022 inside
//! `communicationIdentifier`, 2025 with their `kind`, and renames `durationOfCall` and
//! `endpointType`.

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::cast::{CallIds, Person, RecordingIds, World};
use super::chance::Chance;
use super::script::{SimulatedEvent, Wrap};
use super::times;

/// Which generation of Event Grid's calling events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Generation {
    #[value(name = "2021")]
    G2021,
    #[value(name = "2022")]
    G2022,
    #[value(name = "2025")]
    G2025,
}

/// In which schema the subscription delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schema {
    EventGrid,
    CloudEvents,
}

const USER_AGENTS: [&str; 3] = [
    "acs-web-client-ACSWeb(3617/1.0.0.0/os=windows; browser=chrome; browserVer=131.0; deviceType=Desktop)/TsCallingVersion=2025.02.01/Ovb=0",
    "acs-ios-client-ACSiOS(2.15.0/os=ios; deviceType=iPhone)",
    "acs-android-client-ACSAndroid(2.13.0/os=android; deviceType=Pixel 8)",
];

/// Everything that the events of one call repeat.
#[derive(Clone, Debug)]
pub(super) struct EventGrid<'c> {
    pub world: &'c World,
    pub ids: &'c CallIds,
    pub generation: Generation,
    pub schema: Schema,
    pub started_by: &'c Person,
    pub is_two_party: bool,
    /// The specification of 2021 had none, its documents had.
    pub states_correlation: bool,
}

/// One presence of somebody.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Join {
    pub person: Person,
    pub participant_id: String,
    pub user_agent: &'static str,
}

impl Join {
    pub fn draw(person: &Person, chance: &mut Chance) -> Self {
        Self {
            person: person.clone(),
            participant_id: chance.guid(),
            user_agent: chance.one_of(USER_AGENTS),
        }
    }
}

impl EventGrid<'_> {
    /// A call is offered to an ACS identity.
    pub fn incoming_call(
        &self,
        from: &Person,
        to: &Person,
        at: DateTime<Utc>,
        chance: &mut Chance,
    ) -> SimulatedEvent {
        // Whoever has the real one can answer the call, so it is the first thing to be redacted.
        let context = format!(
            "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.",
            chance.text(b"ABCDEFGHIJabcdefghij0123456789-_", 240)
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
        self.event("IncomingCall", &subject, data, at, chance)
    }

    pub fn call_started(&self, at: DateTime<Utc>, chance: &mut Chance) -> SimulatedEvent {
        let subject = format!(
            "call/{}/startedBy/{}",
            self.ids.unpadded_server_call_id(),
            self.started_by.raw_id
        );
        self.event(
            "CallStarted",
            &subject,
            Value::Object(self.call()),
            at,
            chance,
        )
    }

    pub fn participant_added(
        &self,
        join: &Join,
        at: DateTime<Utc>,
        chance: &mut Chance,
    ) -> SimulatedEvent {
        let data = self.participant(join);
        self.event(
            "CallParticipantAdded",
            &self.subject_of(join),
            data,
            at,
            chance,
        )
    }

    pub fn participant_removed(
        &self,
        join: &Join,
        at: DateTime<Utc>,
        chance: &mut Chance,
    ) -> SimulatedEvent {
        let mut data = self.participant(join);
        if self.generation == Generation::G2025 {
            data["reason"] = json!({ "code": 0, "subCode": 0, "phrase": "" });
        }
        self.event(
            "CallParticipantRemoved",
            &self.subject_of(join),
            data,
            at,
            chance,
        )
    }

    /// `lasted` is in seconds.
    pub fn call_ended(
        &self,
        ended_by: &Person,
        lasted: f64,
        at: DateTime<Utc>,
        chance: &mut Chance,
    ) -> SimulatedEvent {
        let mut data = self.call();
        if self.generation == Generation::G2025 {
            // One example of the specification spells it so.
            let member = chance.one_of(["communicationIdentifier", "communicationidentifier"]);
            data.insert("callDurationInSeconds".to_owned(), json!(lasted));
            data.insert("endedBy".to_owned(), json!({ member: ended_by.identifier(true), "type": "Participant", "name": ended_by.name }));
            data.insert(
                "reason".to_owned(),
                json!({ "code": 0, "subCode": 7000, "phrase": "" }),
            );
        } else {
            data.insert("durationOfCall".to_owned(), json!(lasted));
        }
        let subject = format!("call/{}", self.ids.unpadded_server_call_id());
        self.event("CallEnded", &subject, Value::Object(data), at, chance)
    }

    /// The file of an ACS recording is ready. Only the subject says of which call it is.
    pub fn recording_file(
        &self,
        recording: &RecordingIds,
        started: DateTime<Utc>,
        duration_ms: i64,
        at: DateTime<Utc>,
        chance: &mut Chance,
    ) -> SimulatedEvent {
        let document = format!("0-eus-d12-{}", chance.text(b"0123456789abcdef", 32));
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
            "recordingStartTime": times::of_event_grid(started, chance),
            "recordingDurationMs": duration_ms,
            "recordingContentType": "Audio",
            "recordingChannelType": "Mixed",
            "recordingFormatType": "Wav",
            "sessionEndReason": "CallEnded",
        });
        let server = self.ids.unpadded_server_call_id();
        // The form of 2024 does without the serverCallId.
        let server = if chance.happens(0.5) {
            format!("serverCallId/{server}/")
        } else {
            String::new()
        };
        let subject = format!(
            "/recording/call/{}/{server}recordingId/{}",
            self.ids.correlation_id, recording.recording_id
        );
        self.event("RecordingFileStatusUpdated", &subject, data, at, chance)
    }

    /// How a delivery of so many events is wrapped.
    pub fn wrap(&self, events: usize, chance: &mut Chance) -> Wrap {
        match self.schema {
            Schema::EventGrid => Wrap::EventGridSchema,
            Schema::CloudEvents if events > 1 => Wrap::CloudEventBatch,
            Schema::CloudEvents => chance.one_of([
                Wrap::CloudEvent,
                Wrap::CloudEvent,
                Wrap::CloudEventBatch,
                Wrap::CloudEventBinary,
            ]),
        }
    }

    fn subject_of(&self, join: &Join) -> String {
        format!(
            "call/{}/participant/{}",
            self.ids.unpadded_server_call_id(),
            join.person.raw_id
        )
    }

    fn person(&self, person: &Person) -> Value {
        match self.generation {
            Generation::G2021 => person.identifier(false),
            Generation::G2022 => {
                json!({ "communicationIdentifier": person.identifier(false), "role": "Attendee" })
            }
            Generation::G2025 => {
                json!({ "communicationIdentifier": person.identifier(true), "role": "Attendee" })
            }
        }
    }

    /// What every event says of its call.
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
        if self.generation != Generation::G2021 {
            put("isRoomsCall", json!(false));
        }
        data
    }

    fn participant(&self, join: &Join) -> Value {
        let mut data = self.call();
        let user_agent = if self.generation == Generation::G2025 {
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
        chance: &mut Chance,
    ) -> SimulatedEvent {
        let source = self.world.topic(self.schema == Schema::EventGrid);
        let source_type = format!("Microsoft.Communication.{name}");
        let (id, time) = (chance.guid(), times::of_event_grid(at, chance));
        let body = match self.schema {
            Schema::EventGrid => json!({
                "id": id,
                "topic": source,
                "subject": subject,
                "data": data,
                "eventType": source_type,
                "dataVersion": "1.0",
                "metadataVersion": "1",
                "eventTime": time,
            }),
            Schema::CloudEvents => json!({
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
