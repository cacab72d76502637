//! Parses each payload of `tests/data/azure` as a delivery of its kind of source. The result is a
//! reviewed snapshot, named after the file.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::config::SourceKind;
use crate::ingest::decode::decoded_body::DecodedBody;
use crate::ingest::parse::delivery::{
    DeliveryContents, ParsedElement, RawDelivery, parse_delivery,
};
use crate::ingest::parse::delivery_source::DeliverySource;

/// The resource of the Call Automation recordings whose ids were not replaced.
const RESOURCE: &str = "6d889502-3d7a-41a8-befa-d21fd80e8767";

pub(crate) fn samples() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/azure");
    let mut samples: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    samples.sort();
    samples
}

/// The kind of source that sends the sample. IncomingCall is from Event Grid; the recordings contain its
/// `data` without an envelope.
pub(crate) fn kind_of(name: &str) -> SourceKind {
    let by_callback = name.starts_with("ca-") || name.starts_with("rec-");
    let by_event_grid =
        name.ends_with("-00") || name.contains("incomingcall") || name.contains("incoming-call");
    if by_callback && !by_event_grid { SourceKind::CallAutomation } else { SourceKind::EventGrid }
}

fn parsed(name: &str, body: &[u8]) -> DeliveryContents {
    let resource_ids = [RESOURCE.to_owned()];
    let source = DeliverySource {
        kind: kind_of(name),
        name: "contoso-calls",
        // Most samples are of other resources; without resource ids their users are of the tenant.
        resource_ids: if name.starts_with("rec-py") { &resource_ids } else { &[] },
        seal_to: None,
    };
    let delivery = RawDelivery {
        content_type: Some("application/json; charset=utf-8"),
        headers: &[],
        body: DecodedBody::uncoded(body),
    };
    parse_delivery(&source, &delivery)
}

fn shown(contents: &DeliveryContents) -> Value {
    let events = match contents {
        DeliveryContents::Handshake(handshake) => {
            return json!({ "handshake": serde_json::to_string(handshake).unwrap() });
        }
        DeliveryContents::Events(events) => events,
    };
    let shown = events.iter().map(|parsed| match parsed {
        ParsedElement::Event(normalized) => json!({
            "ce_source": normalized.ce_source,
            "ce_id": normalized.ce_id,
            "ce_time": normalized.ce_time,
            "event": normalized.event,
            "original": normalized.original,
        }),
        ParsedElement::Quarantined(quarantined) => json!({
            "unreadable": quarantined.reason.code(),
            "sentence": quarantined.reason.to_string(),
            "pointer": quarantined.reason.pointer(),
            "size": quarantined.size,
            "redacted": quarantined.redacted,
            "content": quarantined.content,
        }),
    });
    Value::Array(shown.collect())
}

#[test]
fn each_sample_is_parsed_as_reviewed() {
    let samples = samples();
    assert_eq!(samples.len(), 106);
    for (name, body) in samples {
        let settings = {
            let mut settings = insta::Settings::clone_current();
            settings.set_prepend_module_to_snapshot(false);
            settings.set_omit_expression(true);
            settings
        };
        settings.bind(|| insta::assert_json_snapshot!(name.clone(), shown(&parsed(&name, &body))));
    }
}

#[test]
fn the_samples_have_twelve_correlation_ids() {
    let mut correlations = BTreeSet::new();
    for (name, body) in samples() {
        let DeliveryContents::Events(events) = parsed(&name, &body) else {
            continue;
        };
        for event in events {
            if let ParsedElement::Event(normalized) = event {
                correlations.extend(normalized.event.ids.correlation_id);
            }
        }
    }
    assert_eq!(correlations.len(), 12, "{correlations:#?}");
}

#[test]
fn an_original_differs_from_its_sample_only_where_it_was_redacted() {
    for (name, body) in samples() {
        let text = String::from_utf8(body.clone()).unwrap();
        let DeliveryContents::Events(events) = parsed(&name, &body) else {
            continue;
        };
        for event in events {
            let ParsedElement::Event(normalized) = event else {
                continue;
            };
            let mut rest = text.as_str();
            for part in normalized
                .original
                .split("\"[redacted]\"")
                .flat_map(|part| part.split("\"[not kept]\""))
            {
                let at = rest.find(part);
                assert!(at.is_some(), "{name}: {part}");
                rest = &rest[at.unwrap_or_default() + part.len()..];
            }
            if normalized.event.redacted.is_empty() {
                assert!(text.contains(&normalized.original), "{name}");
            }
        }
    }
}
