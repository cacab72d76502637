//! Parses one event: redacts it, then normalizes the redacted text.

use onrecord_evidence::event::calling_event::{CallingEvent, Statement, Unrecognized};
use onrecord_evidence::event::ids::{Digest, Ids};
use onrecord_json::{Base64Payload, JsonIndex, ValueKind, canonical_text};

use super::delivery_source::DeliverySource;
use super::envelope::{EncodedData, Envelope, event_type, is_about_calls};
use crate::ingest::handshake::is_deletion;
use crate::ingest::normalize::azure::identifier::ParticipantReader;
use crate::ingest::normalize::statement::{self, ParsedStatement};
use crate::ingest::quarantine::QuarantineReason;
use crate::ingest::redact::{ElementError, redact_event};

/// A calling event with its envelope.
#[derive(Clone, Debug, PartialEq)]
pub struct NormalizedElement {
    /// The topic or CloudEvents source in lower case; without one, the configured source's name.
    pub ce_source: String,
    /// The sender's id; without one, `sha256:` and [`NormalizedElement::content`].
    pub ce_id: String,
    /// The sender's time, verbatim, even if it is not a time.
    pub ce_time: Option<String>,
    /// The statement, the ids and the type.
    pub event: CallingEvent,
    /// The event as received, redacted. It is JSON, but may contain lone surrogates, numbers out of
    /// range or duplicate members, which not each parser accepts.
    pub original: String,
    /// The hash of the event's bytes as received; in binary mode, of the body.
    pub sha256: Digest,
    /// The hash of the canonical form of [`NormalizedElement::original`], which distinguishes a
    /// repeated delivery from a conflict (`ONCE`). If `data` was not kept, it equals
    /// [`NormalizedElement::sha256`].
    pub content: Digest,
}

impl NormalizedElement {
    /// Whether the event reports the deletion of its subscription.
    #[must_use]
    pub fn ends_subscription(&self) -> bool {
        is_deletion(&self.event.source_type)
    }
}

/// Parses one event. `received` is the event's bytes as received.
///
/// # Errors
///
/// [`ElementError`], the content for quarantine.
pub(crate) fn parse_element(
    source: &DeliverySource<'_>,
    index: &JsonIndex<'_>,
    received: &[u8],
) -> Result<NormalizedElement, ElementError> {
    let event = index.root();
    if event.kind() != ValueKind::Object {
        let reason = QuarantineReason::NotAnObject;
        return Err(ElementError::of_unknown(index, reason));
    }
    let source_type =
        event_type(event).map_err(|reason| ElementError::of_unknown(index, reason))?;
    let about_calls = is_about_calls(source.kind, &source_type);
    let redacted = redact_event(index, about_calls)?;
    // Everything below reads the redacted text, so that nothing bypasses the redaction.
    let parsed_again;
    let kept = if redacted.json.pointers.is_empty() {
        index
    } else {
        parsed_again = JsonIndex::parse(&redacted.json.text)
            .map_err(|error| ElementError::of_text(index.text(), error.into()))?;
        &parsed_again
    };
    let decoded = redacted.base64.as_ref().and_then(Base64Payload::json);
    let data = redacted.base64.is_some().then(|| match &decoded {
        Some(json) => EncodedData::Json(json.root()),
        None => EncodedData::NotJson,
    });
    let sha256 = Digest::of(received);
    let content = if about_calls {
        Digest::of(canonical_text(kept.root()).as_bytes())
    } else {
        sha256
    };
    let parsed = Envelope::of(kept.root(), data).and_then(|envelope| {
        let parsed = parse_statement(source, &envelope, about_calls, received.len())?;
        Ok((EventKey::of(source, &envelope, content), parsed))
    });
    let (key, parsed) = match parsed {
        Ok(parsed) => parsed,
        Err(reason) => return Err(ElementError::of_redacted(redacted.json, reason)),
    };
    Ok(NormalizedElement {
        ce_source: key.source,
        ce_id: key.id,
        ce_time: key.time,
        event: CallingEvent {
            statement: parsed.statement,
            ids: parsed.ids,
            source_type: key.source_type,
            generation: parsed.generation,
            redacted: redacted.json.pointers,
        },
        original: redacted.json.text,
        sha256,
        content,
    })
}

/// The members of the envelope that identify an event.
struct EventKey {
    source: String,
    id: String,
    time: Option<String>,
    source_type: String,
}

impl EventKey {
    fn of(delivery: &DeliverySource<'_>, envelope: &Envelope<'_>, content: Digest) -> Self {
        let source = envelope.source.as_deref().unwrap_or(delivery.name);
        let id = envelope.id.as_deref().map(str::to_owned);
        Self {
            source: source.to_lowercase(),
            id: id.unwrap_or_else(|| format!("sha256:{content}")),
            time: envelope.time.as_deref().map(str::to_owned),
            source_type: envelope.source_type.as_ref().to_owned(),
        }
    }
}

fn parse_statement(
    source: &DeliverySource<'_>,
    envelope: &Envelope<'_>,
    about_calls: bool,
    size: usize,
) -> Result<ParsedStatement, QuarantineReason> {
    let unrecognized = |kept, ids| ParsedStatement {
        statement: Statement::Unrecognized(Unrecognized { size, kept }),
        ids,
        generation: None,
    };
    if !about_calls {
        return Ok(unrecognized(false, Ids::default()));
    }
    let participants = ParticipantReader {
        resource_ids: source.resource_ids,
    };
    let parsed = statement::parse(envelope, participants)?;
    Ok(parsed.unwrap_or_else(|| unrecognized(true, statement::ids_of_unknown(envelope))))
}
