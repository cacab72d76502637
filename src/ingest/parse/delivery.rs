//! Parses the body of a delivery into its elements.
//!
//! # Why
//!
//! Nothing that is authenticated is lost (`NOTHING_LOST`). So each element becomes either an event or
//! an entry for quarantine with its reason, and one bad element does not affect the others.

use onrecord_evidence::event::ids::Digest;
use onrecord_json::JsonIndex;

use super::batch::{BatchElement, split_batch};
use super::cloudevents_binary;
use super::delivery_source::DeliverySource;
use super::element::{NormalizedElement, ReceivedBytes, parse_element};
use super::envelope::{event_type, is_about_calls};
use crate::config::SourceKind;
use crate::ingest::decode::decoded_body::{BodyEncoding, DecodedBody};
use crate::ingest::handshake::{Handshake, is_validation};
use crate::ingest::quarantine::{ParseResult, QuarantineReason};
use crate::ingest::redact::ElementError;
use crate::ingest::seal::{SealedBox, seal};

/// The body of a delivery and its relevant headers.
#[derive(Clone)]
pub struct RawDelivery<'a> {
    /// The header `Content-Type`.
    pub content_type: Option<&'a str>,
    /// All headers that begin with `ce-`; others are ignored.
    pub headers: &'a [(String, String)],
    /// The body.
    pub body: DecodedBody<'a>,
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
    Quarantined(Box<QuarantinedElement>),
}

/// An element that cannot be parsed, redacted and sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantinedElement {
    /// Why it cannot be parsed.
    pub reason: QuarantineReason,
    /// What of it is JSON, redacted; in binary mode the envelope, with `data` if that is JSON too.
    pub content: Option<String>,
    /// Its bytes, if the content is not all of it; `None` also without a key to seal them to.
    pub sealed: Option<SealedBox>,
    /// The hash of its bytes: as received, or of a part of a body that was encoded as decoded.
    pub sha256: Digest,
    /// The number of these bytes.
    pub size: usize,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// How the body was encoded.
    pub encoding: BodyEncoding,
    /// The JSON pointers of the redacted values.
    pub redacted: Vec<String>,
}

/// Parses a delivery.
pub fn parse_delivery(source: &DeliverySource<'_>, delivery: &RawDelivery<'_>) -> DeliveryContents {
    let parser = DeliveryParser { source, delivery };
    let text = delivery.body.text();
    let body = text.clone().and_then(split_batch);
    let is_structured = matches!(&body, Ok(elements) if contains_envelope(elements));
    if cloudevents_binary::states_type(delivery.headers) && !is_structured {
        return DeliveryContents::Events(vec![parser.binary(text)]);
    }
    let reason = match body {
        Ok(elements) => return parser.elements(elements),
        Err(_) if text.is_ok_and(str::is_empty) => QuarantineReason::Empty,
        Err(QuarantineReason::NotJson { at }) => {
            QuarantineReason::NotJson { at: at + delivery.body.text_start() }
        }
        Err(reason) => reason,
    };
    DeliveryContents::Events(vec![parser.whole_body(reason)])
}

/// The handshake of a delivery to a source of this kind; `None`: it is anything else, which is neither
/// parsed nor kept.
pub(crate) fn find_handshake(kind: SourceKind, body: &DecodedBody<'_>) -> Option<Handshake> {
    // The sender has no credential: why its body is no handshake is neither told nor kept.
    let elements = split_batch(body.text().ok()?).ok()?;
    let [BatchElement::Value(only)] = elements.as_slice() else {
        return None;
    };
    is_handshake(kind, only).then(|| Handshake::of(only.root()).ok()).flatten()
}

fn is_handshake(kind: SourceKind, index: &JsonIndex<'_>) -> bool {
    kind == SourceKind::EventGrid
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
            && is_handshake(self.source.kind, only)
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
        // The end of a broken element was found by brackets only. What seems to be an element after
        // it may be a part of it: then it is kept readable only if it is an event.
        let mut follows_broken = false;
        let parsed = elements.into_iter().map(|element| match element {
            BatchElement::Value(index) => {
                let received = index.text().as_bytes();
                self.event(&index, received, follows_broken)
            }
            BatchElement::Broken { text, error } => {
                follows_broken = true;
                self.quarantined(ElementError::unreadable(error.into()), text.as_bytes())
            }
        });
        DeliveryContents::Events(parsed.collect())
    }

    /// An event whose envelope is in the headers.
    fn binary(&self, text: ParseResult<&str>) -> ParsedElement {
        let json = text.and_then(|text| Ok((text, JsonIndex::parse(text)?)));
        let data = match &json {
            Ok((_, index)) => Some(index.text()),
            Err(_) if self.delivery.body.text().is_ok_and(str::is_empty) => None,
            // What is not JSON is not copied.
            Err(_) => Some("null"),
        };
        let event = self.structured(data);
        let event = match JsonIndex::parse(&event) {
            Ok(event) => event,
            // The envelope adds one level to the depth of the body.
            Err(error) => return self.broken_binary(error.into()),
        };
        let about_calls = event_type(event.root())
            .is_ok_and(|event_type| is_about_calls(self.source.kind, &event_type));
        match json {
            Err(reason) if about_calls && data.is_some() => self.broken_binary(reason),
            _ => self.event(&event, self.delivery.body.received(), false),
        }
    }

    fn structured(&self, data: Option<&str>) -> String {
        cloudevents_binary::structured(self.delivery.headers, self.delivery.content_type, data)
    }

    /// An event in binary mode whose body cannot be parsed: its envelope is kept readable.
    fn broken_binary(&self, reason: QuarantineReason) -> ParsedElement {
        let envelope = self.structured(None);
        let Ok(envelope) = JsonIndex::parse(&envelope) else {
            return self.whole_body(reason);
        };
        let error = ElementError { is_sealed: true, ..ElementError::of_unknown(&envelope, reason) };
        self.quarantined(error, self.delivery.body.received())
    }

    /// A body that cannot be split into elements.
    fn whole_body(&self, reason: QuarantineReason) -> ParsedElement {
        self.quarantined(ElementError::unreadable(reason), self.delivery.body.received())
    }

    fn event(&self, index: &JsonIndex<'_>, element: &[u8], follows_broken: bool) -> ParsedElement {
        let whole = self.delivery.body.received_digest();
        match parse_element(self.source, index, ReceivedBytes { element, whole }) {
            Ok(normalized) => ParsedElement::Event(Box::new(normalized)),
            Err(error) if follows_broken => {
                self.quarantined(ElementError::unreadable(error.reason), element)
            }
            Err(error) => self.quarantined(error, element),
        }
    }

    fn quarantined(&self, error: ElementError, bytes: &[u8]) -> ParsedElement {
        let is_sealed = error.is_sealed && !bytes.is_empty();
        let (content, redacted) = match error.readable {
            Some(readable) => (Some(readable.text), readable.pointers),
            None => (None, Vec::new()),
        };
        ParsedElement::Quarantined(Box::new(QuarantinedElement {
            reason: error.reason,
            content,
            sealed: is_sealed.then(|| seal(self.source.seal_to, bytes)).flatten(),
            sha256: Digest::of(bytes),
            size: bytes.len(),
            content_type: self.delivery.content_type.map(str::to_owned),
            encoding: self.delivery.body.encoding().clone(),
            redacted,
        }))
    }
}

#[cfg(test)]
mod tests;
