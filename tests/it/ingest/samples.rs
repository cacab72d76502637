//! Every payload that Microsoft published or sent, from the delivery to the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::azure::{ALICE, BOB};

fn samples() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/azure");
    let mut samples: Vec<(String, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
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

/// Callbacks go to Call Automation; the IncomingCall data without an envelope never did.
fn ingest_path_of(name: &str) -> &'static str {
    let incoming = name.ends_with("-00") || name.contains("incoming");
    if (name.starts_with("ca-") || name.starts_with("rec-")) && !incoming {
        "/ingest/call-automation/ca"
    } else {
        "/ingest/event-grid/eg"
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_becomes_an_entry_a_handshake_or_a_quarantined_element_with_a_reason() {
    let mut app = TestApp::open().await;
    let samples = samples();
    assert!(samples.len() >= 105, "{}", samples.len());
    let (mut events, mut quarantined, mut handshakes) = (0, 0, 0);
    for (name, body) in &samples {
        let (status, answer) = app.posts(ingest_path_of(name), body.clone()).await;
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

    // The distinct keys and contents, counted by the test itself.
    let understood = events - quarantined;
    let list = app
        .sees("/v1/events?limit=1000", |list| {
            let appended = list["events"].as_array().map_or(0, Vec::len);
            appended as u64 + repeated(&samples) == understood
        })
        .await;
    let entries = list["events"].as_array().unwrap();
    for entry in entries {
        assert!(!entry["type"].as_str().unwrap().is_empty());
        let conflict = entry["flags"].as_array().unwrap().contains(&json!("conflict"));
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
    let calls = app.reads("/v1/calls?limit=1000").await;
    let calls: BTreeSet<&str> = calls["calls"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|call| call["call"].as_str())
        .collect();
    let by_correlation = calls.iter().filter(|call| correlations.contains(**call)).count();
    assert_eq!(by_correlation, 12, "{calls:?}");

    let quarantine = app
        .sees("/v1/quarantine?limit=1000", |list| {
            !list["quarantined"].as_array().unwrap().is_empty()
        })
        .await;
    for row in quarantine["quarantined"].as_array().unwrap() {
        assert!(
            !row["reason"].as_str().unwrap().is_empty()
                && !row["detail"].as_str().unwrap().is_empty()
        );
        // What is not JSON is not readable.
        assert_eq!(row["content"].is_string(), row["reason"] != "not_json", "{row}");
    }
    app.stop().await;
}

/// The number of understood events that repeat a key with the same content, whatever their schema.
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
            let source =
                text("topic").or_else(|| text("source")).unwrap_or_default().to_lowercase();
            let contents = seen.entry(format!("{source}|{kind}|{id}")).or_default();
            // Both schemas of an event state the same instant, with other digits.
            let time = text("eventTime").or_else(|| text("time"));
            let instant = time.as_deref().map(chrono::DateTime::parse_from_rfc3339);
            let time = match instant {
                Some(Ok(instant)) => Some(instant.to_utc().to_rfc3339()),
                _ => time,
            };
            // An event that is not about calls is compared by its bytes.
            let content = match kind.contains("SMS") {
                true => event.clone(),
                false => json!([event["subject"], time, event["data"], event["data_base64"]]),
            };
            if contents.contains(&content) {
                repeated += 1;
            } else {
                contents.push(content);
            }
        }
    }
    repeated
}

#[tokio::test(flavor = "multi_thread")]
async fn an_out_of_order_call_of_real_traffic_is_projected_completely() {
    // Recorded as it came: a roster before CallConnected, and one after CallDisconnected.
    let samples: Vec<(String, Value)> = samples()
        .into_iter()
        .filter(|(name, _)| name.starts_with("rec-outoforder") && !name.ends_with("-00"))
        .map(|(name, body)| {
            let event = with_names(&name, serde_json::from_str(&body).unwrap());
            (name, event)
        })
        .collect();
    assert_eq!(samples.len(), 10);
    let (call, timeline) = folded(samples.iter()).await;
    assert_eq!(call["started_at"], "2025-06-16T21:22:37.520Z");
    // A disconnected leg of the service is no end of the call, and no participant left.
    assert_eq!(call["ended_at"], Value::Null);
    assert_eq!(call["flags"], json!([]));
    let participants: Vec<Value> = call["participants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|seen| json!([seen["raw_id"], seen["joined_at"], seen["left_at"]]))
        .collect();
    let joined = "2025-06-16T21:22:37.520Z";
    assert_eq!(participants, [json!([ALICE, joined, null]), json!([BOB, joined, null])]);
    let seen_events: Vec<(&str, &str)> = timeline
        .iter()
        .map(|event| {
            let text = |name: &str| event[name].as_str().unwrap();
            (text("type"), text("ce_time"))
        })
        .collect();
    let roster = "roster";
    assert_eq!(
        seen_events,
        [
            ("leg.connected", "2025-06-16T21:22:37.4933451+00:00"),
            (roster, "2025-06-16T21:22:37.5203676+00:00"),
            (roster, "2025-06-16T21:22:41.7278732+00:00"),
            (roster, "2025-06-16T21:22:41.8710059+00:00"),
            (roster, "2025-06-16T21:22:42.0163098+00:00"),
            (roster, "2025-06-16T21:22:42.1387818+00:00"),
            (roster, "2025-06-16T21:22:42.2670406+00:00"),
            (roster, "2025-06-16T21:22:42.3834387+00:00"),
            (roster, "2025-06-16T21:22:42.5054386+00:00"),
            ("leg.disconnected", "2025-06-16T21:22:42.5697241+00:00"),
        ]
    );
    let (reversed, _) = folded(samples.iter().rev()).await;
    assert_eq!(reversed, call, "the order of arrival does not matter");
}

/// The recording has REDACTED in place of every id, where the service wrote different ones.
fn with_names(name: &str, mut body: Value) -> Value {
    let event = match &mut body {
        Value::Array(events) => &mut events[0],
        event => event,
    };
    event["id"] = json!(name);
    let participants = event["data"]["participants"].as_array_mut();
    for (participant, raw_id) in participants.into_iter().flatten().zip([ALICE, BOB]) {
        participant["identifier"]["rawId"] = json!(raw_id);
    }
    body
}

/// The call without the times of the answer, and its timeline, once everything is appended.
async fn folded(samples: impl Iterator<Item = &(String, Value)>) -> (Value, Vec<Value>) {
    const CALL: &str = "3df35377-db2f-48a4-8d2b-1cb298caa860";
    let mut app = TestApp::open().await;
    for (name, body) in samples {
        let (status, answer) = app.posts(ingest_path_of(name), body.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{name}: {answer}");
    }
    let timeline = app
        .sees(&format!("/v1/calls/{CALL}/timeline"), |timeline| {
            timeline["events"].as_array().is_some_and(|events| events.len() == 10)
        })
        .await;
    let mut call = app.reads(&format!("/v1/calls/{CALL}")).await;
    app.stop().await;
    for of_the_answer in ["complete_through", "evaluated_at"] {
        call[of_the_answer].take();
    }
    (call, timeline["events"].as_array().unwrap().clone())
}
