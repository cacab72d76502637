//! Kafka stores a message and its word comes too late: both copies arrive, and one has an effect.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Headers as _;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use reqwest::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::bench::Bench;
use super::proxy::{Direction, Flow};
use crate::azure::{ALICE, Call, report};
use crate::client::{Stream, http};
use crate::house::until;

const SILENCE: Duration = Duration::from_secs(5);
/// What a request takes that does not wait for Kafka, on a machine that has much else to do.
const WITHOUT_WAITING: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread")]
async fn a_late_word_of_kafka_means_two_copies_one_entry_one_notice_and_no_waiting_for_others() {
    let Some(bench) = Bench::open(1).await else {
        return;
    };
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = bench.token(ALICE).await;
    let address = bench.nodes[0].url(&format!("/v1/notices/stream?attachment={attachment}"));
    let mut stream = Stream::open(address, &token, None).await;
    stream.hears("snapshot").await;
    bench.event_grid_posts(0, &call.started()).await;

    let silent_since = Instant::now();
    bench.to_kafka[0].set(Direction::ToClient, Flow::Hold);
    let on = report(
        &attachment,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    let reported = async {
        let asked = http()
            .post(bench.nodes[0].url("/v1/reports"))
            .bearer_auth(&token)
            .json(&on);
        asked.send().await.unwrap().status()
    };
    // Three misses open the breaker.
    let posted = join_all((0..2).map(|_| async {
        let events = call.joined(ALICE, &Uuid::new_v4().to_string());
        bench.event_grid_posts(0, &events).await
    }));
    let (status, posted) = tokio::join!(reported, posted);
    assert_eq!(status, StatusCode::OK);
    assert_eq!(stream.hears_recording("on").await.kind, "notice");
    let mut ids: Vec<String> = posted.into_iter().flatten().collect();
    let after_the_misses = Instant::now();
    for _ in 0..10 {
        let began = Instant::now();
        let events = call.joined(ALICE, &Uuid::new_v4().to_string());
        ids.extend(bench.event_grid_posts(0, &events).await);
        assert!(began.elapsed() < WITHOUT_WAITING, "{:?}", began.elapsed());
    }
    assert!(
        after_the_misses.elapsed() < SILENCE.saturating_sub(Duration::from_secs(2)),
        "no request waited for Kafka"
    );
    tokio::time::sleep(SILENCE.saturating_sub(silent_since.elapsed())).await;
    bench.to_kafka[0].heal();

    let report_id = on["report_id"].as_str().unwrap().to_owned();
    ids.push(report_id.clone());
    until("the spool is drained", || async {
        (bench.spooled().await == 0).then_some(())
    })
    .await;
    bench.are_entered_once(&ids).await;
    let brokers = bench.kafka.bootstrap_servers();
    let on_the_log = tokio::task::spawn_blocking(move || ids_on_the_log(&brokers));
    let on_the_log = on_the_log.await.unwrap();
    let copies = on_the_log.iter().filter(|id| **id == report_id).count();
    assert!(
        copies >= 2,
        "the log has what Kafka had stored, and what was drained"
    );
    // The log was silent for long enough to be a gap, after which the level is stated again.
    for heard in stream.hears_within(Duration::from_secs(1)).await {
        let says_nothing_new = match heard.kind.as_str() {
            "gap" => true,
            "snapshot" => heard.recording() == "on",
            _ => false,
        };
        assert!(says_nothing_new, "{} after the second copy", heard.kind);
    }
    bench.close().await;
}

/// The ids of all events on the log.
fn ids_on_the_log(brokers: &str) -> Vec<String> {
    const TOPIC: &str = "calling-events.v1";
    let patience = Duration::from_secs(20);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "none")
        .set("fetch.wait.max.ms", "10")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    let mut left = 0;
    for partition in 0..12 {
        let (low, high) = consumer
            .fetch_watermarks(TOPIC, partition, patience)
            .unwrap();
        left += high - low;
        assignment
            .add_partition_offset(TOPIC, partition, Offset::Offset(low))
            .unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut ids = Vec::new();
    while left > 0 {
        let message = consumer.poll(patience).expect("nothing came").unwrap();
        left -= 1;
        let headers = message.headers().unwrap();
        let id = headers.iter().find(|header| header.key == "ce_id").unwrap();
        ids.push(String::from_utf8(id.value.unwrap().to_vec()).unwrap());
    }
    ids
}
