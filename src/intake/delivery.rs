//! A delivery, taken apart: every event of it, understood or not.
//!
//! # Why
//!
//! Nothing that is authenticated is lost (law 3), so the only outcomes are an event that we
//! understand or know to be none of ours, and something that goes to quarantine with its reason.
//! One bad event takes no other with it.

use super::batch::{Body, Element, Indivisible};
use super::binary;
use super::blank::{BLANKED, blank};
use super::envelope::{event_type, is_about_calls};
use super::event::{self, Refused};
use super::handshake::{Handshake, is_deletion, is_validation};
use super::json::{BLANKS, Document};
use super::reason::Reason;
use crate::config::SourceKind;
use crate::domain::calling_event::CallingEvent;
use crate::domain::ids::Digest;

/// The configured source that a delivery came through.
#[derive(Clone, Copy, Debug)]
pub struct Door<'a> {
    pub kind: SourceKind,
    /// Its configured name.
    pub source: &'a str,
    /// Immutable ids of the ACS resources whose users are ours; none: all ACS users are.
    pub resource_ids: &'a [String],
}

/// One inbound request.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    pub content_type: Option<&'a str>,
    /// At least those that begin with `ce-`; the others are not looked at.
    pub headers: &'a [(String, String)],
    pub body: &'a [u8],
}

/// What a delivery holds.
#[derive(Debug)]
#[must_use = "what is not kept is lost"]
pub enum Contents {
    /// Event Grid asks whether its subscription is wanted; there is nothing to keep.
    Handshake(Handshake),
    /// In the order of the delivery; an empty array holds none.
    Events(Vec<Taken>),
}

/// One event of a delivery.
#[derive(Debug)]
#[must_use = "what is not kept is lost"]
pub enum Taken {
    /// Understood, or known not to be about calls.
    Event(Box<Normalized>),
    /// For quarantine.
    Unreadable(Unreadable),
}

/// An event in our words, with the envelope that it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalized {
    /// The topic or CloudEvents source, lower case; the configured source's name if there is none.
    pub ce_source: String,
    /// The source's own id; `sha256:` and [`Normalized::content`] if there is none.
    pub ce_id: String,
    /// The source's own time, verbatim, be it a time or not.
    pub ce_time: Option<String>,
    pub event: CallingEvent,
    /// The event as received less what law 9 removes: JSON, but perhaps with lone surrogates,
    /// numbers out of range or a name twice, so not for every parser.
    pub original: String,
    /// Of the event's bytes as received; in binary mode, of the body.
    pub sha256: Digest,
    /// Of the canonical form of [`Normalized::original`]: tells a redelivery from a conflict
    /// (law 4). Where `data` was not kept, the same as [`Normalized::sha256`].
    pub content: Digest,
}

impl Normalized {
    /// Whether the event says that its subscription is gone and nothing will come any more.
    #[must_use]
    pub fn ends_subscription(&self) -> bool {
        is_deletion(&self.event.source_type)
    }
}

/// What could not be understood, whole but for what law 9 removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub reason: Reason,
    /// Of a body that is no text there is none. In binary mode the structured form, with the body
    /// as a string where it is no JSON.
    pub content: Option<String>,
    /// Of the bytes as received.
    pub sha256: Digest,
    /// Bytes as received.
    pub size: usize,
    /// As the delivery states it.
    pub content_type: Option<String>,
    /// JSON pointers of what was taken out. Of content that is no JSON nobody can tell them:
    /// there `[redacted]` stands in its place.
    pub redacted: Vec<String>,
}

/// Takes a delivery apart.
pub fn take_apart(door: &Door<'_>, delivery: &Delivery<'_>) -> Contents {
    let taking = Taking { door, delivery };
    let text = std::str::from_utf8(delivery.body).ok();
    // A byte order mark is no part of JSON, but written all the same.
    let text = text.map(|text| text.strip_prefix('\u{feff}').unwrap_or(text));
    let body = text.map(Body::of);
    if binary::event_type(delivery.headers).is_some() && !is_structured(body.as_ref()) {
        return Contents::Events(vec![taking.binary(text)]);
    }
    let reason = match body {
        Some(Ok(Body::Single(document))) => {
            return taking.elements(vec![Element::Value(document)]);
        }
        Some(Ok(Body::Batch(elements))) => return taking.elements(elements),
        Some(Err(Indivisible::Faulty(fault))) if !text.is_some_and(is_empty) => fault.into(),
        Some(Err(Indivisible::Faulty(_))) => Reason::Empty,
        Some(Err(Indivisible::TooMany)) => Reason::TooManyElements,
        None => Reason::NotText,
    };
    Contents::Events(vec![taking.body(text, reason)])
}

/// Whether the body brings its envelope with it, whatever the headers say.
fn is_structured(body: Option<&Result<Body<'_>, Indivisible>>) -> bool {
    let document = match body {
        Some(Ok(Body::Single(document))) => document,
        Some(Ok(Body::Batch(elements))) => match elements.first() {
            Some(Element::Value(document)) => document,
            _ => return false,
        },
        _ => return false,
    };
    event_type(document.root()).is_ok()
}

/// A delivery that is being taken apart.
struct Taking<'a> {
    door: &'a Door<'a>,
    delivery: &'a Delivery<'a>,
}

