//! Converts a delivery into the Kafka messages of its events.
//!
//! Nothing here waits, so a large body can be encoded on a blocking thread.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderValue, header};
use chrono::{DateTime, Utc};
use metrics::counter;

use super::decode::decoded_body::{BodyEncoding, DecodedBody};
use super::handshake::{Handshake, is_deletion};
use super::parse::delivery::{
    DeliveryContents, ParsedElement, QuarantinedElement, RawDelivery, parse_delivery,
};
use super::parse::delivery_source::DeliverySource;
use super::parse::element::NormalizedElement;
use super::redact::kept_header;
use super::seal::SealedBox;
use crate::config::{SealingKey, Source, SourceKind};
use crate::kafka::{EventMessage, MessageError, Provenance, QuarantineMessage, WireMessage};
use crate::telemetry::names;

/// The source and the time of a delivery.
#[derive(Clone, Copy)]
pub(crate) struct DeliveryContext<'a> {
    /// The configured name of the source.
    pub name: &'a str,
    pub source: &'a Source,
    /// The label of the sender's credential.
    pub credential: &'a str,
    pub received_at: DateTime<Utc>,
    /// The key to which what cannot be parsed is sealed.
    pub seal_to: Option<&'a SealingKey>,
}

/// A parsed delivery, ready to be published.
pub(crate) enum EncodedDelivery {
    Handshake(Handshake),
    Events(MessageBatch),
}

/// The messages of one delivery.
#[derive(Default)]
pub(crate) struct MessageBatch {
    pub messages: Vec<WireMessage>,
    pub counts: DeliveryCounts,
}

/// The counts of a delivery, which are recorded once its messages are durable.
#[derive(Default)]
pub(crate) struct DeliveryCounts {
    by_type: BTreeMap<&'static str, u64>,
    quarantined: BTreeMap<&'static str, u64>,
    /// Members that could not be read or stored as they are written.
    flagged: BTreeMap<&'static str, u64>,
    ends_subscription: bool,
}

impl DeliveryCounts {
    /// The number of elements.
    pub(crate) fn events(&self) -> u64 {
        self.by_type.values().sum::<u64>() + self.quarantined()
    }

    /// The number of elements in quarantine.
    pub(crate) fn quarantined(&self) -> u64 {
        self.quarantined.values().sum()
    }

    /// Records the metrics, and logs the deletion of the subscription.
    pub(crate) fn record(&self, name: &str) {
        for (statement, number) in &self.by_type {
            counter!(names::INGEST_EVENTS, "source" => name.to_owned(), "type" => *statement)
                .increment(*number);
        }
        for (reason, number) in &self.quarantined {
            counter!(names::INGEST_QUARANTINED, "source" => name.to_owned(), "reason" => *reason)
                .increment(*number);
        }
        for (reason, number) in &self.flagged {
            counter!(names::INGEST_FLAGGED_MEMBERS, "source" => name.to_owned(), "reason" => *reason)
                .increment(*number);
        }
        if self.ends_subscription {
            tracing::warn!(
                source.name = name,
                "the event grid subscription of the source {name} was deleted: it sends no more events"
            );
        }
    }
}

/// Parses a delivery and encodes its messages.
///
/// # Errors
///
/// [`MessageError`]: an event cannot be encoded.
pub(crate) fn encode_delivery(
    context: DeliveryContext<'_>,
    headers: &HeaderMap,
    body: DecodedBody<'_>,
) -> Result<EncodedDelivery, MessageError> {
    let encoding = body.encoding().clone();
    let elements = match parse(context, headers, body) {
        DeliveryContents::Handshake(handshake) => return Ok(EncodedDelivery::Handshake(handshake)),
        DeliveryContents::Events(elements) => elements,
    };
    let mut batch = MessageBatch::default();
    let counts = &mut batch.counts;
    for element in elements {
        let message = match element {
            ParsedElement::Event(normalized) => {
                *counts.by_type.entry(normalized.event.statement.name()).or_default() += 1;
                for member in &normalized.event.flagged {
                    *counts.flagged.entry(member.reason.name()).or_default() += 1;
                }
                counts.ends_subscription |= is_deletion(&normalized.event.source_type);
                event_message(context, &encoding, *normalized).to_wire()
            }
            ParsedElement::Quarantined(element) => {
                *counts.quarantined.entry(element.reason.code()).or_default() += 1;
                quarantine_message(context, *element).to_wire()
            }
        };
        batch.messages.push(message?);
    }
    Ok(EncodedDelivery::Events(batch))
}

