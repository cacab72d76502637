//! Parses the body of a delivery into its elements.
//!
//! # Why
//!
//! Nothing that is authenticated is lost (`NOTHING_LOST`). So each element becomes either an event or
//! an entry for quarantine with its reason, and one bad element does not affect the others.

use onrecord_evidence::event::ids::Digest;
use onrecord_json::{JsonIndex, REDACTED_MARK, WHITESPACE, scrub_unstructured};

use super::batch::{BatchElement, split_batch};
use super::cloudevents_binary;
use super::delivery_source::DeliverySource;
use super::element::{NormalizedElement, parse_element};
use super::envelope::{event_type, is_about_calls};
use crate::config::SourceKind;
use crate::ingest::handshake::{Handshake, is_validation};
use crate::ingest::quarantine::QuarantineReason;
use crate::ingest::redact::ElementError;

/// The body of a delivery and its relevant headers.
#[derive(Clone, Copy)]
pub struct RawDelivery<'a> {
    /// The header `Content-Type`.
    pub content_type: Option<&'a str>,
    /// All headers that begin with `ce-`; others are ignored.
    pub headers: &'a [(String, String)],
    /// The bytes as received.
    pub body: &'a [u8],
}

/// The contents of a delivery.
#[derive(Debug)]
#[must_use = "contents that are not kept are lost"]
pub enum DeliveryContents {
    /// Event Grid validates its subscription; there is nothing to keep.
    Handshake(Handshake),
    /// The elements, in the order of the delivery; none for an empty array.
    Events(Vec<ParsedElement>),
}

/// One element of a delivery.
#[derive(Debug)]
#[must_use = "an element that is not kept is lost"]
pub enum ParsedElement {
    /// An event, about calls or not.
    Event(Box<NormalizedElement>),
    /// An element for quarantine.
    Quarantined(QuarantinedElement),
}

/// An element that cannot be parsed, redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantinedElement {
    /// Why it cannot be parsed.
    pub reason: QuarantineReason,
    /// The redacted content; `None` if the body is not text. In binary mode it is the structured
    /// form, with the body as a string if it is not JSON.
    pub content: Option<String>,
    /// The hash of the bytes as received.
    pub sha256: Digest,
    /// The number of bytes as received.
    pub size: usize,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// The JSON pointers of the redacted values. Content that is not JSON has none: it contains
    /// `[redacted]` in their place.
    pub redacted: Vec<String>,
}

/// Parses a delivery.
pub fn parse_delivery(source: &DeliverySource<'_>, delivery: &RawDelivery<'_>) -> DeliveryContents {
    let parser = DeliveryParser { source, delivery };
    let text = delivered_text(delivery.body);
    let body = text.map(split_batch);
    let is_structured = matches!(&body, Some(Ok(elements)) if contains_envelope(elements));
    if cloudevents_binary::event_type(delivery.headers).is_some() && !is_structured {
        return DeliveryContents::Events(vec![parser.binary(text)]);
    }
    let reason = match body {
        Some(Ok(elements)) => return parser.elements(elements),
        Some(Err(_)) if text.is_some_and(is_empty) => QuarantineReason::Empty,
        Some(Err(reason)) => reason,
        None => QuarantineReason::NotText,
    };
    DeliveryContents::Events(vec![parser.whole_body(text, reason)])
}

/// The handshake of a delivery; `None`: it is anything else, which is neither parsed nor kept.
pub(crate) fn find_handshake(source: &DeliverySource<'_>, body: &[u8]) -> Option<Handshake> {
    let elements = split_batch(delivered_text(body)?).ok()?;
    let [BatchElement::Value(only)] = elements.as_slice() else {
        return None;
    };
    is_handshake(source, only).then(|| Handshake::of(only.root()).ok()).flatten()
}

