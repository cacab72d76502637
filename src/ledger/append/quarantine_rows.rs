//! The quarantine rows of messages that are not appended.

use chrono::DateTime;
use uuid::Uuid;

use super::decoded_message::{DecodedEvent, DecodedMessage};
use super::refusal::RefusalReason;
use crate::kafka::{NoticeFactsMessage, QuarantineMessage};
use crate::postgres::NewQuarantine;
use onrecord_evidence::event::ids::{Digest, Tenant};

/// The row of content that ingest could not parse.
pub(crate) fn from_ingest(message: &QuarantineMessage) -> NewQuarantine {
    NewQuarantine {
        id: Uuid::now_v7(),
        tenant: message.tenant.to_string(),
        key: message.key(),
        source: message.source.clone(),
        reason: message.reason.clone(),
        detail: message.detail.clone(),
        pointer: message.pointer.clone(),
        content: message.content.as_ref().map(|content| content.clone().into_bytes()),
        sealed: message.sealed.clone(),
        content_type: message.content_type.clone(),
        content_coding: message.content_coding.clone(),
        charset: message.charset.clone(),
        size: i64::try_from(message.size).unwrap_or(i64::MAX),
        sha256: message.sha256,
        redacted: message.redacted.clone(),
        received_at: message.received,
    }
}

/// The reason of the row, and its explanation.
fn texts(reason: &RefusalReason) -> (String, String) {
    match reason {
        RefusalReason::Content(reason) => {
            ("store_refused".to_owned(), format!("but the store cannot hold it: {reason}"))
        }
        RefusalReason::Exhausted(reason) => (
            "store_exhausted".to_owned(),
            format!(
                "but the store cannot complete the transaction of this message alone: {reason}"
            ),
        ),
    }
}

/// The row of an event that is not appended for this reason.
pub(crate) fn refused_event(event: &DecodedEvent, reason: &RefusalReason) -> NewQuarantine {
    let message = &event.message;
    let (reason, explanation) = texts(reason);
    NewQuarantine {
        id: Uuid::now_v7(),
        tenant: message.tenant.to_string(),
        // With the content: two refused events with the same key are two rows.
        key: Digest::of_parts(&[&event.key.to_string(), &message.content.to_string()]),
        source: message.source.clone(),
        reason,
        detail: format!("the event was parsed ({}), {explanation}", message.event.statement.name()),
        pointer: None,
        content: Some(message.original.clone().into_bytes()),
        sealed: None,
        content_type: Some("application/json".to_owned()),
        content_coding: message.content_coding.clone(),
        charset: message.charset.clone(),
        size: i64::try_from(message.original.len()).unwrap_or(i64::MAX),
        sha256: message.sha256,
        redacted: message.event.redacted.clone(),
        received_at: message.received,
    }
}

/// The notice facts of a refused message stay together in one row, with the value of the message.
pub(crate) fn refused_notices(
    message: &DecodedMessage,
    facts: &NoticeFactsMessage,
    reason: &RefusalReason,
) -> NewQuarantine {
    let (reason, explanation) = texts(reason);
    NewQuarantine {
        tenant: facts.tenant.to_string(),
        source: "onrecord".to_owned(),
        reason,
        detail: format!(
            "the message with {} notice facts of {} was parsed, {explanation}",
            facts.facts.len(),
            facts.call
        ),
        content_type: Some("application/json".to_owned()),
        ..foreign(message, "")
    }
}

/// A message that does not have the form of this service. Its tenant may be unknown; the row is then
/// visible to the operator only.
pub(crate) fn foreign(message: &DecodedMessage, reason: &str) -> NewQuarantine {
    let wire = message.wire.as_ref();
    let content = wire.map(|wire| wire.value.clone().into_bytes());
    NewQuarantine {
        id: Uuid::now_v7(),
        tenant: wire
            .and_then(|wire| wire.header("ce_tenant"))
            .filter(|tenant| Tenant::parse(tenant).is_ok())
            // Unknown tenant.
            .unwrap_or_default()
            .to_owned(),
        key: message.digest(),
        source: "kafka".to_owned(),
        reason: "foreign_message".to_owned(),
        detail: format!(
            "the log has a message that is not in the form of this service (partition {}, offset {}): {reason}",
            message.partition, message.offset
        ),
        pointer: None,
        size: content
            .as_ref()
            .map_or(0, |content| i64::try_from(content.len()).unwrap_or(i64::MAX)),
        content,
        sealed: None,
        content_type: None,
        content_coding: None,
        charset: None,
        sha256: message.digest(),
        redacted: Vec::new(),
        // A stamp beyond the calendar is no reason to lose the message: it is dated 1970.
        received_at: DateTime::from_timestamp_millis(message.broker_time).unwrap_or_default(),
    }
}
