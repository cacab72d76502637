//! Every payload of `tests/data/azure`, posted as its kind of source: what becomes of it is a
//! reviewed snapshot named after its file.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::config::SourceKind;
use crate::intake::delivery::{Contents, Delivery, Door, Taken, take_apart};

/// The resource of the Call Automation recordings whose ids were not replaced.
const RESOURCE: &str = "6d889502-3d7a-41a8-befa-d21fd80e8767";

fn samples() -> Vec<(String, Vec<u8>)> {
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

/// IncomingCall comes by Event Grid; the recordings hold its `data` without envelope.
fn kind_of(name: &str) -> SourceKind {
    let by_callback = name.starts_with("ca-") || name.starts_with("rec-");
    let by_event_grid =
        name.ends_with("-00") || name.contains("incomingcall") || name.contains("incoming-call");
    if by_callback && !by_event_grid {
        SourceKind::CallAutomation
    } else {
        SourceKind::EventGrid
    }
}

fn taken(name: &str, body: &[u8]) -> Contents {
    let resource_ids = [RESOURCE.to_owned()];
    let door = Door {
        kind: kind_of(name),
        source: "contoso-calls",
        // Most samples are of other resources; with none configured their users are ours.
        resource_ids: if name.starts_with("rec-py") {
            &resource_ids
        } else {
            &[]
        },
    };
    let delivery = Delivery {
        content_type: Some("application/json; charset=utf-8"),
        headers: &[],
        body,
    };
    take_apart(&door, &delivery)
}

fn shown(contents: &Contents) -> Value {
    let events = match contents {
        Contents::Handshake(handshake) => {
            return json!({ "handshake": handshake.answer() });
        }
        Contents::Events(events) => events,
    };
    let shown = events.iter().map(|taken| match taken {
        Taken::Event(normalized) => json!({
            "ce_source": normalized.ce_source,
            "ce_id": normalized.ce_id,
            "ce_time": normalized.ce_time,
            "event": normalized.event,
            "original": normalized.original,
        }),
        Taken::Unreadable(unreadable) => json!({
            "unreadable": unreadable.reason.code(),
            "sentence": unreadable.reason.to_string(),
            "pointer": unreadable.reason.pointer(),
            "size": unreadable.size,
            "redacted": unreadable.redacted,
            "content": unreadable.content,
        }),
    });
    Value::Array(shown.collect())
}

#[test]
fn every_sample_becomes_what_was_reviewed() {
    let samples = samples();
    assert_eq!(samples.len(), 106);
    for (name, body) in samples {
        let settings = {
            let mut settings = insta::Settings::clone_current();
            settings.set_prepend_module_to_snapshot(false);
            settings.set_omit_expression(true);
            settings
        };
        settings.bind(|| insta::assert_json_snapshot!(name.clone(), shown(&taken(&name, &body))));
    }
}

#[test]
fn the_samples_are_of_twelve_calls_by_correlation_id() {
    let mut correlations = BTreeSet::new();
    for (name, body) in samples() {
        let Contents::Events(events) = taken(&name, &body) else {
            continue;
        };
        for event in events {
            if let Taken::Event(normalized) = event {
                correlations.extend(normalized.event.ids.correlation_id);
            }
        }
    }
    assert_eq!(correlations.len(), 12, "{correlations:#?}");
}

#[test]
fn an_original_differs_from_its_sample_only_where_something_was_taken_out() {
    for (name, body) in samples() {
        let text = String::from_utf8(body.clone()).unwrap();
        let Contents::Events(events) = taken(&name, &body) else {
            continue;
        };
        for event in events {
            let Taken::Event(normalized) = event else {
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
