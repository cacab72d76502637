//! Parses one event: redacts it, then normalizes the redacted text.

use std::borrow::Cow;

use onrecord_evidence::event::calling_event::{CallingEvent, Statement, Unrecognized};
use onrecord_evidence::event::ids::{Digest, Ids};
use onrecord_evidence::event::instant::parse_source_time;
use onrecord_json::{EncodedData, JsonIndex, TextPolicy, ValueKind, ValueRef, canonical_text};

use super::delivery_source::DeliverySource;
use super::envelope::{Envelope, EventData, communication_type, event_type, is_about_calls};
use crate::ingest::normalize::azure::identifier::ParticipantReader;
use crate::ingest::normalize::azure::member_flags::without_nul;
use crate::ingest::normalize::azure::path::strip_prefix_ignoring_case;
use crate::ingest::normalize::event_kind::EventKind;
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
    /// The hash of the event's bytes as received; in binary mode, and if the body was encoded, of the
    /// body.
    pub sha256: Digest,
    /// The hash of what [`NormalizedElement::original`] states, which distinguishes a repeated
    /// delivery from a conflict (`ONCE`). If `data` was not kept, that of the event's text.
    pub content: Digest,
}

/// The bytes of an event.
#[derive(Clone, Copy)]
pub(crate) struct ReceivedBytes<'b> {
    /// Its text; in binary mode the body.
    pub(crate) element: &'b [u8],
    /// The hash of the whole body, if that was encoded.
    pub(crate) whole: Option<Digest>,
}

