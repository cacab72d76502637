//! Finds content that PostgreSQL cannot store, before the statement that would fail.
//!
//! # Why
//!
//! A statement that fails names no message. To find one by halving its batch takes some twenty
//! transactions, and thousands of them would hold up everything behind. The halving remains for what this
//! file does not find.

use crate::kafka::{EventMessage, NoticeFactsMessage};
use onrecord_evidence::event::calling_event::Statement;

/// Maximum bytes of a text that is in an index. PostgreSQL stores up to 2,704 bytes with the other
/// columns of the index.
const MAX_INDEXED_BYTES: usize = 2_048;
/// Maximum bytes of the name of a source and of its credential, which are in one index.
const MAX_SOURCE_BYTES: usize = 1_000;

/// Why a message is not appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RefusalReason {
    /// Postgres cannot store its content.
    Content(String),
    /// Postgres cannot complete the transaction of this message alone.
    Exhausted(String),
}

/// Why this event cannot be stored; `json` is its value in the log.
pub(super) fn of_event(message: &EventMessage, json: &str) -> Option<RefusalReason> {
    let credential = message.credential.as_deref();
    let texts = [
        ("the name of the source", Some(message.source.as_str())),
        ("the credential", credential),
        ("the source", Some(message.ce_source.as_str())),
        ("the id", Some(message.ce_id.as_str())),
        ("the time", message.ce_time.as_deref()),
        ("the type", Some(message.event.source_type.as_str())),
    ];
    let has_nul = |text: &Option<&str>| text.is_some_and(|text| text.contains('\0'));
    if let Some((what, _)) = texts.iter().find(|(_, text)| has_nul(text)) {
        return Some(RefusalReason::Content(format!("{what} has a NUL")));
    }
    if states_nul(json) {
        return Some(RefusalReason::Content("a text of the event has a NUL".to_owned()));
    }
    for text in [Some(message.source.as_str()), credential].into_iter().flatten() {
        if text.len() > MAX_SOURCE_BYTES {
            return Some(too_long("the source or its credential", text.len(), MAX_SOURCE_BYTES));
        }
    }
    let longest = indexed_texts(message).max_by_key(|text| text.len());
    let longest = longest.filter(|text| text.len() > MAX_INDEXED_BYTES);
    longest.map(|text| too_long("an id of a participant or group", text.len(), MAX_INDEXED_BYTES))
}

/// Why these notice facts cannot be stored; `json` is their value in the log.
pub(super) fn of_notices(message: &NoticeFactsMessage, json: &str) -> Option<RefusalReason> {
    if states_nul(json) {
        return Some(RefusalReason::Content("a text of the notice facts has a NUL".to_owned()));
    }
    let anchors = message.facts.iter().map(|fact| fact.by.anchor());
    let lengths = anchors.map(|anchor| anchor.as_str().len());
    let longest = lengths.max().filter(|length| *length > MAX_INDEXED_BYTES);
    longest.map(|length| too_long("the call of a notice fact", length, MAX_INDEXED_BYTES))
}

fn too_long(what: &str, length: usize, max: usize) -> RefusalReason {
    RefusalReason::Content(format!("{what} has {length} bytes; at most {max} can be in an index"))
}

/// The texts of an event that become part of an index as they are.
fn indexed_texts(message: &EventMessage) -> impl Iterator<Item = &str> {
    let statement = &message.event.statement;
    let participant = match statement {
        Statement::SessionJoined(change) | Statement::SessionLeft(change) => {
            change.participant.as_ref()
        }
        Statement::Report(report) => Some(&report.participant),
        _ => None,
    };
    let listed = match statement {
        Statement::Roster(roster) => &roster.participants[..],
        _ => &[],
    };
    let other_raw_ids = match statement {
        Statement::Report(report) => &report.other_raw_ids[..],
        _ => &[],
    };
    let raw_ids = participant.into_iter().chain(listed).map(|who| who.raw_id.as_str());
    let other_raw_ids = other_raw_ids.iter().map(String::as_str);
    raw_ids.chain(other_raw_ids).chain(message.event.ids.participant_id.as_deref())
}

/// Whether a JSON text has the escape of NUL. A backslash before it may be escaped itself.
fn states_nul(json: &str) -> bool {
    json.match_indices("\\u0000").any(|(at, _)| {
        let before = json.as_bytes()[..at].iter().rev().take_while(|byte| **byte == b'\\');
        before.count() % 2 == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_escape_of_nul_that_is_not_escaped_itself_is_found() {
        for (json, states) in [
            (r#"{"a":"b"}"#, false),
            (r#"{"a":"b\u0000"}"#, true),
            (r#"{"a":"\\u0000"}"#, false),
            (r#"{"a":"\\\u0000"}"#, true),
            (r#"{"a":"\\\\u0000","b":"\u0001"}"#, false),
            (r#"{"a":"\\u0000\u0000"}"#, true),
        ] {
            assert_eq!(states_nul(json), states, "{json}");
        }
    }
}
