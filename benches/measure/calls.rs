//! Simulated calls, event by event: two people, a Call Automation leg, a recording.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, SecondsFormat, TimeZone as _, Utc};
use serde_json::{Value, json};

use super::template::Template;

/// Events of a call.
pub const STEPS: u64 = 10;
/// The step at which a recording begins, and the one at which it ends.
pub const RECORDING_ON: usize = 4;
pub const RECORDING_OFF: usize = 5;

const TOPIC: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Communication/communicationServices/c";
const AGENT: &str = "acs-web-client-ACSWeb(3617/1.0.0.0/os=windows; browser=chrome; browserVer=131.0; deviceType=Desktop)/TsCallingVersion=2025.02.01/Ovb=0";

/// The ingest endpoint that an event is posted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    EventGrid,
    CallAutomation,
}

impl Endpoint {
    pub fn path(self) -> &'static str {
        match self {
            Self::EventGrid => "/ingest/event-grid/eg",
            Self::CallAutomation => "/ingest/call-automation/ca",
        }
    }
}

/// One event of one call, by numbers.
#[derive(Clone, Copy, Debug)]
pub struct EventMark {
    /// Makes the calls different from those of another salt.
    pub salt: u32,
    pub call: u64,
    /// Makes the event different from those with another number.
    pub event: u64,
    pub at: DateTime<Utc>,
}

impl EventMark {
    /// The numbers in the templates.
    pub fn of_templates() -> Self {
        Self {
            salt: 0x5a17_ba5e,
            call: 0x0ddb_a11c_0de5,
            event: 0x0ddb_a11c_0de6,
            at: Utc.timestamp_millis_opt(1_612_325_106_007).single().unwrap_or_default(),
        }
    }

    /// The values that distinguish events, always of the same lengths.
    pub fn words(&self) -> Vec<String> {
        vec![
            format!("{:08x}", self.salt),
            self.of_call(),
            format!("4001-8000-{:012x}", self.event),
            self.server_call_id(),
            self.server_url(),
            self.recording_id(),
            self.time(),
            self.at.timestamp_millis().to_string(),
        ]
    }

    fn of_call(&self) -> String {
        format!("4000-8000-{:012x}", self.call)
    }

    fn guid(&self, kind: u16) -> String {
        format!("{:08x}-{kind:04x}-{}", self.salt, self.of_call())
    }

    pub fn correlation(&self) -> String {
        self.guid(1)
    }

    fn server_url(&self) -> String {
        format!(
            "https://api.flightproxy.skype.com/api/v2/cp/conv-euwe-04-prod-aks.conv.skype.com/conv/{}?i=10-60-12-188&e=638",
            self.guid(2)
        )
    }

    /// As clients and Azure name it.
    pub fn server_call_id(&self) -> String {
        STANDARD.encode(self.server_url())
    }

    fn recording_id(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!(
            "{{\"PlatformEndpointId\":\"{}\",\"ResourceSpecificId\":\"1\"}}",
            self.guid(3)
        ))
    }

    fn time(&self) -> String {
        let text = self.at.to_rfc3339_opts(SecondsFormat::Millis, true);
        text.trim_end_matches('Z').to_owned() + "0000"
    }

    fn id(&self, step: usize) -> String {
        format!("{:08x}-{:04x}-4001-8000-{:012x}", self.salt, 0x100 + step, self.event)
    }

    /// An event as Azure sends it, by the number of its step.
    fn event(&self, step: usize) -> Value {
        let (alice, bob) = (
            person("8:acs:11111111-1111-4111-8111-111111111111_0000000a-alice"),
            person("8:orgid:22222222-2222-4222-8222-222222222222"),
        );
        match step {
            0 => self.of_grid(step, "CallStarted", json!({ "startedBy": alice })),
            1 => self.of_grid(step, "CallParticipantAdded", self.presence(&alice, 4, "Alice Example")),
            2 => self.of_grid(step, "CallParticipantAdded", self.presence(&bob, 5, "Bob Example")),
            3 => self.callback(
                step,
                "ParticipantsUpdated",
                json!({ "sequenceNumber": 1, "participants": [
                    { "identifier": alice["communicationIdentifier"], "isMuted": false, "isOnHold": false },
                    { "identifier": bob["communicationIdentifier"], "isMuted": true, "isOnHold": false },
                ] }),
            ),
            RECORDING_ON => self.recording(step, "active"),
            RECORDING_OFF => self.recording(step, "inactive"),
            6 => self.callback(step, "CallDisconnected", json!({})),
            7 => self.of_grid(step, "CallParticipantRemoved", self.presence(&bob, 5, "Bob Example")),
            8 => self.of_grid(step, "CallParticipantRemoved", self.presence(&alice, 4, "Alice Example")),
            _ => self.of_grid(
                step,
                "CallEnded",
                json!({ "startedBy": alice, "durationOfCall": 61.5 }),
            ),
        }
    }

    fn presence(&self, person: &Value, kind: u16, name: &str) -> Value {
        json!({
            "user": person, "displayName": name, "participantId": self.guid(kind),
            "endpointType": "acs", "userAgent": AGENT,
            "startedBy": self::person("8:acs:11111111-1111-4111-8111-111111111111_0000000a-alice"),
        })
    }

    fn of_grid(&self, step: usize, name: &str, more: Value) -> Value {
        let mut event = json!({
            "id": self.id(step), "topic": TOPIC, "subject": format!("call/{}", self.server_call_id()),
            "eventType": format!("Microsoft.Communication.{name}"), "eventTime": format!("{}Z", self.time()),
            "dataVersion": "1.0", "metadataVersion": "1",
            "data": { "serverCallId": self.server_call_id(), "correlationId": self.correlation(), "isTwoParty": false,
                      "group": { "id": "33333333-3333-4333-8333-333333333333" } },
        });
        merge(&mut event["data"], more);
        event
    }

    fn callback(&self, step: usize, name: &str, more: Value) -> Value {
        let leg = self.guid(6);
        let source = format!("calling/callConnections/{leg}");
        let mut event = json!({
            "id": self.id(step), "source": source, "subject": source, "type": format!("Microsoft.Communication.{name}"),
            "time": format!("{}+00:00", self.time()), "specversion": "1.0", "datacontenttype": "application/json",
            "data": { "version": "2025-06-15", "serverCallId": self.server_call_id(), "correlationId": self.correlation(),
                      "callConnectionId": leg, "resultInformation": { "code": 200, "subCode": 0, "message": "" } },
        });
        merge(&mut event["data"], more);
        event
    }

    fn recording(&self, step: usize, state: &str) -> Value {
        self.callback(
            step,
            "RecordingStateChanged",
            json!({
                "recordingId": self.recording_id(), "state": state, "recordingKind": "teams",
                "startDateTime": format!("{}+00:00", self.time()), "callConnectionId": self.guid(7),
            }),
        )
    }
}

