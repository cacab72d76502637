//! Every payload that Microsoft ever published or sent, through the whole corridor.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::house::TestHouse;

fn samples() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/azure");
    let mut samples: Vec<(String, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                fs::read_to_string(&path).unwrap(),
            )
        })
        .collect();
    samples.sort();
    samples
}

/// Callbacks go to Call Automation; the envelope-less IncomingCall data beside them never did.
fn door_of(name: &str) -> &'static str {
    let incoming = name.ends_with("-00") || name.contains("incoming");
    if (name.starts_with("ca-") || name.starts_with("rec-")) && !incoming {
        "/ingest/call-automation/ca"
    } else {
        "/ingest/event-grid/eg"
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_is_taken_and_is_an_entry_a_handshake_or_in_quarantine_with_a_reason() {
    let mut house = TestHouse::open().await;
    let samples = samples();
    assert!(samples.len() >= 105, "{}", samples.len());
    let (mut events, mut quarantined, mut handshakes) = (0, 0, 0);
    for (name, body) in &samples {
        let (status, answer) = house.posts(door_of(name), body.clone()).await;
        assert_eq!(status, StatusCode::OK, "{name}: {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        if answer["validationResponse"].is_string() {
            handshakes += 1;
            continue;
        }
        events += answer["events"].as_u64().unwrap();
        quarantined += answer["quarantined"].as_u64().unwrap();
    }
    assert_eq!(handshakes, 2);

    // The distinct keys and contents, counted by the test's own eyes.
    let understood = events - quarantined;
    let list = house
        .sees("/v1/events?limit=1000", |list| {
            let entered = list["events"].as_array().map_or(0, Vec::len);
            entered as u64 + repeated(&samples) == understood
        })
        .await;
    let entries = list["events"].as_array().unwrap();
    for entry in entries {
        assert!(!entry["type"].as_str().unwrap().is_empty());
        let conflict = entry["flags"]
            .as_array()
            .unwrap()
            .contains(&json!("conflict"));
        let twin = entries.iter().any(|other| {
            other["id"] != entry["id"]
                && ["ce_source", "source_type", "ce_id"]
                    .iter()
                    .all(|member| other[member] == entry[member])
        });
        assert!(!conflict || twin, "a conflict has a twin: {entry:#}");
    }
    let correlations: BTreeSet<&str> = entries
        .iter()
        .filter_map(|entry| entry["event"]["ids"]["correlation_id"].as_str())
        .collect();
    assert_eq!(correlations.len(), 12);
    let calls = house.reads("/v1/calls?limit=1000").await;
    let calls: BTreeSet<&str> = calls["calls"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|call| call["call"].as_str())
        .collect();
    let by_correlation = calls
        .iter()
        .filter(|call| correlations.contains(**call))
        .count();
    assert_eq!(by_correlation, 12, "{calls:?}");

    let quarantine = house
        .sees("/v1/quarantine?limit=1000", |list| {
            !list["quarantined"].as_array().unwrap().is_empty()
        })
        .await;
    for row in quarantine["quarantined"].as_array().unwrap() {
        assert!(
            !row["reason"].as_str().unwrap().is_empty()
                && !row["detail"].as_str().unwrap().is_empty()
        );
        assert!(row["content"].is_string());
    }
    house.stop().await;
}

/// How many understood events of the samples repeat a key with the same content: found by the
/// samples' own text, after the members that are not kept.
fn repeated(samples: &[(String, String)]) -> u64 {
    let mut seen: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut repeated = 0;
    for (_, body) in samples {
        let Ok(body) = serde_json::from_str::<Value>(body) else {
            continue;
        };
        let events = body.as_array().cloned().unwrap_or_else(|| vec![body]);
        for event in events {
            let text = |name: &str| event[name].as_str().map(str::to_owned);
            let kind = text("eventType").or_else(|| text("type"));
            let (Some(id), Some(kind)) = (text("id"), kind) else {
                continue;
            };
            let source = text("topic")
                .or_else(|| text("source"))
                .unwrap_or_default()
                .to_lowercase();
            let contents = seen.entry(format!("{source}|{kind}|{id}")).or_default();
            if contents.contains(&event) {
                repeated += 1;
            } else {
                contents.push(event);
            }
        }
    }
    repeated
}

#[tokio::test(flavor = "multi_thread")]
async fn an_out_of_order_call_of_real_traffic_is_folded_whole() {
    let mut house = TestHouse::open().await;
    for (name, body) in samples()
        .iter()
        .filter(|(name, _)| name.starts_with("rec-outoforder") && !name.ends_with("-00"))
        .rev()
    {
        let (status, answer) = house.posts(door_of(name), body.clone()).await;
        assert_eq!(status, StatusCode::OK, "{name}: {answer}");
    }
    let call = house
        .sees("/v1/calls/3df35377-db2f-48a4-8d2b-1cb298caa860", |call| {
            call["flags"].is_array()
        })
        .await;
    assert_eq!(call["call"], "3df35377-db2f-48a4-8d2b-1cb298caa860");
    house.stop().await;
}