fn parse(
    context: DeliveryContext<'_>,
    headers: &HeaderMap,
    body: DecodedBody<'_>,
) -> DeliveryContents {
    // A header may contain any byte above the control characters; invalid UTF-8 becomes U+FFFD.
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| kept_header(&text(value)));
    let ce: Vec<(String, String)> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("ce-"))
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect();
    let source = DeliverySource {
        kind: context.source.kind,
        name: context.name,
        resource_ids: &context.source.resource_ids,
        seal_to: context.seal_to,
    };
    let delivery = RawDelivery { content_type: content_type.as_deref(), headers: &ce, body };
    parse_delivery(&source, &delivery)
}

fn event_message(
    context: DeliveryContext<'_>,
    encoding: &BodyEncoding,
    normalized: NormalizedElement,
) -> EventMessage {
    EventMessage {
        tenant: context.source.tenant.clone(),
        provenance: match context.source.kind {
            SourceKind::EventGrid => Provenance::EventGrid,
            SourceKind::CallAutomation => Provenance::CallAutomation,
        },
        source: context.name.to_owned(),
        credential: Some(context.credential.to_owned()),
        ce_source: normalized.ce_source,
        ce_id: normalized.ce_id,
        ce_time: normalized.ce_time,
        received: context.received_at,
        sha256: normalized.sha256,
        content: normalized.content,
        original: normalized.original,
        content_coding: encoding.content_coding.clone(),
        charset: encoding.charset.clone(),
        event: normalized.event,
    }
}

fn quarantine_message(
    context: DeliveryContext<'_>,
    element: QuarantinedElement,
) -> QuarantineMessage {
    QuarantineMessage {
        tenant: context.source.tenant.clone(),
        source: context.name.to_owned(),
        credential: Some(context.credential.to_owned()),
        reason: element.reason.code().to_owned(),
        detail: element.reason.to_string(),
        pointer: element.reason.pointer().map(str::to_owned),
        content: element.content,
        sealed: element.sealed.map(SealedBox::into_bytes),
        content_type: element.content_type,
        content_coding: element.encoding.content_coding,
        charset: element.encoding.charset,
        size: element.size as u64,
        sha256: element.sha256,
        redacted: element.redacted,
        received: context.received_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn encoded(headers: &[(&'static str, &[u8])], body: &[u8]) -> MessageBatch {
        let toml = "[sources.s]\nkind = \"call-automation\"\ntenant = \"contoso\"";
        let source = Settings::from_toml(toml).unwrap().sources.remove("s").unwrap();
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (axum::http::HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
            })
            .collect();
        let context = DeliveryContext {
            name: "s",
            source: &source,
            credential: "label",
            received_at: DateTime::default(),
            seal_to: None,
        };
        match encode_delivery(context, &headers, DecodedBody::uncoded(body)).unwrap() {
            EncodedDelivery::Events(batch) => batch,
            EncodedDelivery::Handshake(_) => panic!("a handshake"),
        }
    }

    fn ids(batch: &MessageBatch) -> Vec<&str> {
        let ids = batch.messages.iter();
        ids.map(|message| message.header("ce_id").unwrap()).collect()
    }

    #[test]
    fn the_counts_and_credential_of_a_delivery() {
        let batch = encoded(
            &[],
            br#"[{"id":"1","type":"Microsoft.Communication.CallConnected","source":"s"},{"id":"2","type":"Microsoft.EventGrid.SubscriptionDeletedEvent","source":"s"},3]"#,
        );
        assert_eq!(batch.messages.len(), 3);
        assert_eq!((batch.counts.events(), batch.counts.quarantined()), (3, 1));
        assert!(batch.counts.ends_subscription);
        for message in &batch.messages {
            assert_eq!(message.header("onrecord_credential"), Some("label"));
        }
        let nothing = encoded(&[], b"[]");
        assert_eq!((nothing.messages.len(), nothing.counts.events()), (0, 0));
    }

    #[test]
    fn a_header_beyond_ascii_is_kept() {
        let batch = encoded(
            &[
                ("ce-type", b"Microsoft.Communication.CallConnected"),
                ("ce-id", "Jürgen".as_bytes()),
                ("ce-source", b"half \xfc"),
            ],
            b"{}",
        );
        assert_eq!(ids(&batch), ["Jürgen"]);
        let header = |name| batch.messages[0].header(name);
        assert_eq!(header("ce_source"), Some("half%20%EF%BF%BD"));
        assert_eq!(header("onrecord_source_verbatim"), Some("half \u{fffd}"));
    }

    #[test]
    fn broken_bodies_with_different_envelopes_have_different_ids() {
        let broken = |id: &'static [u8]| {
            encoded(
                &[("ce-type", b"Microsoft.Communication.CallConnected"), ("ce-id", id)],
                b"{\"a\":",
            )
        };
        let (one, other, again) = (broken(b"1"), broken(b"2"), broken(b"1"));
        assert_ne!(ids(&one), ids(&other));
        assert_eq!(ids(&one), ids(&again));
    }
}
