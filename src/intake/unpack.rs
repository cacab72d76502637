//! From the bytes of a delivery to the messages that stand for it on the log.
//!
//! Everything that costs time is here, and nothing that waits: a large body is unpacked beside the
//! threads that answer.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderValue, header};
use chrono::{DateTime, Utc};
use metrics::counter;

use super::authenticate::Credential;
use super::delivery::{Contents, Delivery, Door, Normalized, Taken, Unreadable, take_apart};
use super::handshake::Handshake;
use crate::config::{Source, SourceKind};
use crate::stream::{EventMessage, MessageError, Provenance, QuarantineMessage, WireMessage};
use crate::telemetry::names;

/// Where a delivery came in, and when.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'a> {
    /// The configured name of the source.
    pub name: &'a str,
    pub source: &'a Source,
    /// What it was believed by; only a handshake needs none.
    pub credential: Option<&'a Credential>,
    pub received: DateTime<Utc>,
}

/// What a delivery holds, ready for the road.
pub(super) enum Unpacked {
    Handshake(Handshake),
    Events(Parcel),
}

/// The messages of one delivery.
#[derive(Default)]
pub(super) struct Parcel {
    pub messages: Vec<WireMessage>,
    pub tally: Tally,
}

/// What there is to count and to say, once the messages are durable.
#[derive(Default)]
pub(super) struct Tally {
    by_type: BTreeMap<&'static str, u64>,
    quarantined: BTreeMap<&'static str, u64>,
    ends_subscription: bool,
}

impl Tally {
    /// Every event, understood or not.
    pub fn events(&self) -> u64 {
        self.by_type.values().sum::<u64>() + self.quarantined()
    }

    /// Those that were not understood.
    pub fn quarantined(&self) -> u64 {
        self.quarantined.values().sum()
    }

    /// Counts them all, and says what somebody should hear.
    pub fn tell(&self, name: &str) {
        for (statement, number) in &self.by_type {
            counter!(names::EVENTS, "source" => name.to_owned(), "type" => *statement)
                .increment(*number);
        }
        for (reason, number) in &self.quarantined {
            counter!(names::QUARANTINED, "source" => name.to_owned(), "reason" => *reason)
                .increment(*number);
        }
        if self.ends_subscription {
            tracing::warn!(
                source.name = name,
                "the event grid subscription of the source {name} was deleted: nothing will come any more"
            );
        }
    }
}

/// Takes a delivery apart and writes its messages.
///
/// # Errors
///
/// An event cannot be written, which none of ours can cause.
pub(super) fn unpack(
    arrival: Arrival<'_>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Unpacked, MessageError> {
    let taken = match open(arrival, headers, body) {
        Contents::Handshake(handshake) => return Ok(Unpacked::Handshake(handshake)),
        Contents::Events(taken) => taken,
    };
    let mut parcel = Parcel::default();
    let tally = &mut parcel.tally;
    for taken in taken {
        let wire = match taken {
            Taken::Event(normalized) => {
                *tally
                    .by_type
                    .entry(normalized.event.statement.name())
                    .or_default() += 1;
                tally.ends_subscription |= normalized.ends_subscription();
                event_message(arrival, *normalized).to_wire()
            }
            Taken::Unreadable(unreadable) => {
                *tally
                    .quarantined
                    .entry(unreadable.reason.code())
                    .or_default() += 1;
                quarantine_message(arrival, unreadable).to_wire()
            }
        };
        parcel.messages.push(wire?);
    }
    Ok(Unpacked::Events(parcel))
}

fn open(arrival: Arrival<'_>, headers: &HeaderMap, body: &[u8]) -> Contents {
    // A header may hold any byte above the control characters; what is no UTF-8 is told as such.
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let content_type = headers.get(header::CONTENT_TYPE).map(text);
    let ce: Vec<(String, String)> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("ce-"))
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect();
    let door = Door {
        kind: arrival.source.kind,
        source: arrival.name,
        resource_ids: &arrival.source.resource_ids,
    };
    let delivery = Delivery {
        content_type: content_type.as_deref(),
        headers: &ce,
        body,
    };
    take_apart(&door, &delivery)
}

