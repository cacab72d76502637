//! Members of another type than documented, and texts that no store holds: the event keeps its kind
//! and its other members, and what could not be read is flagged.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::nothing_lost::{CALL_AUTOMATION, EVENT_GRID};
use super::samples::{kind_of, samples};
use crate::config::SourceKind;
use crate::ingest::decode::decoded_body::DecodedBody;
use crate::ingest::normalize::azure::member_flags::MAX_TEXT;
use crate::ingest::parse::delivery::{
    DeliveryContents, ParsedElement, RawDelivery, parse_delivery,
};
use crate::ingest::parse::element::NormalizedElement;
use onrecord_evidence::event::calling_event::Statement;

/// The events of all samples, with the kind of source that sends them.
fn events() -> Vec<(SourceKind, Value)> {
    let mut events = Vec::new();
    for (name, body) in samples() {
        match serde_json::from_slice(&body) {
            Ok(Value::Array(several)) => {
                events.extend(several.into_iter().map(|event| (kind_of(&name), event)));
            }
            Ok(event) => events.push((kind_of(&name), event)),
            Err(_) => {}
        }
    }
    events
}

/// What the event becomes; `None` if it is quarantined or a handshake.
fn parsed(kind: SourceKind, event: &str) -> Option<NormalizedElement> {
    let source = match kind {
        SourceKind::EventGrid => EVENT_GRID,
        SourceKind::CallAutomation => CALL_AUTOMATION,
    };
    let delivery = RawDelivery {
        content_type: None,
        headers: &[],
        body: DecodedBody::uncoded(event.as_bytes()),
    };
    let DeliveryContents::Events(mut events) = parse_delivery(&source, &delivery) else {
        return None;
    };
    match events.pop() {
        Some(ParsedElement::Event(normalized)) if events.is_empty() => Some(*normalized),
        _ => None,
    }
}

/// The JSON pointers of all values inside, except those that are null.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, it)| (name.clone(), it)).collect(),
        Value::Array(values) => {
            values.iter().enumerate().map(|(index, it)| (index.to_string(), it)).collect()
        }
        _ => Vec::new(),
    };
    for (step, child) in children {
        let pointer = format!("{at}/{step}");
        if !child.is_null() {
            found.push(pointer.clone());
        }
        pointers(child, &pointer, found);
    }
}

/// The event with another value at the pointer.
fn changed(event: &Value, pointer: &str, value: &Value) -> Value {
    let mut event = event.clone();
    *event.pointer_mut(pointer).unwrap() = value.clone();
    event
}

/// The pointer with `*` in place of the indexes.
fn pattern(pointer: &str) -> String {
    let step = |step: &str| {
        if step.parse::<usize>().is_ok() { "*".to_owned() } else { step.to_owned() }
    };
    pointer.split('/').map(step).collect::<Vec<_>>().join("/")
}

#[test]
fn a_side_member_of_any_sample_may_have_any_type() {
    let mut refused = BTreeSet::new();
    let mut unflagged = BTreeSet::new();
    let mut changes = 0;
    for (kind, event) in events() {
        let Some(original) = parsed(kind, &event.to_string()) else {
            continue;
        };
        // Of an unknown type nothing is read but the ids.
        if matches!(original.event.statement, Statement::Unrecognized(_)) {
            continue;
        }
        let mut all = Vec::new();
        pointers(&event, "", &mut all);
        for pointer in all {
            let before = event.pointer(&pointer).unwrap();
            for other in [json!(7), json!("x"), json!(true), json!([]), json!({})] {
                if std::mem::discriminant(before) == std::mem::discriminant(&other) {
                    continue;
                }
                changes += 1;
                let Some(after) = parsed(kind, &changed(&event, &pointer, &other).to_string())
                else {
                    refused.insert(pattern(&pointer));
                    continue;
                };
                let (was, is) = (&original.event, &after.event);
                let is_type = ["/eventType", "/type"].contains(&pointer.as_str());
                assert!(
                    is_type || was.statement.name() == is.statement.name(),
                    "{pointer} {other}"
                );
                let has_changed = (&was.statement, &was.ids, &was.generation)
                    != (&is.statement, &is.ids, &is.generation)
                    || (&original.ce_source, &original.ce_time)
                        != (&after.ce_source, &after.ce_time);
                if has_changed && !is.flagged.iter().any(|member| member.pointer == pointer) {
                    unflagged.insert(pattern(&pointer));
                }
            }
        }
    }
    assert!(changes > 2_000, "{changes}");
    // Without these the event states something else, or nothing of any call: of the ids the last one.
    let expected = [
        "/data",
        "/data/callConnectionId",
        "/data/correlationId",
        "/data/participants",
        "/data/participants/*",
        "/data/participants/*/identifier",
        "/data/recordingId",
        "/data/serverCallId",
        "/data/state",
        "/eventType",
        "/type",
    ];
    assert_eq!(refused, expected.map(str::to_owned).into());
    // A version may also be a number.
    assert_eq!(unflagged, ["/data/version"].map(str::to_owned).into());
}

/// All texts inside.
fn texts<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
        Value::Object(members) => members.values().for_each(|value| texts(value, found)),
        _ => {}
    }
}

#[test]
fn every_text_of_an_event_can_be_stored_whatever_a_sample_contains() {
    let long = "é".repeat(20_000);
    for (kind, event) in events() {
        let mut all = Vec::new();
        pointers(&event, "", &mut all);
        for pointer in all.iter().filter(|it| event.pointer(it).unwrap().is_string()) {
            for odd in [r"\u0000".repeat(40), r"x\ud800y\u0000".repeat(9), long.clone()] {
                let text = changed(&event, pointer, &json!("ODD")).to_string();
                let text = text.replace("\"ODD\"", &format!("\"{odd}\""));
                let Some(normalized) = parsed(kind, &text) else {
                    continue;
                };
                let written = json!({
                    "event": normalized.event,
                    "source": normalized.ce_source,
                    "id": normalized.ce_id,
                    "time": normalized.ce_time,
                });
                let mut stored = Vec::new();
                texts(&written, &mut stored);
                for stored in stored {
                    assert!(
                        !stored.contains('\0') && stored.len() <= MAX_TEXT,
                        "{pointer}: {stored}"
                    );
                }
            }
        }
    }
}
