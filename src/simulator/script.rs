//! One simulated call on paper: what is posted when, and what a listener must hear of it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::chance::Chance;
use crate::domain::alias::Anchor;
use crate::domain::fact::CaptureType;
use crate::domain::indication::IndicationState;
use crate::domain::instant::Millis;

/// A call, whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// Counts from 0 within a run.
    pub number: u64,
    /// What sort of call it is, for people.
    pub title: &'static str,
    /// The call's public id: the correlationId, if anybody states it, else that of its serverCallId.
    pub public_id: String,
    /// Everything under which a notice or an entry may name it.
    pub anchors: BTreeSet<Anchor>,
    /// In the order of posting.
    pub deliveries: Vec<Delivery>,
    /// What a listener must hear, in this order for each type.
    pub changes: Vec<Change>,
    /// Milliseconds from the beginning of the call to its end.
    pub length: Millis,
}

/// Where a delivery is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    EventGrid,
    CallAutomation,
    /// The report of a client, with a subscriber token for this raw id.
    Reports {
        raw_id: String,
    },
    /// What a client says became of notices, with the same token.
    Acknowledgements {
        raw_id: String,
    },
}

/// What the items of an acknowledgement are called among events. They become lines about notices,
/// not entries.
pub const ACKNOWLEDGEMENT: &str = "onrecord.acknowledgement";

/// Names a delivery within its script.
pub type DeliveryId = usize;

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    pub id: DeliveryId,
    pub door: Door,
    pub wrap: Wrap,
    pub events: Vec<SimulatedEvent>,
    /// When it is posted: milliseconds after the beginning of the call.
    pub at: Millis,
    /// Deliveries of an act are posted only after all of the acts before have been answered, so
    /// that what decides a level cannot be overtaken by what ends it. Those of no act are posted
    /// at their time.
    pub act: Option<u32>,
    /// It comes again, so many milliseconds after its answer.
    pub again: Option<Millis>,
}

/// How events become a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrap {
    /// Event Grid schema: always an array.
    EventGridSchema,
    /// One CloudEvent, structured.
    CloudEvent,
    /// An array of CloudEvents under their own content type.
    CloudEventBatch,
    /// One CloudEvent whose envelope is in the headers.
    CloudEventBinary,
    /// An array of CloudEvents, as Call Automation posts them.
    Callbacks,
    /// One CloudEvent, as older callbacks were.
    BareCallback,
    /// The body of a report.
    Report,
    /// A batch of acknowledgements.
    Acknowledgements,
}

/// One event of a delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedEvent {
    /// The topic, CloudEvents source, or reporter, as law 4 knows it.
    pub source: String,
    pub source_type: String,
    pub id: String,
    pub body: Value,
    /// Whether a change that must be heard may rest on it.
    pub decides: bool,
}

/// A change of a level.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub capture: CaptureType,
    pub state: IndicationState,
    /// What makes it happen.
    pub cause: Cause,
}

/// What makes a change happen, and with that, when it is due.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// The first of these deliveries to arrive. The change is announced.
    First(Vec<DeliveryId>),
    /// The last of these to arrive. The change is announced.
    Last(Vec<DeliveryId>),
    /// Clients say off: it is believed, and announced, when none of them has said otherwise for
    /// the bridge of the evidence rules after the last of these.
    Settled(Vec<DeliveryId>),
    /// A client says off and soon on again. Neither is heard, unless so much time passes between
    /// these two that the off is believed.
    Flapped { off: DeliveryId, on: DeliveryId },
    /// The call ends by these. What is on goes off, announced or not.
    CallOver(Vec<DeliveryId>),
}

/// The name of an event, to find it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventName {
    pub source: String,
    pub source_type: String,
    pub id: String,
}

/// A request without address and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub content_type: &'static str,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl SimulatedEvent {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> EventName {
        EventName {
            source: self.source.clone(),
            source_type: self.source_type.clone(),
            id: self.id.clone(),
        }
    }
}

impl Script {
    /// Takes up to `most` events out that no change rests on, and names them; a delivery that is
    /// empty then is not posted.
    pub fn keep_back(&mut self, most: usize, chance: &mut Chance) -> Vec<EventName> {
        let mut kept_back = Vec::new();
        while kept_back.len() < most {
            let candidates: Vec<(usize, usize)> = self
                .deliveries
                .iter()
                .enumerate()
                .flat_map(|(at, delivery)| {
                    let events = delivery.events.iter().enumerate();
                    events
                        .filter(|(_, event)| !event.decides)
                        .map(move |(index, _)| (at, index))
                })
                .collect();
            let Some(&(at, index)) = chance.any_of(&candidates) else {
                break;
            };
            let Some(delivery) = self.deliveries.get_mut(at) else {
                break;
            };
            kept_back.push(delivery.events.remove(index).name());
        }
        self.deliveries
            .retain(|delivery| !delivery.events.is_empty());
        kept_back
    }
}

impl Door {
    /// Whose subscriber token opens it, if one does.
    #[must_use]
    pub fn raw_id(&self) -> Option<&str> {
        match self {
            Self::EventGrid | Self::CallAutomation => None,
            Self::Reports { raw_id } | Self::Acknowledgements { raw_id } => Some(raw_id),
        }
    }
}