fn event_message(arrival: Arrival<'_>, normalized: Normalized) -> EventMessage {
    EventMessage {
        tenant: arrival.source.tenant.clone(),
        provenance: match arrival.source.kind {
            SourceKind::EventGrid => Provenance::EventGrid,
            SourceKind::CallAutomation => Provenance::CallAutomation,
        },
        source: arrival.name.to_owned(),
        credential: arrival.credential.map(Credential::label),
        ce_source: normalized.ce_source,
        ce_id: normalized.ce_id,
        ce_time: normalized.ce_time,
        received: arrival.received,
        sha256: normalized.sha256,
        content: normalized.content,
        original: normalized.original,
        event: normalized.event,
    }
}

fn quarantine_message(arrival: Arrival<'_>, unreadable: Unreadable) -> QuarantineMessage {
    QuarantineMessage {
        tenant: arrival.source.tenant.clone(),
        source: arrival.name.to_owned(),
        credential: arrival.credential.map(Credential::label),
        reason: unreadable.reason.code().to_owned(),
        detail: unreadable.reason.to_string(),
        pointer: unreadable.reason.pointer().map(str::to_owned),
        content: unreadable.content,
        content_type: unreadable.content_type,
        size: unreadable.size as u64,
        sha256: unreadable.sha256,
        redacted: unreadable.redacted,
        received: arrival.received,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KeyHash, Settings};

    fn unpacked(headers: &[(&'static str, &[u8])], body: &[u8]) -> Parcel {
        let toml = "[sources.s]\nkind = \"call-automation\"\ntenant = \"contoso\"";
        let source = Settings::from_toml(toml)
            .unwrap()
            .sources
            .remove("s")
            .unwrap();
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    axum::http::HeaderName::from_static(name),
                    HeaderValue::from_bytes(value).unwrap(),
                )
            })
            .collect();
        let arrival = Arrival {
            name: "s",
            source: &source,
            credential: Some(&Credential::Key(KeyHash::of("key"))),
            received: DateTime::default(),
        };
        match unpack(arrival, &headers, body).unwrap() {
            Unpacked::Events(parcel) => parcel,
            Unpacked::Handshake(_) => panic!("a handshake"),
        }
    }

    fn ids(parcel: &Parcel) -> Vec<&str> {
        let ids = parcel.messages.iter();
        ids.map(|message| message.header("ce_id").unwrap())
            .collect()
    }

    #[test]
    fn a_delivery_is_told_by_what_it_held() {
        let parcel = unpacked(
            &[],
            br#"[{"id":"1","type":"Microsoft.Communication.CallConnected","source":"s"},{"id":"2","type":"Microsoft.EventGrid.SubscriptionDeletedEvent","source":"s"},3]"#,
        );
        assert_eq!(parcel.messages.len(), 3);
        assert_eq!((parcel.tally.events(), parcel.tally.quarantined()), (3, 1));
        assert!(parcel.tally.ends_subscription);
        let label = KeyHash::of("key").label();
        for message in &parcel.messages {
            assert_eq!(message.header("onrecord_credential"), Some(&*label));
        }
        let nothing = unpacked(&[], b"[]");
        assert_eq!((nothing.messages.len(), nothing.tally.events()), (0, 0));
    }

    #[test]
    fn a_header_beyond_ascii_is_not_lost() {
        let parcel = unpacked(
            &[
                ("ce-type", b"Microsoft.Communication.CallConnected"),
                ("ce-id", "Jürgen".as_bytes()),
                ("ce-source", b"half \xfc"),
            ],
            b"{}",
        );
        assert_eq!(ids(&parcel), ["Jürgen"]);
        let source = parcel.messages[0].header("ce_source");
        assert_eq!(source, Some("half \u{fffd}"));
    }

    #[test]
    fn broken_bodies_of_other_envelopes_are_other_rows() {
        let broken = |id: &'static [u8]| {
            unpacked(
                &[
                    ("ce-type", b"Microsoft.Communication.CallConnected"),
                    ("ce-id", id),
                ],
                b"{\"a\":",
            )
        };
        let (one, other, again) = (broken(b"1"), broken(b"2"), broken(b"1"));
        assert_ne!(ids(&one), ids(&other));
        assert_eq!(ids(&one), ids(&again));
    }
}
