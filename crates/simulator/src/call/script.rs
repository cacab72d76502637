//! The script of one simulated call: which requests are posted when, and which changes an observer
//! must receive.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::rng::SeededRng;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::CaptureType;
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::indication::IndicationState;

/// The script of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct CallScript {
    /// The number of the call in its run, from 0.
    pub number: u64,
    /// The type of the call, for display.
    pub title: &'static str,
    /// The public id of the call: its correlationId if any event states it, else the id of its
    /// serverCallId.
    pub public_id: String,
    /// All ids under which a notice or a ledger entry may name the call.
    pub anchors: BTreeSet<Anchor>,
    /// In the order in which they are posted.
    pub deliveries: Vec<SimulatedDelivery>,
    /// The changes that an observer must receive, in this order for each type of capture.
    pub changes: Vec<ExpectedChange>,
    /// Milliseconds from the start of the call to its end.
    pub length: Millis,
}

/// The endpoint to which a delivery is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryTarget {
    EventGrid,
    CallAutomation,
    /// The reports of a client, with a subscriber token for this raw id.
    Reports(String),
    /// The acknowledgements of a client, with the same token.
    Acknowledgements(String),
}

/// The event type of acknowledgements. They become notice facts, not ledger entries.
pub const ACKNOWLEDGEMENT: &str = "onrecord.acknowledgement";

/// The number of a delivery in its script.
pub type DeliveryNumber = usize;

/// One delivery: the events of one request, and when it is posted.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedDelivery {
    pub id: DeliveryNumber,
    pub target: DeliveryTarget,
    pub body_format: BodyFormat,
    pub events: Vec<SimulatedEvent>,
    /// When the delivery is posted: milliseconds after the start of the call.
    pub at: Millis,
    /// Deliveries of a phase are posted only after all deliveries of earlier phases have been
    /// answered, so that the delivery that sets a level cannot be overtaken by the one that ends
    /// it. Deliveries without a phase are posted at their time.
    pub phase: Option<u32>,
    /// The delivery is repeated, this many milliseconds after its answer.
    pub repeat_after: Option<Millis>,
}

/// The format of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// An array of events in the Event Grid schema.
    EventGridSchema,
    /// One CloudEvent in structured mode.
    CloudEvent,
    /// An array of CloudEvents with the batch content type.
    CloudEventBatch,
    /// One CloudEvent in binary mode: the envelope is in the headers.
    CloudEventBinary,
    /// An array of CloudEvents, as Call Automation posts them.
    CallbackArray,
    /// One CloudEvent, as older callbacks were.
    SingleCallback,
    /// One report of a client.
    Report,
    /// An array of acknowledgements.
    Acknowledgements,
}

/// One event of a delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedEvent {
    /// The topic, the CloudEvents source, or the reporter, as the service deduplicates by it
    /// (`ONCE`).
    pub source: String,
    pub source_type: String,
    pub id: String,
    pub body: Value,
    /// Whether an expected change may depend on the event.
    pub decides: bool,
}

/// A change of a level that an observer must receive.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedChange {
    pub capture_type: CaptureType,
    pub state: IndicationState,
    /// The deliveries that cause the change.
    pub trigger: ChangeTrigger,
}

/// What causes a change, and thereby when the change is due.
#[derive(Clone, Debug, PartialEq)]
pub enum ChangeTrigger {
    /// The first of these deliveries to arrive. The change is announced by a notice.
    FirstOf(Vec<DeliveryNumber>),
    /// The last of these deliveries to arrive. The change is announced by a notice.
    LastOf(Vec<DeliveryNumber>),
    /// Clients state off. The change takes effect, and is announced, when no client has stated
    /// anything else for the bridge of the evidence rules after the last of these deliveries.
    SettledOff(Vec<DeliveryNumber>),
    /// A client states off and soon on again. Neither is announced, unless the two are so far apart
    /// that the off takes effect.
    Flapped { off: DeliveryNumber, on: DeliveryNumber },
    /// These deliveries end the call. A level that is on goes off, announced or not.
    CallEnded(Vec<DeliveryNumber>),
}

/// What identifies an event in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedEventId {
    pub source: String,
    pub source_type: String,
    pub id: String,
}

/// A request without its address and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedRequest {
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl SimulatedEvent {
    /// The identity of the event.
    #[must_use]
    pub fn event_id(&self) -> SimulatedEventId {
        SimulatedEventId {
            source: self.source.clone(),
            source_type: self.source_type.clone(),
            id: self.id.clone(),
        }
    }
}

impl CallScript {
    /// Removes up to `most` events on which no expected change depends, and returns their
    /// identities. A delivery that becomes empty is not posted.
    pub fn withhold(&mut self, most: usize, rng: &mut SeededRng) -> Vec<SimulatedEventId> {
        let mut withheld = Vec::new();
        while withheld.len() < most {
            let mut candidates = Vec::new();
            for (at, delivery) in self.deliveries.iter().enumerate() {
                let events = delivery.events.iter().enumerate();
                let undeciding = events.filter(|(_, event)| !event.decides);
                candidates.extend(undeciding.map(|(index, _)| (at, index)));
            }
            let Some(&(at, index)) = rng.any_of(&candidates) else {
                break;
            };
            withheld.push(self.deliveries[at].events.remove(index).event_id());
        }
        self.deliveries.retain(|delivery| !delivery.events.is_empty());
        withheld
    }
}

