//! Malformed input at every endpoint: no panic, no answer that Event Grid takes as final, nothing
//! lost.
//!
//! The seed of a run is printed when it fails; `ONRECORD_TEST_FUZZ_SEED` repeats it, and
//! `ONRECORD_TEST_FUZZ_CASES` makes it longer. `fuzz/` has the same target for libFuzzer.

use std::collections::BTreeSet;
use std::path::PathBuf;

use onrecord::http::api_role::ApiRole;
use onrecord_evidence::event::ids::Digest;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::StatusCode;
use serde_json::{Map, Value, json};

use crate::support::app::{SOURCE_KEY, TestApp, until};
use crate::support::client::http;

fn number(name: &str, usual: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(usual, |text| text.parse().unwrap())
}

/// Prints how to repeat a run that fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::support::requirements::print_line(&format!(
                "repeat with ONRECORD_TEST_FUZZ_SEED={}",
                self.0
            ));
        }
    }
}

fn seed() -> Seed {
    Seed(number("ONRECORD_TEST_FUZZ_SEED", rand::random()))
}

/// The events of all samples, as objects.
fn samples() -> Vec<Map<String, Value>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/azure");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let texts = paths.iter().map(|path| std::fs::read(path).unwrap());
    texts
        .filter_map(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        .flat_map(|sample| match sample {
            Value::Array(events) => events,
            other => vec![other],
        })
        .filter_map(|event| match event {
            Value::Object(event) => Some(event),
            _ => None,
        })
        // A handshake is answered and not stored.
        .filter(|event| {
            !event.values().any(|value| {
                value.as_str().is_some_and(|text| text.contains("SubscriptionValidation"))
            })
        })
        .collect()
}

fn odd(random: &mut StdRng) -> Value {
    let texts = [
        "",
        "\u{0}",
        "a\u{0}b",
        "10000-01-01T00:00:00Z",
        "2026-02-30T25:61:61Z",
        "0000-00-00T00:00:00.0000000+99:99",
        "REDACTED",
        "00000000-0000-0000-0000-000000000000",
        "%252525252541",
        "aHR0cHM6Ly94Lw==",
        "/recording/call//serverCallId//recordingId/",
        "8:acs:",
        "4:+",
        "../../etc/passwd",
        "'; drop table entry; --",
        "\u{feff}\u{202e}\u{1f600}",
    ];
    match random.random_range(0..12) {
        0 => Value::Null,
        1 => json!(random.random::<i64>()),
        2 => json!(random.random::<f64>() * 1e300),
        3 => json!(true),
        4 => json!([]),
        5 => json!({}),
        6 => json!([[[[{ "a": [null] }]]]]),
        7 => json!("x".repeat(random.random_range(1..12_000))),
        8 => json!({ "rawId": odd_text(&texts, random), "kind": 7 }),
        _ => json!(odd_text(&texts, random)),
    }
}

fn odd_text(texts: &[&str], random: &mut StdRng) -> String {
    (*texts.choose(random).unwrap()).to_owned()
}

/// Changes some members, at any depth.
fn damage(value: &mut Value, random: &mut StdRng) {
    match value {
        Value::Object(members) => {
            let names: Vec<String> = members.keys().cloned().collect();
            for name in names {
                match random.random_range(0..24) {
                    0 => {
                        members.remove(&name);
                    }
                    1 => {
                        members.insert(name, odd(random));
                    }
                    2 => {
                        let moved = members.remove(&name).unwrap_or_default();
                        members.insert(name.to_uppercase(), moved);
                    }
                    _ => {
                        if let Some(member) = members.get_mut(&name) {
                            damage(member, random);
                        }
                    }
                }
            }
        }
        Value::Array(values) => {
            if random.random_range(0..8) == 0 {
                values.push(odd(random));
            }
            for value in values {
                damage(value, random);
            }
        }
        _ => {
            if random.random_range(0..40) == 0 {
                *value = odd(random);
            }
        }
    }
}