impl Taking<'_> {
    fn elements(&self, elements: Vec<Element<'_>>) -> Contents {
        if let [Element::Value(only)] = elements.as_slice()
            && self.asks_for_handshake(only)
        {
            return match Handshake::of(only.root()) {
                Ok(handshake) => Contents::Handshake(handshake),
                Err(reason) => Contents::Events(vec![
                    self.refused(Refused::untold(only, reason), only.text().as_bytes()),
                ]),
            };
        }
        let mut is_open = false;
        let taken = elements.into_iter().map(|element| match element {
            Element::Value(document) => self.event(&document, document.text().as_bytes()),
            Element::Faulty { text, fault } => self.faulty(text, fault.into(), &mut is_open),
        });
        Contents::Events(taken.collect())
    }

    /// An element that is no JSON. Where it ends was told by brackets only: a value without a
    /// certain end in one may go on in the next.
    fn faulty(&self, text: &str, reason: Reason, is_open: &mut bool) -> Taken {
        let blanked = blank(text);
        let content = if *is_open {
            BLANKED.to_owned()
        } else {
            blanked.text
        };
        *is_open |= blanked.is_open;
        self.unparseable(
            without_nul(Some(text)).map(|_| content),
            text.as_bytes(),
            reason,
        )
    }

    fn asks_for_handshake(&self, document: &Document<'_>) -> bool {
        self.door.kind == SourceKind::EventGrid
            && event_type(document.root()).is_ok_and(|event_type| is_validation(&event_type))
    }

    /// An event whose envelope is in the headers.
    fn binary(&self, text: Option<&str>) -> Taken {
        let json = text.map(Document::parse);
        let content = match (&json, text) {
            (Some(Ok(document)), _) => binary::Body::Json(document.text()),
            (_, Some(text)) if is_empty(text) => binary::Body::Missing,
            _ => binary::Body::Other,
        };
        let event = binary::structured(self.delivery.headers, self.delivery.content_type, content);
        let event = match Document::parse(&event) {
            Ok(event) => event,
            // The envelope adds a level to the body.
            Err(fault) => return self.broken_binary(text, fault.into()),
        };
        let about_calls = event_type(event.root())
            .is_ok_and(|event_type| is_about_calls(self.door.kind, &event_type));
        match (content, json) {
            (binary::Body::Other, Some(Err(fault))) if about_calls => {
                self.broken_binary(text, fault.into())
            }
            (binary::Body::Other, _) if about_calls => self.broken_binary(None, Reason::NotText),
            _ => self.event(&event, self.delivery.body),
        }
    }

    /// An event whose body cannot be read: the headers say what it was about, and are kept with
    /// what may be kept of the body.
    fn broken_binary(&self, text: Option<&str>, reason: Reason) -> Taken {
        let envelope = binary::structured(
            self.delivery.headers,
            self.delivery.content_type,
            binary::Body::Missing,
        );
        let text = without_nul(text);
        let reason = if text.is_some() {
            reason
        } else {
            Reason::NotText
        };
        let mut refused = match Document::parse(&envelope) {
            Ok(envelope) => Refused::untold(&envelope, reason),
            Err(_) => return self.body(text, reason),
        };
        if let Some(text) = text {
            refused.content = binary::with_text(&refused.content, &blank(text).text);
        }
        self.refused(refused, self.delivery.body)
    }

    /// The whole body, not understood.
    fn body(&self, text: Option<&str>, reason: Reason) -> Taken {
        self.unparseable(
            without_nul(text).map(|text| blank(text).text),
            self.delivery.body,
            reason,
        )
    }

    fn event(&self, document: &Document<'_>, received: &[u8]) -> Taken {
        match event::take(self.door, document, received) {
            Ok(normalized) => Taken::Event(Box::new(normalized)),
            Err(refused) => self.refused(refused, received),
        }
    }

    fn refused(&self, refused: Refused, received: &[u8]) -> Taken {
        Taken::Unreadable(Unreadable {
            reason: refused.reason,
            content: Some(refused.content),
            sha256: Digest::of(received),
            size: received.len(),
            content_type: self.delivery.content_type.map(str::to_owned),
            redacted: refused.redacted,
        })
    }

    /// What is no JSON: what may be kept of it, if it is text.
    fn unparseable(&self, content: Option<String>, received: &[u8], reason: Reason) -> Taken {
        Taken::Unreadable(Unreadable {
            reason: if content.is_some() {
                reason
            } else {
                Reason::NotText
            },
            content,
            sha256: Digest::of(received),
            size: received.len(),
            content_type: self.delivery.content_type.map(str::to_owned),
            redacted: Vec::new(),
        })
    }
}

/// NUL is in no text; between its letters it would hide names.
fn without_nul(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.contains('\0'))
}

fn is_empty(text: &str) -> bool {
    text.trim_matches(BLANKS).is_empty()
}

#[cfg(test)]
#[path = "binary_mode.rs"]
mod binary_mode;
#[cfg(test)]
#[path = "law_nine.rs"]
mod law_nine;
#[cfg(test)]
#[path = "law_three.rs"]
mod law_three;
#[cfg(test)]
#[path = "samples.rs"]
mod samples;
