//! Parses one event: redacts it, then normalizes the redacted text.

use std::borrow::Cow;

use onrecord_evidence::event::calling_event::{CallingEvent, Statement, Unrecognized};
use onrecord_evidence::event::ids::{Digest, Ids};
use onrecord_json::{Base64Payload, JsonIndex, ValueKind, canonical_text};

use super::delivery_source::DeliverySource;
use super::envelope::{Envelope, event_type, is_about_calls};
use crate::ingest::normalize::azure::identifier::ParticipantReader;
use crate::ingest::normalize::azure::member_flags::without_nul;
use crate::ingest::normalize::statement::{self, ParsedStatement};
use crate::ingest::quarantine::{ParseResult, QuarantineReason};
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
    let source_type = match event.kind() {
        ValueKind::Object => event_type(event),
        _ => Err(QuarantineReason::NotAnObject),
    };
    let source_type = source_type.map_err(|reason| ElementError::of_unknown(index, reason))?;
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
    let base64 = redacted.base64.as_ref().map(|_| decoded.as_ref().map(JsonIndex::root));
    let sha256 = Digest::of(received);
    let content =
        if about_calls { Digest::of(canonical_text(kept.root()).as_bytes()) } else { sha256 };
    let parsed = Envelope::of(kept.root(), base64).and_then(|envelope| {
        let parsed = parse_statement(source, &envelope, about_calls, received.len())?;
        let ce_source = envelope.identifying_source(source.name);
        let ce_id = envelope.id.map_or_else(|| format!("sha256:{content}"), Cow::into_owned);
        let ce_time = envelope.time.map(Cow::into_owned);
        let event = CallingEvent {
            statement: parsed.statement,
            ids: parsed.ids,
            source_type: envelope.source_type.into_owned(),
            generation: parsed.generation,
            redacted: redacted.json.pointers.iter().map(|it| without_nul(it)).collect(),
            flagged: envelope.flags.into_members(),
        };
        Ok((event, ce_source, ce_id, ce_time))
    });
    let (event, ce_source, ce_id, ce_time) = match parsed {
        Ok(parsed) => parsed,
        Err(reason) => return Err(ElementError::of_redacted(redacted.json, reason)),
    };
    let original = redacted.json.text;
    Ok(NormalizedElement { ce_source, ce_id, ce_time, event, original, sha256, content })
}

fn parse_statement(
    source: &DeliverySource<'_>,
    envelope: &Envelope<'_>,
    about_calls: bool,
    size: usize,
) -> ParseResult<ParsedStatement> {
    let unrecognized = |kept, ids| ParsedStatement {
        statement: Statement::Unrecognized(Unrecognized { size, kept }),
        ids,
        generation: None,
    };
    if !about_calls {
        return Ok(unrecognized(false, Ids::default()));
    }
    let participants = ParticipantReader { resource_ids: source.resource_ids };
    let parsed = statement::parse(envelope, participants)?;
    Ok(parsed.unwrap_or_else(|| unrecognized(true, statement::ids_of_unknown(envelope))))
}
