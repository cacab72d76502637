//! Topics in any codec are read, and a batch that cannot be decompressed is named.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chrono::Utc;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;

use crate::support::app::{TestApp, TestStores, until};
use crate::support::azure::Call;
use crate::support::client::http;
use crate::support::kafka::{own_kafka, shared_kafka};

/// The bytes of a batch before its compressed records.
const BATCH_HEADER: usize = 61;

async fn creates_topics(stores: &TestStores, compression: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &stores.brokers).create().unwrap();
    let names = ["calling-events.v1", "notice-facts.v1", "quarantine.v1"];
    let names = names.map(|name| format!("{}{name}", stores.prefix));
    let topics = names.iter().map(|name| {
        NewTopic::new(name, 12, TopicReplication::Fixed(-1)).set("compression.type", compression)
    });
    let topics: Vec<NewTopic<'_>> = topics.collect();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    for created in admin.create_topics(&topics, &options).await.unwrap() {
        created.unwrap();
    }
}

async fn is_recorded(app: &mut TestApp, call: &Call) {
    app.event_grid_posts(&call.started()).await;
    app.call_automation_posts(&call.recording("active", Utc::now())).await;
    app.sees(&format!("/v1/calls/{}", call.correlation), |seen| seen["recorded"] == true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_the_broker_compresses_with_any_codec_are_read() {
    if shared_kafka().await.real().is_none() {
        return;
    }
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let stores = TestStores::shared().await;
        creates_topics(&stores, codec).await;
        let mut app = TestApp::on(stores).await;
        app.is_ready().await;
        is_recorded(&mut app, &Call::new()).await;
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_producer_compresses_with_any_codec_is_read() {
    if shared_kafka().await.real().is_none() {
        return;
    }
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let setting = format!("kafka.compression = \"{codec}\"");
        let mut app = TestApp::with(TestStores::shared().await, &setting).await;
        app.is_ready().await;
        is_recorded(&mut app, &Call::new()).await;
        app.stop().await;
    }
}

/// Overwrites the compressed records of each batch of the events.
fn damages_batches(data: &Path) -> usize {
    let mut damaged = 0;
    for folder in fs::read_dir(data).unwrap() {
        let folder = folder.unwrap().path();
        if !folder.to_string_lossy().contains("calling-events.v1-") {
            continue;
        }
        let path = folder.join("00000000000000000000.log");
        let bytes = fs::read(&path).unwrap();
        let log = fs::File::options().write(true).open(path).unwrap();
        let mut batch = 0;
        // Offset and length of a batch are its first 8 and 4 bytes. The file is longer than what is in it.
        while let Some(length) = bytes.get(batch + 8..batch + 12) {
            let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
            if length == 0 {
                break;
            }
            log.write_all_at(&[0xff; 16], (batch + BATCH_HEADER) as u64).unwrap();
            batch += 12 + length;
            damaged += 1;
        }
    }
    damaged
}

async fn reason(app: &TestApp, component: &str) -> Option<String> {
    let ready = http().get(app.url("/readyz")).send().await.unwrap();
    let ready: Value = ready.json().await.unwrap();
    ready["components"][component]["reason"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_cannot_be_decompressed_is_named_by_readyz_and_doctor() {
    const NAMED: &str = "a batch of the log cannot be decompressed";
    let Some(mut kafka) = own_kafka().await else {
        return;
    };
    let stores = TestStores { brokers: kafka.bootstrap_servers(), ..TestStores::shared().await };
    let mut app = TestApp::with(stores.clone(), "kafka.compression = \"gzip\"").await;
    app.is_ready().await;
    is_recorded(&mut app, &Call::new()).await;
    app.stop().await;
    kafka.stop().await;
    assert!(damages_batches(&kafka.data()) > 0);
    kafka.start_again().await.unwrap();

    let app = TestApp::on(stores).await;
    for component in ["ledger", "live"] {
        until("the batch is named", || async {
            reason(&app, component).await.filter(|reason| reason.contains(NAMED))
        })
        .await;
    }
    let settings = tempfile::tempdir().unwrap();
    let file = settings.path().join("onrecord.toml");
    fs::write(&file, app.stores.toml("127.0.0.1:0", "off", "")).unwrap();
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_onrecord"));
    doctor.env_clear();
    let report = doctor.args(["doctor", "--json", "--config"]).arg(&file).output().unwrap();
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let found = findings.filter(|found| found["code"] == "kafka.compression");
    let found: Vec<&Value> =
        found.filter(|found| found["sentence"].as_str().unwrap().contains(NAMED)).collect();
    assert_eq!(found.len(), 1, "{report:#}");
    assert_eq!(found[0]["level"], "error");
    app.stop().await;
    kafka.stop().await;
}
