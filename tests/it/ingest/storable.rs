//! Whatever a member of an event contains, Postgres stores the event: no batch of the ledger is
//! refused for its content.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use onrecord_evidence::event::ids::Digest;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::app::{TestApp, until};
use crate::support::client::http;

/// Maximum number of events in one delivery of the test.
const BATCH: usize = 200;
/// Number of odd values that each member gets in one run, chosen at random.
const ODD_VALUES: usize = 4;

/// One event of each type and form of the samples, and the path that it is posted to.
fn samples() -> Vec<(&'static str, Value)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/azure");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut samples = BTreeMap::new();
    for path in paths {
        let Ok(body) = serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap()) else {
            continue;
        };
        let events = body.as_array().cloned().unwrap_or_else(|| vec![body]);
        for event in events {
            let (ingest_path, kind) = match (&event["eventType"], &event["type"]) {
                (Value::String(kind), _) => ("/ingest/event-grid/eg", kind.clone()),
                (_, Value::String(kind)) => ("/ingest/call-automation/ca", kind.clone()),
                _ => continue,
            };
            let about_calls = kind.contains("Call")
                || kind.contains("Recording")
                || kind.contains("Participant")
                || kind.contains("Transcription");
            if about_calls && !kind.contains("SubscriptionValidation") {
                let names: Vec<&String> =
                    event["data"].as_object().map(|it| it.keys().collect()).unwrap_or_default();
                samples.insert(format!("{kind} {names:?}"), (ingest_path, event));
            }
        }
    }
    samples.into_values().collect()
}

/// The JSON pointers of all texts and numbers.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, it)| leaves(it, &format!("{at}/{name}"), found));
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                leaves(value, &format!("{at}/{index}"), found);
            }
        }
        Value::String(_) | Value::Number(_) => found.push(at.to_owned()),
        _ => {}
    }
}

/// Values as JSON that a store may refuse: as text, in an index, or in an arithmetic.
fn odd_values(random: &mut StdRng) -> Vec<String> {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // Incompressible: Postgres compresses a text before it refuses it in an index.
    let mut long = |length: usize| -> String {
        (0..length).map(|_| char::from(letters[random.random_range(0..64)])).collect()
    };
    vec![
        r#""a\u0000b""#.to_owned(),
        r#""8:acs:\u0000\ud800_\u0000\udc00""#.to_owned(),
        r#""https://h/with\u0000nul/and%00and%ed%a0%80/long-enough""#.to_owned(),
        format!("\"{}\"", long(1_000)),
        format!("\"{}\"", long(4_000)),
        format!("\"8:acs:{}\"", long(9_000)),
        format!("\"{}\"", "\u{1f600}".repeat(5_000)),
        r#""9999-12-31T23:59:59.9999999Z""#.to_owned(),
        r#""0001-01-01T00:00:00-23:59""#.to_owned(),
        r#""-infinity""#.to_owned(),
        "1e308".to_owned(),
        "1e400".to_owned(),
        "-9223372036854775808".to_owned(),
        "9223372036854775807".to_owned(),
        "9007199254740992".to_owned(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_stores_an_event_with_any_text_or_number_in_any_member() {
    let seed = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let app = TestApp::open().await;
    let mut deliveries: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, mut event) in samples() {
        let mut all = Vec::new();
        leaves(&event, "", &mut all);
        // Other members would become equal to those of other samples.
        event["id"] = json!("ID");
        for pointer in all {
            let odd = odd_values(&mut random);
            for odd in odd.sample(&mut random, ODD_VALUES) {
                let mut changed = event.clone();
                if pointer == "/id" {
                    // Two samples are one event in two schemas.
                    changed["subject"] = json!(Uuid::new_v4());
                }
                *changed.pointer_mut(&pointer).unwrap() = json!("ODD");
                let text = changed.to_string().replace("\"ODD\"", odd);
                let text = text.replace("\"ID\"", &format!("\"{}\"", Uuid::new_v4()));
                deliveries.entry(path).or_default().push(text);
            }
        }
    }
    let mut wanted: BTreeSet<Vec<u8>> = BTreeSet::new();
    for (path, texts) in &deliveries {
        for batch in texts.chunks(BATCH) {
            let (status, answer) = app.posts(path, format!("[{}]", batch.join(","))).await;
            assert_eq!(status, StatusCode::OK, "seed {seed}: {answer}");
        }
        wanted.extend(texts.iter().map(|text| Digest::of(text.as_bytes()).as_bytes().to_vec()));
    }
    assert!(wanted.len() > 2_000, "{}", wanted.len());
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
    let refused: Vec<String> =
        sqlx::query_scalar("select detail from quarantine where reason = 'store_refused'")
            .fetch_all(&database)
            .await
            .unwrap();
    assert_eq!(refused, Vec::<String>::new(), "seed {seed}");
    let metrics = http().get(app.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("onrecord_ingest_flagged_members_total{"), "{metrics}");
    app.stop().await;
}
