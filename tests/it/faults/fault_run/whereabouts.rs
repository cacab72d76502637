//! Where an acknowledged event is that was not appended: what a failed run says, because its stores are gone then.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::faults::cluster::Cluster;

const TOPICS: [&str; 3] = ["calling-events.v1", "notice-facts.v1", "quarantine.v1"];

/// Lines about these ids: the rows and messages that contain them, and how far the ledger has read.
pub async fn whereabouts(cluster: &Cluster, ids: &[String]) -> Vec<String> {
    let database = cluster.database().await;
    let mut lines = Vec::new();
    for (place, sql) in [
        (
            "spool",
            "select 'stored at ' || stored_at from spool where position(convert_to($1, 'UTF8') in message) > 0",
        ),
        (
            "quarantine",
            "select reason || ' ' || detail from quarantine where position(convert_to($1, 'UTF8') in content) > 0",
        ),
        (
            "entry",
            "select type || ' ' || ce_id from entry where position(convert_to($1, 'UTF8') in original) > 0",
        ),
    ] {
        for id in ids {
            let query = sqlx::query_scalar(sql).bind(id);
            let found: Vec<String> = query.fetch_all(&database).await.unwrap();
            lines.extend(found.into_iter().map(|row| format!("{id} in {place}: {row}")));
        }
    }
    let positions: Vec<(String, i32, i64)> = sqlx::query_as(
        "select topic, partition, next_offset from stream_position order by topic, partition",
    )
    .fetch_all(&database)
    .await
    .unwrap();
    let positions =
        positions.iter().map(|(topic, partition, next)| format!("{topic}/{partition} {next}"));
    lines.push(format!("positions: {}", positions.collect::<Vec<_>>().join(", ")));
    let brokers = cluster.kafka.bootstrap_servers();
    let ids = ids.to_vec();
    let found = tokio::task::spawn_blocking(move || in_the_log(&brokers, &ids)).await.unwrap();
    lines.extend(found);
    lines
}

/// The messages that contain one of these ids, with partition and offset.
fn in_the_log(brokers: &str, ids: &[String]) -> Vec<String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "onrecord-test")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let timeout = Duration::from_secs(10);
    let (mut partitions, mut left) = (TopicPartitionList::new(), 0);
    for topic in TOPICS {
        let metadata = consumer.fetch_metadata(Some(topic), timeout).unwrap();
        for partition in metadata.topics()[0].partitions() {
            let (low, high) = consumer.fetch_watermarks(topic, partition.id(), timeout).unwrap();
            left += high - low;
            partitions.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        }
    }
    consumer.assign(&partitions).unwrap();
    let mut found = Vec::new();
    while left > 0 {
        let Some(message) = consumer.poll(timeout) else {
            found.push(format!("{left} messages of the log cannot be read"));
            break;
        };
        let message = message.unwrap();
        left -= 1;
        for id in ids.iter().filter(|id| contains(&message, id)) {
            let (topic, partition, offset) =
                (message.topic(), message.partition(), message.offset());
            found.push(format!("{id} in {topic}/{partition} at {offset}"));
        }
    }
    found
}

fn contains(message: &BorrowedMessage<'_>, id: &str) -> bool {
    let has = |bytes: Option<&[u8]>| {
        bytes.is_some_and(|bytes| bytes.windows(id.len()).any(|part| part == id.as_bytes()))
    };
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    has(message.payload()) || headers.into_iter().any(|header| has(header.value))
}