/// A unique damaged event, as text.
fn event(samples: &[Map<String, Value>], random: &mut StdRng) -> String {
    let mut event = Value::Object(samples.choose(random).unwrap().clone());
    damage(&mut event, random);
    // A number: of some types unknown texts are not kept, and equal contents are duplicates.
    event["marker"] = json!(random.random::<u64>());
    let text = event.to_string();
    // JSON that no writer writes and some readers refuse.
    match random.random_range(0..8) {
        0 => text.replacen("\"marker\"", r#""lone":"\ud800","marker""#, 1),
        1 => text.replacen("\"marker\"", r#""huge":1e999,"marker""#, 1),
        2 => text.replacen("\"marker\"", r#""marker":1,"marker""#, 1),
        _ => text,
    }
}

/// Bytes that are not JSON, or not text.
fn garbage(samples: &[Map<String, Value>], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = event(samples, random).into_bytes();
    match random.random_range(0..3) {
        0 => bytes.truncate(random.random_range(0..bytes.len())),
        1 => {
            for _ in 0..8 {
                let at = random.random_range(0..bytes.len());
                bytes[at] = random.random();
            }
        }
        _ => bytes = (0..random.random_range(1..400)).map(|_| random.random()).collect(),
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fuzzed_post_is_answered_200_and_stored() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed.0);
    let app = TestApp::open().await;
    let samples = samples();
    assert!(samples.len() > 90);
    let mut wanted: BTreeSet<Vec<u8>> = BTreeSet::new();
    let hash = |bytes: &[u8]| Digest::of(bytes).as_bytes().to_vec();
    for case in 0..number("ONRECORD_TEST_FUZZ_CASES", 150) {
        let path =
            *["/ingest/event-grid/eg", "/ingest/call-automation/ca"].choose(&mut random).unwrap();
        let (body, events) = match random.random_range(0..4) {
            // A damaged body may still equal an earlier one, or be a handshake.
            0 => (garbage(&samples, &mut random), None),
            1 => {
                let event = event(&samples, &mut random);
                wanted.insert(hash(event.as_bytes()));
                (event.into_bytes(), Some(1))
            }
            _ => {
                let events: Vec<String> =
                    (0..random.random_range(1..20)).map(|_| event(&samples, &mut random)).collect();
                wanted.extend(events.iter().map(|event| hash(event.as_bytes())));
                let blank = ["", " ", "\n\t"].choose(&mut random).unwrap();
                let body = format!("{blank}[{}]{blank}", events.join(&format!("{blank},")));
                (body.into_bytes(), Some(events.len()))
            }
        };
        let (status, answer) = app.posts(path, body).await;
        assert_eq!(status, StatusCode::OK, "case {case}: {answer}");
        if let Some(events) = events {
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(answer["events"], events, "case {case}");
        }
    }
    let database = app.stores.database().await;
    until("all of it is in the ledger or in quarantine", || async {
        let kept: Vec<Vec<u8>> =
            sqlx::query_scalar("select sha256 from entry union all select sha256 from quarantine")
                .fetch_all(&database)
                .await
                .ok()?;
        let kept: BTreeSet<Vec<u8>> = kept.into_iter().collect();
        wanted.is_subset(&kept).then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fuzzed_query_is_answered_with_a_page_or_a_problem() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed.0);
    let app = TestApp::open().await;
    let key = app.api_key("contoso", ApiRole::Admin).await;
    let encode =
        |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("%{byte:02X}")).collect() };
    for case in 0..number("ONRECORD_TEST_FUZZ_CASES", 150) {
        let odd: Vec<u8> = match odd(&mut random) {
            Value::String(text) if text.len() < 2_000 => text.into_bytes(),
            _ => (0..random.random_range(0..60)).map(|_| random.random()).collect(),
        };
        let odd = encode(&odd);
        let path = match random.random_range(0..12) {
            0 => format!("/v1/calls/{odd}"),
            1 => format!("/v1/calls/{odd}/timeline"),
            2 => format!("/v1/calls?cursor={odd}"),
            3 => format!("/v1/calls?from={odd}"),
            4 => format!("/v1/calls?limit={odd}&state={odd}"),
            5 => format!("/v1/calls?participant={odd}"),
            6 => format!("/v1/events?cursor={odd}"),
            7 => format!("/v1/events?call={odd}"),
            8 => format!("/v1/events/{odd}"),
            9 => format!("/v1/quarantine?reason={odd}&cursor={odd}"),
            10 => format!("/v1/indications?call={odd}"),
            _ => format!("/v1/indications?server_call_id={odd}"),
        };
        let answer = http().get(app.url(&path)).bearer_auth(&key).send().await.unwrap();
        let status = answer.status();
        assert!([200, 400, 404].contains(&status.as_u16()), "case {case}: {path}: {status}");
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let expected =
            if status == StatusCode::OK { "application/json" } else { "application/problem+json" };
        assert_eq!(kind, expected, "case {case}: {path}");
        let _: Value = answer.json().await.unwrap();
    }
    // An unknown cursor is ignored.
    for _ in 0..20 {
        let odd: Vec<u8> = (0..random.random_range(1..60)).map(|_| random.random()).collect();
        let url = app.url(&format!("/v1/notices/stream?last_event_id={}", encode(&odd)));
        let answer = http().get(url).bearer_auth(&key).send().await.unwrap();
        assert!([200, 400].contains(&answer.status().as_u16()), "{}", answer.status());
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_ingest_path_answers_a_status_that_makes_event_grid_give_up() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed.0);
    let app = TestApp::open().await;
    for _ in 0..60 {
        let odd: String = (0..random.random_range(0..12))
            .map(|_| format!("%{:02X}", random.random::<u8>()))
            .collect();
        let path = match random.random_range(0..4) {
            0 => format!("/ingest/{odd}"),
            1 => format!("/ingest/event-grid/{odd}"),
            2 => format!("/ingest/call-automation/{odd}/{odd}"),
            _ => format!("/ingest/event-grid/eg?key={odd}&key={odd}"),
        };
        let request = http().post(app.url(&path)).body("[]");
        let request =
            if random.random() { request.header("x-onrecord-key", SOURCE_KEY) } else { request };
        let status = request.send().await.unwrap().status();
        assert!([200, 503].contains(&status.as_u16()), "{path}: {status}");
    }
    app.stop().await;
}
