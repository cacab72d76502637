//! Kafka stores a message and confirms too late: two copies arrive, and one has an effect.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Headers as _;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use reqwest::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::cluster::Cluster;
use super::cluster::proxy::{Direction, Flow};
use crate::support::app::until;
use crate::support::azure::{ALICE, Call, report};
use crate::support::client::{Stream, http};

const SILENCE: Duration = Duration::from_secs(5);
/// Maximum time of a request that does not wait for Kafka, on a busy machine.
const WITHOUT_WAITING: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread")]
async fn a_late_kafka_confirmation_gives_two_copies_one_entry_one_notice_and_no_waiting() {
    let Some(cluster) = Cluster::open(1).await else {
        return;
    };
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = cluster.token(ALICE).await;
    let address = cluster.nodes[0].url(&format!("/v1/notices/stream?attachment={attachment}"));
    let mut stream = Stream::open(address, &token, None).await;
    stream.receives("snapshot").await;
    cluster.event_grid_posts(0, &call.started()).await;

    let silent_since = Instant::now();
    cluster.to_kafka[0].set(Direction::ToClient, Flow::Hold);
    let on = report(
        &attachment,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    let reported = async {
        let asked = http().post(cluster.nodes[0].url("/v1/reports")).bearer_auth(&token).json(&on);
        asked.send().await.unwrap().status()
    };
    // Three timeouts open the circuit breaker.
    let posted = join_all((0..2).map(|_| async {
        let events = call.joined(ALICE, &Uuid::new_v4().to_string());
        cluster.event_grid_posts(0, &events).await
    }));
    let (status, posted) = tokio::join!(reported, posted);
    assert_eq!(status, StatusCode::OK);
    assert_eq!(stream.receives_recording("on").await.kind, "notice");
    let mut ids: Vec<String> = posted.into_iter().flatten().collect();
    let after_the_timeouts = Instant::now();
    for _ in 0..10 {
        let began = Instant::now();
        let events = call.joined(ALICE, &Uuid::new_v4().to_string());
        ids.extend(cluster.event_grid_posts(0, &events).await);
        assert!(began.elapsed() < WITHOUT_WAITING, "{:?}", began.elapsed());
    }
    assert!(
        after_the_timeouts.elapsed() < SILENCE.saturating_sub(Duration::from_secs(2)),
        "no request waited for Kafka"
    );
    tokio::time::sleep(SILENCE.saturating_sub(silent_since.elapsed())).await;
    cluster.to_kafka[0].heal();

    let report_id = on["report_id"].as_str().unwrap().to_owned();
    ids.push(report_id.clone());
    until("the spool is drained", || async { (cluster.spooled().await == 0).then_some(()) }).await;
    cluster.are_appended_once(&ids).await;
    let brokers = cluster.kafka.bootstrap_servers();
    let on_the_log = tokio::task::spawn_blocking(move || ids_on_the_log(&brokers));
    let on_the_log = on_the_log.await.unwrap();
    let copies = on_the_log.iter().filter(|id| **id == report_id).count();
    assert!(copies >= 2, "the log has what Kafka had stored, and what was drained");
    // The silence was long enough for a gap, after which the level is stated again.
    for received in stream.receives_within(Duration::from_secs(1)).await {
        let is_repetition = match received.kind.as_str() {
            "gap" => true,
            "snapshot" => received.recording() == "on",
            _ => false,
        };
        assert!(is_repetition, "{} after the second copy", received.kind);
    }
    cluster.close().await;
}

/// The ids of all events in Kafka.
fn ids_on_the_log(brokers: &str) -> Vec<String> {
    const TOPIC: &str = "calling-events.v1";
    let timeout = Duration::from_secs(20);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "none")
        .set("fetch.wait.max.ms", "10")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    let mut left = 0;
    for partition in 0..12 {
        let (low, high) = consumer.fetch_watermarks(TOPIC, partition, timeout).unwrap();
        left += high - low;
        assignment.add_partition_offset(TOPIC, partition, Offset::Offset(low)).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut ids = Vec::new();
    while left > 0 {
        let message = consumer.poll(timeout).expect("nothing came").unwrap();
        left -= 1;
        let headers = message.headers().unwrap();
        let id = headers.iter().find(|header| header.key == "ce_id").unwrap();
        ids.push(String::from_utf8(id.value.unwrap().to_vec()).unwrap());
    }
    ids
}