impl Delivery {
    /// The request that it is. Every wrap but the arrays holds one event.
    #[must_use]
    pub fn request(&self) -> Request {
        let first = || self.events.first().map(|event| &event.body);
        let one = || first().map_or_else(String::new, Value::to_string);
        let all = || {
            let bodies: Vec<String> = self
                .events
                .iter()
                .map(|event| event.body.to_string())
                .collect();
            format!("[{}]", bodies.join(","))
        };
        let notification = |extra: &[(&str, &str)]| {
            let usual = [
                ("aeg-event-type", "Notification"),
                ("aeg-subscription-name", "SIMULATED-CALLS"),
                ("aeg-delivery-count", "0"),
            ];
            let named = usual.iter().chain(extra);
            named
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        match self.wrap {
            Wrap::EventGridSchema => Request {
                content_type: "application/json; charset=utf-8",
                headers: notification(&[
                    ("aeg-data-version", "1.0"),
                    ("aeg-metadata-version", "1"),
                ]),
                body: all(),
            },
            Wrap::CloudEvent => Request {
                content_type: "application/cloudevents+json; charset=utf-8",
                headers: notification(&[("aeg-metadata-version", "1.0")]),
                body: one(),
            },
            Wrap::CloudEventBatch => Request {
                content_type: "application/cloudevents-batch+json; charset=utf-8",
                headers: notification(&[("aeg-metadata-version", "1.0")]),
                body: all(),
            },
            Wrap::CloudEventBinary => {
                let mut headers: Vec<(String, String)> =
                    notification(&[("aeg-metadata-version", "1.0")]);
                let members = first().and_then(Value::as_object).into_iter().flatten();
                for (name, value) in members {
                    if let Some(text) = value.as_str() {
                        headers.push((format!("ce-{name}"), text.to_owned()));
                    }
                }
                let data = first().and_then(|body| body.get("data"));
                Request {
                    content_type: "application/json",
                    headers,
                    body: data.map_or_else(String::new, Value::to_string),
                }
            }
            Wrap::Callbacks => Request {
                content_type: "application/json",
                headers: Vec::new(),
                body: with_escaped_offset(all()),
            },
            Wrap::BareCallback => Request {
                content_type: "application/json",
                headers: Vec::new(),
                body: one(),
            },
            Wrap::Report => Request {
                content_type: "application/json",
                headers: Vec::new(),
                body: one(),
            },
            Wrap::Acknowledgements => Request {
                content_type: "application/json",
                headers: Vec::new(),
                body: all(),
            },
        }
    }
}

/// Callbacks write the plus of a time's offset as an escape.
fn with_escaped_offset(body: String) -> String {
    body.replace("+00:00\"", "\\u002B00:00\"")
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

    fn delivery(wrap: Wrap, events: Vec<SimulatedEvent>) -> Delivery {
        Delivery {
            id: 0,
            door: Door::EventGrid,
            wrap,
            events,
            at: 0,
            act: None,
            again: None,
        }
    }

    #[test]
    fn each_wrap_is_a_form_of_the_same_events() {
        let two = || vec![event("1", false), event("2", false)];
        for wrap in [
            Wrap::EventGridSchema,
            Wrap::CloudEventBatch,
            Wrap::Callbacks,
            Wrap::Acknowledgements,
        ] {
            let read: Vec<Value> =
                serde_json::from_str(&delivery(wrap, two()).request().body).unwrap();
            assert_eq!(read, [event("1", false).body, event("2", false).body]);
        }
        for wrap in [Wrap::CloudEvent, Wrap::BareCallback, Wrap::Report] {
            let read: Value = serde_json::from_str(&delivery(wrap, two()).request().body).unwrap();
            assert_eq!(read, event("1", false).body);
        }
        let binary = delivery(Wrap::CloudEventBinary, two()).request();
        assert_eq!(binary.body, r#"{"a":1}"#);
        assert!(
            binary
                .headers
                .contains(&("ce-id".to_owned(), "1".to_owned()))
        );
        let callbacks = delivery(Wrap::Callbacks, two()).request().body;
        assert!(callbacks.contains("1234567\\u002B00:00"), "{callbacks}");
    }

    #[test]
    fn what_is_kept_back_is_named_and_decides_nothing() {
        let deliveries = vec![
            delivery(
                Wrap::EventGridSchema,
                vec![event("1", false), event("2", true)],
            ),
            delivery(Wrap::EventGridSchema, vec![event("3", false)]),
            delivery(Wrap::EventGridSchema, vec![event("4", true)]),
        ];
        let mut script = Script {
            number: 0,
            title: "",
            public_id: String::new(),
            anchors: BTreeSet::new(),
            deliveries,
            changes: Vec::new(),
            length: 0,
        };
        let kept_back = script.keep_back(9, &mut Chance::new(1, "keep back", 0));
        let mut ids: Vec<&str> = kept_back.iter().map(|name| name.id.as_str()).collect();
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
