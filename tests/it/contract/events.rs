//! The messages of the topics have the form of the JSON Schemas in `docs/schemas`; the golden messages are
//! what the service writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use chrono::Utc;
use onrecord::config::SourceKind;
use onrecord::ingest::{
    DecodedBody, DeliveryContents, DeliverySource, ParsedElement, RawDelivery, parse_delivery,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use uuid::Uuid;

use super::schemas::{errors, validator};
use crate::live::acknowledgements::{are_accepted, displayed};
use crate::support::app::{TestApp, until};
use crate::support::azure::{ALICE, Call, report};

/// The golden messages: the value of each type of event, as ingest makes it of a sample.
const GOLDEN: &str = "docs/schemas/golden/calling-events.v1.json";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What ingest makes of a sample: its understood events.
fn normalized(name: &str, body: &[u8]) -> Vec<Value> {
    let by_callback = name.starts_with("ca-") || name.starts_with("rec-");
    let incoming = name.ends_with("-00") || name.contains("incoming");
    let kind =
        if by_callback && !incoming { SourceKind::CallAutomation } else { SourceKind::EventGrid };
    let source = DeliverySource { kind, name: "contoso-calls", resource_ids: &[], seal_to: None };
    let delivery = RawDelivery {
        content_type: Some("application/json"),
        headers: &[],
        body: DecodedBody::uncoded(body),
    };
    let DeliveryContents::Events(elements) = parse_delivery(&source, &delivery) else {
        return Vec::new();
    };
    let events = elements.into_iter().filter_map(|element| match element {
        ParsedElement::Event(normalized) => Some(serde_json::to_value(normalized.event).unwrap()),
        ParsedElement::Quarantined(_) => None,
    });
    events.collect()
}

/// The events of all samples, with the names of the samples.
fn events_of_samples() -> Vec<(String, Value)> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join("tests/data/azure"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let events = files.into_iter().flat_map(|file| {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let events = normalized(&name, &fs::read(&file).unwrap());
        events.into_iter().map(move |event| (name.clone(), event))
    });
    events.collect()
}

#[test]
fn the_event_of_every_sample_fits_the_schema_of_calling_events() {
    let validator = validator("calling-event.v1.json");
    let events = events_of_samples();
    assert!(events.len() > 80, "{}", events.len());
    let mut wrong = Vec::new();
    for (name, event) in events {
        wrong.extend(errors(&validator, &event).into_iter().map(|it| format!("{name}: {it}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_golden_messages_are_what_ingest_makes_of_the_samples_and_fit_their_schemas() {
    let mut golden: BTreeMap<String, (String, Value)> = BTreeMap::new();
    for (name, event) in events_of_samples() {
        let of_type = event["type"].as_str().unwrap().to_owned();
        golden.entry(of_type).or_insert((name, event));
    }
    let golden: Vec<Value> = golden
        .into_values()
        .map(|(sample, value)| json!({ "sample": format!("tests/data/azure/{sample}.json"), "value": value }))
        .collect();
    assert!(golden.len() >= 12, "{}", golden.len());
    let golden = format!("{:#}\n", Value::Array(golden));
    let committed = fs::read_to_string(root().join(GOLDEN)).unwrap_or_default();
    if committed != golden {
        let actual = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("calling-events.v1.json");
        fs::write(&actual, golden).unwrap();
        panic!(
            "{GOLDEN} is not what ingest makes; {} is. A change breaks readers of the topic",
            actual.display()
        );
    }
    for (file, schema) in [
        (GOLDEN, "calling-event.v1.json"),
        ("docs/schemas/golden/notice-facts.v1.json", "notice-facts.v1.json"),
        ("docs/schemas/golden/quarantine.v1.json", "quarantine.v1.json"),
    ] {
        let messages: Value =
            serde_json::from_str(&fs::read_to_string(root().join(file)).unwrap()).unwrap();
        let validator = validator(schema);
        for message in messages.as_array().unwrap() {
            let wrong = errors(&validator, &message["value"]);
            assert!(wrong.is_empty(), "{file}: {wrong:#?}");
        }
    }
}

/// The values of all messages of a topic.
fn values_of(app: &TestApp, topic: &str) -> Vec<Value> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &app.stores.brokers)
        .set("group.id", "onrecord-test")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let topic = format!("{}{topic}", app.stores.prefix);
    let metadata = consumer.fetch_metadata(Some(&topic), Duration::from_secs(10)).unwrap();
    let mut partitions = TopicPartitionList::new();
    let mut left = 0;
    for partition in metadata.topics()[0].partitions() {
        let (low, high) =
            consumer.fetch_watermarks(&topic, partition.id(), Duration::from_secs(10)).unwrap();
        left += high - low;
        partitions.add_partition_offset(&topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&partitions).unwrap();
    let mut values = Vec::new();
    while left > 0 {
        let message = consumer.poll(Duration::from_secs(20)).unwrap().unwrap();
        values.push(serde_json::from_slice(message.payload().unwrap()).unwrap());
        left -= 1;
    }
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn the_messages_on_the_log_fit_the_schemas_of_their_topics() {
    let mut app = TestApp::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    let mut stream = app.subscribes(&token, &format!("attachment={attachment}")).await;
    app.event_grid_posts(&call.started()).await;
    app.call_automation_posts(&call.recording("active", Utc::now())).await;
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on",
        "consent_required": ["recording"], "app": "contoso-web/7.1.0", "sdk": "1.2",
        "shown": [{ "type": "recording", "state": "on", "elapsed_ms": 1,
            "text": { "version": "1", "sha256": "0a", "locale": "en" } }] });
    app.reports(&token, &report(&attachment, 1, &on)).await;
    stream.receives_recording("on").await;
    are_accepted(&app, &token, &[displayed(&attachment, &json!({ "elapsed_ms": 3 }))]).await;
    app.posts("/ingest/event-grid/eg", "no JSON").await;
    let timeline = format!("/v1/calls/{}/timeline", call.correlation);
    app.sees(&timeline, |it| {
        it.to_string().contains("notice.displayed") && it.to_string().contains("notice.dispatched")
    })
    .await;
    for (topic, schema) in [
        ("calling-events.v1", "calling-event.v1.json"),
        ("notice-facts.v1", "notice-facts.v1.json"),
        ("quarantine.v1", "quarantine.v1.json"),
    ] {
        let values = until("messages", async || {
            let values = tokio::task::block_in_place(|| values_of(&app, topic));
            (!values.is_empty()).then_some(values)
        })
        .await;
        let validator = validator(schema);
        for value in values {
            let wrong = errors(&validator, &value);
            assert!(wrong.is_empty(), "{topic} {value:#}: {wrong:#?}");
        }
    }
    app.stop().await;
}