impl DeliveryTarget {
    /// The raw id whose subscriber token the endpoint needs, if it needs one.
    #[must_use]
    pub fn raw_id(&self) -> Option<&str> {
        match self {
            Self::EventGrid | Self::CallAutomation => None,
            Self::Reports(raw_id) | Self::Acknowledgements(raw_id) => Some(raw_id),
        }
    }
}

impl SimulatedDelivery {
    /// A delivery of one event that is posted at once, outside a script.
    pub(crate) fn now(
        target: DeliveryTarget,
        body_format: BodyFormat,
        event: SimulatedEvent,
    ) -> Self {
        let events = vec![event];
        Self { id: 0, target, body_format, events, at: 0, phase: None, repeat_after: None }
    }

    /// The request of the delivery. Every format but the arrays holds one event.
    #[must_use]
    pub fn request(&self) -> SimulatedRequest {
        let first = self.events.first().map(|event| &event.body);
        let text = |value: Option<&Value>| value.map(Value::to_string).unwrap_or_default();
        let all =
            || Value::from_iter(self.events.iter().map(|event| event.body.clone())).to_string();
        let json = "application/json";
        let (content_type, body) = match self.body_format {
            BodyFormat::EventGridSchema => ("application/json; charset=utf-8", all()),
            BodyFormat::CloudEvent => ("application/cloudevents+json; charset=utf-8", text(first)),
            BodyFormat::CloudEventBatch => {
                ("application/cloudevents-batch+json; charset=utf-8", all())
            }
            BodyFormat::CloudEventBinary => (json, text(first.and_then(|body| body.get("data")))),
            // Callbacks escape the plus sign of a time's offset.
            BodyFormat::CallbackArray => (json, all().replace("+00:00\"", "\\u002B00:00\"")),
            BodyFormat::SingleCallback | BodyFormat::Report => (json, text(first)),
            BodyFormat::Acknowledgements => (json, all()),
        };
        let mut named = vec![("content-type", content_type)];
        if self.target == DeliveryTarget::EventGrid {
            named.extend([
                ("aeg-event-type", "Notification"),
                ("aeg-subscription-name", "SIMULATED-CALLS"),
                ("aeg-delivery-count", "0"),
            ]);
            named.extend(match self.body_format {
                BodyFormat::EventGridSchema => {
                    vec![("aeg-data-version", "1.0"), ("aeg-metadata-version", "1")]
                }
                _ => vec![("aeg-metadata-version", "1.0")],
            });
        }
        let named = named.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut headers: Vec<(String, String)> = named.collect();
        if self.body_format == BodyFormat::CloudEventBinary {
            for (name, value) in first.and_then(Value::as_object).into_iter().flatten() {
                headers.extend(value.as_str().map(|text| (format!("ce-{name}"), text.to_owned())));
            }
        }
        SimulatedRequest { headers, body }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(id: &str, decides: bool) -> SimulatedEvent {
        SimulatedEvent {
            source: "s".to_owned(),
            source_type: "t".to_owned(),
            id: id.to_owned(),
            body: json!({ "id": id, "specversion": "1.0", "time": "2026-01-01T00:00:00.1234567+00:00", "data": { "a": 1 } }),
            decides,
        }
    }

    fn delivery(body_format: BodyFormat, events: Vec<SimulatedEvent>) -> SimulatedDelivery {
        SimulatedDelivery {
            id: 0,
            target: DeliveryTarget::EventGrid,
            body_format,
            events,
            at: 0,
            phase: None,
            repeat_after: None,
        }
    }

    #[test]
    fn each_format_holds_the_same_events() {
        let two = || vec![event("1", false), event("2", false)];
        for body_format in [
            BodyFormat::EventGridSchema,
            BodyFormat::CloudEventBatch,
            BodyFormat::CallbackArray,
            BodyFormat::Acknowledgements,
        ] {
            let read: Vec<Value> =
                serde_json::from_str(&delivery(body_format, two()).request().body).unwrap();
            assert_eq!(read, [event("1", false).body, event("2", false).body]);
        }
        for body_format in [BodyFormat::CloudEvent, BodyFormat::SingleCallback, BodyFormat::Report]
        {
            let read: Value =
                serde_json::from_str(&delivery(body_format, two()).request().body).unwrap();
            assert_eq!(read, event("1", false).body);
        }
        let binary = delivery(BodyFormat::CloudEventBinary, two()).request();
        assert_eq!(binary.body, r#"{"a":1}"#);
        assert!(binary.headers.contains(&("ce-id".to_owned(), "1".to_owned())));
        let callbacks = delivery(BodyFormat::CallbackArray, two()).request().body;
        assert!(callbacks.contains("1234567\\u002B00:00"), "{callbacks}");
    }

    #[test]
    fn no_expected_change_depends_on_a_withheld_event() {
        let deliveries = vec![
            delivery(BodyFormat::EventGridSchema, vec![event("1", false), event("2", true)]),
            delivery(BodyFormat::EventGridSchema, vec![event("3", false)]),
            delivery(BodyFormat::EventGridSchema, vec![event("4", true)]),
        ];
        let mut script = CallScript {
            number: 0,
            title: "",
            public_id: String::new(),
            anchors: BTreeSet::new(),
            deliveries,
            changes: Vec::new(),
            length: 0,
        };
        let withheld = script.withhold(9, &mut SeededRng::new(1, "withheld events", 0));
        let mut ids: Vec<&str> = withheld.iter().map(|event| event.id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["1", "3"]);
        let left: Vec<&str> = script
            .deliveries
            .iter()
            .flat_map(|delivery| &delivery.events)
            .map(|event| event.id.as_str())
            .collect();
        assert_eq!(left, ["2", "4"]);
    }
}
