//! The official SDKs of CloudEvents read every message of the topics.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::support::app::{SOURCE_KEY, TestApp};
use crate::support::azure::{ALICE, Call, report};
use crate::support::client::http;
use crate::support::python::python;
use crate::support::requirements::{Requirement, print_line, skip};

const SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/sdk");

/// Sources and times as no sender should write them.
fn odd_events() -> Vec<Value> {
    let sources = [
        "contoso calls",
        "jürgen",
        "8:acs:x",
        "100%",
        "a#b#c",
        "[x]\\\"<>^`{|}",
        "mailto:",
        "//",
        "https://",
        "https://[::1",
        "http://a:b/c",
        ":",
        "?",
        "#",
        "%",
        "%zz",
        "\u{1}",
        " ",
        "/a b/\u{1f600}",
        "x:y z",
        "urn:a",
        "1:2",
        "a/b:c",
        "///",
        "a@b",
        "http://a b/",
        "file:///x",
        "calling/recordings/ahr0/+a==/r",
    ];
    let times = [
        "soon",
        "0001-01-01T00:00:00Z",
        "2025-06-16 18:38:11Z",
        "2025-06-16t18:38:11z",
        "2025-06-16T18:38:60Z",
        "2025-06-16T18:38:11.123456789123Z",
        "2025-06-16T18:38:11.1+23:59",
        "2025-06-16T18:38:11-18:30",
        "9999-12-31T23:59:59.9999999Z",
        "1749999999",
        " 2025-06-16T18:38:11Z ",
        "2025-06-16T24:00:00Z",
        "",
    ];
    let event = |source: &str, time: &str| json!({ "specversion": "1.0", "id": uuid::Uuid::new_v4(), "source": source, "time": time, "type": "Microsoft.Communication.CallConnected", "data": { "correlationId": Call::new().correlation } });
    let by_source = sources.iter().map(|source| event(source, "2025-06-16T18:38:11Z"));
    let by_time = times.iter().map(|time| event("/t", time));
    let mut events: Vec<Value> = by_source.chain(by_time).collect();
    let mut odd_id = event("/t", "2025-06-16T18:38:11Z");
    odd_id["id"] = json!(" \u{0}%zz\u{1f600}");
    odd_id["type"] = json!("Microsoft.Communication.Ünknown %");
    events.push(odd_id);
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdks_of_cloudevents_for_java_and_python_read_every_message() {
    let mut app = TestApp::open().await;
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/azure");
    let mut bodies: Vec<Vec<u8>> = std::fs::read_dir(samples)
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    bodies.extend(odd_events().iter().map(|event| event.to_string().into_bytes()));
    bodies.push(b"no JSON".to_vec());
    for path in ["/ingest/event-grid/eg", "/ingest/call-automation/ca"] {
        for body in &bodies {
            let posted = http().post(app.url(path)).header("x-onrecord-key", SOURCE_KEY);
            assert_eq!(posted.body(body.clone()).send().await.unwrap().status(), 200);
        }
    }
    // Facts about notices.
    let (call, token) = (Call::new(), app.token(ALICE).await);
    app.event_grid_posts(&call.event("CallStarted", Utc::now(), &json!({}))).await;
    let more = json!({ "recording": "on", "server_call_id": call.server_call_id });
    let attachment = uuid::Uuid::new_v4();
    app.reports(&token, &report(&attachment, 1, &more)).await;
    let acknowledged = json!([{ "id": uuid::Uuid::new_v4(), "attachment": attachment, "type": "recording", "kind": "displayed", "state": "on" }]);
    app.posts_json("/v1/acknowledgements", &token, &acknowledged).await;
    app.sees("/v1/events?type=report", |list| {
        list["events"].as_array().is_some_and(|events| !events.is_empty())
    })
    .await;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("messages");
    let mut total = 0;
    let mut text = String::new();
    for topic in ["calling-events.v1", "notice-facts.v1", "quarantine.v1"] {
        let messages = messages_of(&app.stores.brokers, &format!("{}{topic}", app.stores.prefix));
        assert!(!messages.is_empty(), "{topic}");
        total += messages.len();
        text.extend(messages);
    }
    std::fs::write(&file, text).unwrap();
    if let Some(python) = python() {
        let reader = Path::new(SDK).join("reader.py");
        has_read(&Command::new(python).args([&reader, &file]).output().unwrap(), total);
    }
    if let Some(libraries) = java_libraries() {
        let reader = Path::new(SDK).join("Reader.java");
        let class_path = format!("{}/*", libraries.display());
        let mut java = Command::new("java");
        java.args(["-cp", &class_path]).args([&reader, &file]);
        has_read(&java.output().unwrap(), total);
    }
    app.stop().await;
}

fn has_read(output: &Output, total: usize) {
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.trim(), format!("read {total}"), "{wrong}");
}

/// The jars of the SDK for Java; `None` where they cannot be fetched, or where the tests run without
/// Java's tools (`ONRECORD_TEST_KAFKA=mock`).
fn java_libraries() -> Option<PathBuf> {
    if std::env::var("ONRECORD_TEST_KAFKA").is_ok_and(|kafka| kafka == "mock") {
        print_line("the SDK for Java reads the messages only in a run on a real Kafka");
        return None;
    }
    let libraries = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cloudevents-java");
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "-f"]).arg(Path::new(SDK).join("pom.xml"));
    maven.arg("dependency:copy-dependencies");
    maven.arg(format!("-DoutputDirectory={}", libraries.display()));
    let is_there = libraries.join("cloudevents-kafka-4.0.1.jar").is_file();
    if is_there || maven.output().is_ok_and(|output| output.status.success()) {
        return Some(libraries);
    }
    skip(Requirement::MavenCentral, "the jars of the SDK cannot be fetched");
    None
}

/// The messages of a topic, each as lines: its headers, then its value.
fn messages_of(brokers: &str, topic: &str) -> Vec<String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "sdk")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    let mut expected = 0;
    for partition in 0..12 {
        let (low, high) =
            consumer.fetch_watermarks(topic, partition, Duration::from_secs(10)).unwrap();
        expected += high - low;
        list.add_partition_offset(topic, partition, Offset::Offset(low)).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut messages = Vec::new();
    while (messages.len() as i64) < expected {
        let message = consumer.poll(Duration::from_secs(10)).expect("all messages come").unwrap();
        let mut lines = String::new();
        for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
            let value = STANDARD.encode(header.value.unwrap_or_default());
            writeln!(lines, "header {} {value}", header.key).unwrap();
        }
        let value = STANDARD.encode(message.payload().unwrap_or_default());
        writeln!(lines, "value {value}").unwrap();
        messages.push(lines);
    }
    messages
}