fn person(raw_id: &str) -> Value {
    let identifier = match raw_id.strip_prefix("8:orgid:") {
        Some(user_id) => {
            json!({ "kind": "microsoftTeamsUser", "rawId": raw_id, "microsoftTeamsUser": { "userId": user_id } })
        }
        None => {
            json!({ "kind": "communicationUser", "rawId": raw_id, "communicationUser": { "id": raw_id } })
        }
    };
    json!({ "communicationIdentifier": identifier, "role": "Attendee" })
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

/// Simulated calls, of which `width` go on at the same time.
#[derive(Clone, Debug)]
pub struct Calls {
    salt: u32,
    width: u64,
    steps: Vec<(Endpoint, Template)>,
}

impl Calls {
    /// Calls that were never posted before.
    pub fn new(width: u64) -> Self {
        let mark = EventMark::of_templates();
        let words = mark.words();
        let steps = (0..STEPS as usize).map(|step| {
            let event = mark.event(step);
            let endpoint = if event.get("eventType").is_some() {
                Endpoint::EventGrid
            } else {
                Endpoint::CallAutomation
            };
            (endpoint, Template::of(event.to_string().as_bytes(), &words))
        });
        Self { salt: rand::random(), width, steps: steps.collect() }
    }

    /// One call with the values of the templates, a delivery for each event.
    pub fn template_bodies() -> Vec<(Endpoint, Vec<u8>)> {
        let calls = Self::new(1);
        let whole = |(endpoint, template): (Endpoint, Template)| {
            let mut body = Vec::new();
            template.fill_in(&EventMark::of_templates().words(), &mut body);
            (endpoint, [b"[", body.as_slice(), b"]"].concat())
        };
        calls.steps.into_iter().map(whole).collect()
    }

    /// Which step of which call the event with this number is.
    pub fn place(&self, number: u64) -> (usize, u64) {
        let (round, within) = (number / (self.width * STEPS), number % (self.width * STEPS));
        let (step, lane) = (within / self.width, within % self.width);
        (step as usize, round * self.width + lane)
    }

    pub fn mark(&self, number: u64, at: DateTime<Utc>) -> EventMark {
        let (_, call) = self.place(number);
        EventMark { salt: self.salt, call, event: number, at }
    }

    /// The body of a delivery with one event, and its endpoint.
    pub fn body(&self, number: u64, at: DateTime<Utc>) -> (Endpoint, Vec<u8>) {
        self.batch(number, 1, at)
    }

    /// The body of a delivery of several events in a row, which must be of one step.
    pub fn batch(&self, number: u64, events: u64, at: DateTime<Utc>) -> (Endpoint, Vec<u8>) {
        let (step, _) = self.place(number);
        let Some((endpoint, template)) = self.steps.get(step) else {
            return (Endpoint::EventGrid, Vec::new());
        };
        let mut body = Vec::with_capacity((template.len() + 1) * events as usize + 1);
        for number in number..number + events {
            body.push(if body.is_empty() { b'[' } else { b',' });
            template.fill_in(&self.mark(number, at).words(), &mut body);
        }
        body.push(b']');
        (*endpoint, body)
    }

    /// Bytes of an event, over all steps.
    pub fn mean_size(&self) -> usize {
        self.steps.iter().map(|(_, it)| it.len()).sum::<usize>() / self.steps.len()
    }
}