/// Parses one event.
///
/// # Errors
///
/// [`ElementError`], the content for quarantine.
pub(crate) fn parse_element(
    source: &DeliverySource<'_>,
    index: &JsonIndex<'_>,
    received: ReceivedBytes<'_>,
) -> Result<NormalizedElement, ElementError> {
    let event = index.root();
    let outer_type = match event.kind() {
        ValueKind::Object => event_type(event),
        _ => Err(QuarantineReason::NotAnObject),
    };
    let outer_type = outer_type.map_err(|reason| ElementError::of_unknown(index, reason))?;
    let encoded = EncodedData::of(event);
    let nested_type = {
        let decoded = encoded.as_ref().and_then(EncodedData::json);
        let data = decoded.as_ref().map(JsonIndex::root);
        let data = data.or_else(|| event.member("data").map(|(_, data)| data));
        data.and_then(nested_type).map(|nested| Cow::Owned(nested.into_owned()))
    };
    let is_nested = nested_type.is_some();
    let source_type = nested_type.unwrap_or(outer_type);
    let about_calls = is_about_calls(source.kind, &source_type);
    let texts = about_calls.then(|| kept_texts(&source_type, is_nested));
    let redacted = redact_event(index, encoded.as_ref(), texts)?;
    // Everything below reads the redacted text, so that nothing bypasses the redaction.
    let parsed_again;
    let kept = if redacted.json.pointers.is_empty() {
        index
    } else {
        parsed_again = JsonIndex::parse(&redacted.json.text)
            .map_err(|error| ElementError::unreadable(error.into()))?;
        &parsed_again
    };
    let decoded = redacted.encoded.as_ref().and_then(|data| data.json.as_ref());
    let decoded = decoded.and_then(|json| {
        // Redacted JSON is JSON.
        JsonIndex::parse(&json.text).ok()
    });
    let data = match &redacted.encoded {
        Some(data) => EventData::Encoded(data.member, decoded.as_ref().map(JsonIndex::root)),
        None => EventData::of(kept.root()),
    };
    let of_element = || Digest::of(received.element);
    let sha256 = received.whole.unwrap_or_else(of_element);
    let content = match received.whole {
        _ if about_calls => match data.value() {
            Some(nested) if is_nested => content_digest(nested, EventData::of(nested)),
            _ => content_digest(kept.root(), data),
        },
        Some(_) => of_element(),
        None => sha256,
    };
    let envelope = match data.value() {
        Some(nested) if is_nested => Envelope::of_nested(nested),
        _ => Envelope::of(kept.root(), data),
    };
    let parsed = envelope.and_then(|envelope| {
        let parsed = parse_statement(source, &envelope, about_calls, received.element.len())?;
        let ce_source = envelope.identifying_source(source.name);
        let ce_id = envelope.id.map_or_else(|| format!("sha256:{content}"), Cow::into_owned);
        let ce_time = envelope.time.map(Cow::into_owned);
        let event = CallingEvent {
            statement: parsed.statement,
            ids: parsed.ids,
            source_type: envelope.source_type.into_owned(),
            generation: parsed.generation,
            redacted: redacted.json.pointers.iter().map(|it| without_nul(it)).collect(),
            flagged: envelope.flags.into_members_below(if is_nested { "/data" } else { "" }),
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

/// The digest of the content of an event about calls, from its stored original, which is redacted. `None`:
/// the original is not JSON.
pub(crate) fn content_of_original(original: &str) -> Option<Digest> {
    let index = JsonIndex::parse(original).ok()?;
    let event = index.root();
    let encoded = EncodedData::of(event);
    let decoded = encoded.as_ref().and_then(EncodedData::json);
    let data = match &encoded {
        Some(data) => EventData::Encoded(data.member(), decoded.as_ref().map(JsonIndex::root)),
        None => EventData::of(event),
    };
    let nested = data.value().filter(|nested| nested_type(*nested).is_some());
    Some(match nested {
        Some(nested) => content_digest(nested, EventData::of(nested)),
        None => content_digest(event, data),
    })
}

/// The type of an event that is the data of another event: some forwarders wrap what they receive.
fn nested_type(data: ValueRef<'_>) -> Option<Cow<'_, str>> {
    if data.kind() != ValueKind::Object {
        return None;
    }
    // Data of any other form is data.
    event_type(data).ok().filter(|nested| communication_type(nested).is_some())
}

/// The members of an envelope that say nothing of the event: its schema, its transport, and what
/// identifies it already.
const NOT_OF_CONTENT: [&str; 15] = [
    "data",
    "data_base64",
    "datacontenttype",
    "dataschema",
    "dataVersion",
    "deadLetterReason",
    "deliveryAttempts",
    "id",
    "lastDeliveryAttemptTime",
    "lastDeliveryOutcome",
    "metadataVersion",
    "publishTime",
    "source",
    "specversion",
    "topic",
];

/// The digest of what an event states, whatever its schema: the same event in the schema of Event Grid,
/// as a CloudEvent, with encoded data, or from a dead-letter store has the same.
fn content_digest(event: ValueRef<'_>, data: EventData<'_>) -> Digest {
    let mut members: Vec<String> = Vec::new();
    for (name, value) in event.members() {
        let name = name.decoded();
        if NOT_OF_CONTENT.iter().any(|other| name.eq_ignore_ascii_case(other)) {
            continue;
        }
        let name = name.to_ascii_lowercase();
        let member = match name.as_str() {
            "eventtype" => format!("type={}", canonical_text(value)),
            "eventtime" | "time" => {
                let text = value.decoded();
                let time = parse_source_time(&text).map(|time| time.to_rfc3339());
                format!("time={}", time.as_deref().unwrap_or(&text))
            }
            _ => format!("{name}={}", canonical_text(value)),
        };
        members.push(member);
    }
    members.sort_unstable();
    members.push(data.value().map(canonical_text).unwrap_or_default());
    let parts: Vec<&str> = members.iter().map(String::as_str).collect();
    Digest::of_parts(&parts)
}

/// Which texts of an event about calls are kept.
fn kept_texts(source_type: &str, is_nested: bool) -> TextPolicy {
    let keeps_all = match communication_type(source_type) {
        Some(operation) => EventKind::of(operation).is_some_and(|kind| !kind.carries_contents()),
        // Events about the subscription itself; an app's own types are unknown.
        None => strip_prefix_ignoring_case(source_type, "Microsoft.EventGrid.").is_some(),
    };
    match (keeps_all, is_nested) {
        (true, _) => TextPolicy::All,
        (false, false) => TextPolicy::Listed,
        (false, true) => TextPolicy::ListedInNestedEvent,
    }
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