/// The text of a body. A byte order mark is not part of JSON, but some senders write it.
fn delivered_text(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    Some(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn is_handshake(source: &DeliverySource<'_>, index: &JsonIndex<'_>) -> bool {
    source.kind == SourceKind::EventGrid
        && event_type(index.root()).is_ok_and(|event_type| is_validation(&event_type))
}

/// Whether the body contains its envelope. Then the `ce-` headers are ignored.
fn contains_envelope(elements: &[BatchElement<'_>]) -> bool {
    matches!(elements.first(), Some(BatchElement::Value(index)) if event_type(index.root()).is_ok())
}

struct DeliveryParser<'a> {
    source: &'a DeliverySource<'a>,
    delivery: &'a RawDelivery<'a>,
}

impl DeliveryParser<'_> {
    fn elements(&self, elements: Vec<BatchElement<'_>>) -> DeliveryContents {
        if let [BatchElement::Value(only)] = elements.as_slice()
            && is_handshake(self.source, only)
        {
            return match Handshake::of(only.root()) {
                Ok(handshake) => DeliveryContents::Handshake(handshake),
                Err(reason) => {
                    let error = ElementError::of_unknown(only, reason);
                    let received = only.text().as_bytes();
                    DeliveryContents::Events(vec![self.quarantined(error, received)])
                }
            };
        }
        let mut is_open = false;
        let parsed = elements.into_iter().map(|element| match element {
            BatchElement::Value(index) => self.event(&index, index.text().as_bytes()),
            BatchElement::Broken { text, error } => self.broken(text, error.into(), &mut is_open),
        });
        DeliveryContents::Events(parsed.collect())
    }

    /// An element that is not JSON. Its end was found by brackets only, so a value whose end is
    /// uncertain may continue in the next broken element: then nothing of that one is kept.
    fn broken(&self, text: &str, reason: QuarantineReason, is_open: &mut bool) -> ParsedElement {
        let scrubbed = scrub_unstructured(text);
        let content = if *is_open { REDACTED_MARK.to_owned() } else { scrubbed.text };
        *is_open |= scrubbed.is_open;
        let content = without_nul(Some(text)).map(|_| content);
        self.quarantined(ElementError::of_scrubbed(content, reason), text.as_bytes())
    }

    /// An event whose envelope is in the headers.
    fn binary(&self, text: Option<&str>) -> ParsedElement {
        let json = text.map(JsonIndex::parse);
        let data = match (&json, text) {
            (Some(Ok(index)), _) => Some(index.text()),
            (_, Some(text)) if is_empty(text) => None,
            // What is not JSON is not copied.
            _ => Some("null"),
        };
        let event = self.structured(data);
        let event = match JsonIndex::parse(&event) {
            Ok(event) => event,
            // The envelope adds one level to the depth of the body.
            Err(error) => return self.broken_binary(text, error.into()),
        };
        let about_calls = event_type(event.root())
            .is_ok_and(|event_type| is_about_calls(self.source.kind, &event_type));
        match json {
            Some(Err(error)) if about_calls && data.is_some() => {
                self.broken_binary(text, error.into())
            }
            None if about_calls => self.broken_binary(None, QuarantineReason::NotText),
            _ => self.event(&event, self.delivery.body),
        }
    }

    fn structured(&self, data: Option<&str>) -> String {
        cloudevents_binary::structured(self.delivery.headers, self.delivery.content_type, data)
    }

    /// An event in binary mode whose body cannot be parsed: its envelope is kept, with the redacted
    /// body.
    fn broken_binary(&self, text: Option<&str>, reason: QuarantineReason) -> ParsedElement {
        let envelope = self.structured(None);
        let text = without_nul(text);
        let reason = if text.is_some() { reason } else { QuarantineReason::NotText };
        let Ok(envelope) = JsonIndex::parse(&envelope) else {
            return self.whole_body(text, reason);
        };
        let mut error = ElementError::of_unknown(&envelope, reason);
        if let Some(text) = text {
            let scrubbed = scrub_unstructured(text).text;
            error.content =
                error.content.map(|event| cloudevents_binary::with_text(&event, &scrubbed));
        }
        self.quarantined(error, self.delivery.body)
    }

    /// A body that cannot be split into elements.
    fn whole_body(&self, text: Option<&str>, reason: QuarantineReason) -> ParsedElement {
        let content = without_nul(text).map(|text| scrub_unstructured(text).text);
        self.quarantined(ElementError::of_scrubbed(content, reason), self.delivery.body)
    }

    fn event(&self, index: &JsonIndex<'_>, received: &[u8]) -> ParsedElement {
        match parse_element(self.source, index, received) {
            Ok(normalized) => ParsedElement::Event(Box::new(normalized)),
            Err(error) => self.quarantined(error, received),
        }
    }

    fn quarantined(&self, error: ElementError, received: &[u8]) -> ParsedElement {
        ParsedElement::Quarantined(QuarantinedElement {
            reason: error.reason,
            content: error.content,
            sha256: Digest::of(received),
            size: received.len(),
            content_type: self.delivery.content_type.map(str::to_owned),
            redacted: error.redacted,
        })
    }
}

/// The text, unless it contains NUL: text has none, and between letters it would hide names.
fn without_nul(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.contains('\0'))
}

fn is_empty(text: &str) -> bool {
    text.trim_matches(WHITESPACE).is_empty()
}

#[cfg(test)]
mod tests;
