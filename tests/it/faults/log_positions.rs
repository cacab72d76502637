//! The log changes while the ledger is away: the rest is appended, and the gap is recorded.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use uuid::Uuid;

use super::cluster::Cluster;
use crate::support::app::until;
use crate::support::azure::{ALICE, Call};
use crate::support::kafka::create_topic;

const TOPIC: &str = "calling-events.v1";
const PARTITIONS: i32 = 12;
/// Maximum time until the producer and the ledger use new partitions.
const DISCOVERY_DEADLINE: Duration = Duration::from_secs(40);
/// The index of the ingest node.
const INGEST: usize = 0;
/// The index of the ledger node.
const LEDGER: usize = 1;

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_with_fewer_messages_is_read_completely_and_the_gap_is_recorded() {
    a_recreated_topic(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_with_more_messages_is_read_completely_and_the_gap_is_recorded() {
    a_recreated_topic(150).await;
}

async fn a_recreated_topic(messages: usize) {
    let Some(mut cluster) = Cluster::with_ingest_and_ledger().await else {
        return;
    };
    let before = cluster.posts_events_of_calls(50).await;
    cluster.are_appended_once(&before).await;
    cluster.nodes[LEDGER].stop().await;
    // The running producer would continue the sequence of the old topic.
    cluster.nodes[INGEST].stop().await;
    cluster.recreates_topic().await;
    cluster.nodes[INGEST].start_again().await;
    let after = cluster.posts_events_of_calls(messages).await;
    cluster.nodes[LEDGER].start_again().await;
    cluster.are_appended_once(&after).await;
    cluster.are_appended_once(&before).await;
    let gaps = cluster.gaps().await;
    assert!(gaps.iter().all(|(_, _, resumed, _)| *resumed == 0), "{gaps:?}");
    cluster.every_partition_has_a_gap().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unread_messages_of_a_recreated_topic_that_is_shorter_are_counted() {
    a_topic_recreated_while_the_ledger_lags(10, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unread_messages_of_a_recreated_topic_that_outgrew_the_old_one_are_counted() {
    a_topic_recreated_while_the_ledger_lags(250, false).await;
}

async fn a_topic_recreated_while_the_ledger_lags(messages: usize, is_shorter: bool) {
    const UNREAD: i64 = 80;
    let Some(mut cluster) = Cluster::with_ingest_and_ledger().await else {
        return;
    };
    // Few messages: of some partitions the ledger has read nothing.
    let before = cluster.posts_events_of_calls(3).await;
    cluster.are_appended_once(&before).await;
    cluster.nodes[LEDGER].stop().await;
    cluster.posts_events_of_calls(usize::try_from(UNREAD).unwrap()).await;
    cluster.nodes[INGEST].stop().await;
    // More than were posted, if a late confirmation of Kafka gave two copies.
    let unread = cluster.unread_messages().await;
    assert!(unread >= UNREAD, "{unread}");
    cluster.recreates_topic().await;
    cluster.acknowledgements_are_some_time_ago().await;
    cluster.nodes[INGEST].start_again().await;
    let after = cluster.posts_events_of_calls(messages).await;
    let counted = format!("{unread} messages acknowledged and never read");
    if is_shorter {
        let found = cluster.nodes[INGEST].doctor_finds("ledger.lag");
        assert_eq!(found["level"], "error", "{found}");
        let sentence = found["sentence"].as_str().unwrap();
        assert!(sentence.contains("messages acknowledged and never read"), "{found}");
    }
    cluster.nodes[LEDGER].start_again().await;
    cluster.are_appended_once(&after).await;
    cluster.every_partition_has_a_gap().await;
    let found = cluster.nodes[INGEST].doctor_finds("stream.gaps");
    assert_eq!(found["level"], "error", "{found}");
    assert!(found["sentence"].as_str().unwrap().contains(&counted), "{found}");
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_recreated_under_a_running_ledger_is_read_completely_and_the_gap_is_recorded() {
    a_topic_recreated_under_a_running_ledger(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_that_outgrows_the_position_of_a_running_ledger_is_read_completely() {
    a_topic_recreated_under_a_running_ledger(200).await;
}

async fn a_topic_recreated_under_a_running_ledger(messages: usize) {
    let Some(mut cluster) = Cluster::with_ingest_and_ledger().await else {
        return;
    };
    let before = cluster.posts_events_of_calls(50).await;
    cluster.are_appended_once(&before).await;
    cluster.nodes[INGEST].stop().await;
    cluster.recreates_topic().await;
    cluster.nodes[INGEST].start_again().await;
    let after = cluster.posts_events_of_calls(messages).await;
    cluster.are_appended_once(&after).await;
    cluster.every_partition_has_a_gap().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_are_read_from_their_beginning() {
    let Some(cluster) = Cluster::with_ingest_and_ledger().await else {
        return;
    };
    let before = cluster.posts_events_of_calls(20).await;
    let more = NewPartitions::new(TOPIC, 20);
    let outcomes = cluster.admin().create_partitions([&more], &admin_options()).await;
    outcomes.unwrap().remove(0).unwrap();
    let mut ids = before;
    let began = Instant::now();
    while !cluster.has_read_added_partitions().await {
        // The producer uses the new partitions as soon as it knows them.
        ids.extend(cluster.posts_events_of_calls(5).await);
        assert!(began.elapsed() < DISCOVERY_DEADLINE, "{:?}", began.elapsed());
    }
    cluster.are_appended_once(&ids).await;
    assert_eq!(cluster.gaps().await, []);
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_lost_to_retention_are_a_gap_and_the_rest_is_appended() {
    let Some(mut cluster) = Cluster::with_ingest_and_ledger().await else {
        return;
    };
    let before = cluster.posts_events_of_calls(30).await;
    cluster.are_appended_once(&before).await;
    cluster.nodes[LEDGER].stop().await;
    cluster.posts_events_of_calls(60).await;
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(TOPIC, partition, Offset::End).unwrap();
    }
    cluster.admin().delete_records(&all, &admin_options()).await.unwrap();
    let after = cluster.posts_events_of_calls(30).await;
    cluster.nodes[LEDGER].start_again().await;
    cluster.are_appended_once(&after).await;
    let gaps = cluster.gaps().await;
    assert!(!gaps.is_empty());
    assert!(gaps.iter().all(|(_, wanted, resumed, _)| resumed > wanted), "{gaps:?}");
    cluster.close().await;
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)))
}

impl Cluster {
    /// An ingest node that goes on posting while the ledger of another process is away.
    async fn with_ingest_and_ledger() -> Option<Self> {
        let mut cluster = Self::without_nodes(2).await?;
        cluster.add_node(&["--roles", "ingest"]).await;
        cluster.add_node(&["--roles", "ledger"]).await;
        until("both are healthy", || async {
            let well = |view: &serde_json::Value, name: &str| {
                view["components"][name]["health"] == "healthy"
            };
            let (ingest, ledger) =
                (cluster.nodes[INGEST].health().await?, cluster.nodes[LEDGER].health().await?);
            (well(&ingest, "kafka") && well(&ledger, "ledger") && well(&ledger, "kafka"))
                .then_some(())
        })
        .await;
        Some(cluster)
    }

    /// Posts so many events, each of another call, so that every partition gets some.
    async fn posts_events_of_calls(&self, number: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..number {
            let events = Call::new().joined(ALICE, &Uuid::new_v4().to_string());
            ids.extend(self.event_grid_posts(INGEST, &events).await);
        }
        ids
    }

    /// The messages of the log that the ledger has not read.
    async fn unread_messages(&self) -> i64 {
        let log: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.kafka.bootstrap_servers())
            .create()
            .unwrap();
        let ends = (0..PARTITIONS).map(|partition| {
            let timeout = Duration::from_secs(20);
            log.fetch_watermarks(TOPIC, partition, timeout).unwrap().1
        });
        let read: i64 = sqlx::query_scalar(
            "select sum(next_offset)::bigint from stream_position where topic = $1",
        )
        .bind(TOPIC)
        .fetch_one(&self.database().await)
        .await
        .unwrap();
        ends.sum::<i64>() - read
    }

    /// Waits until an acknowledgement is too late to be one of the same topic out of order.
    async fn acknowledgements_are_some_time_ago(&self) {
        let database = self.database().await;
        until("they are", || async {
            let query = "select max(known_at) < clock_timestamp() - interval '6 s' from log_end";
            let ago: bool = sqlx::query_scalar(query).fetch_one(&database).await.ok()?;
            ago.then_some(())
        })
        .await;
    }

    async fn every_partition_has_a_gap(&self) {
        let gaps = self.gaps().await;
        let partitions: BTreeSet<i32> = gaps.iter().map(|(partition, ..)| *partition).collect();
        assert!(partitions.into_iter().eq(0..PARTITIONS), "{gaps:?}");
    }

    async fn has_read_added_partitions(&self) -> bool {
        sqlx::query_scalar(
            "select exists (select from stream_position
                 where topic = $1 and partition >= $2 and next_offset > 0)",
        )
        .bind(TOPIC)
        .bind(PARTITIONS)
        .fetch_one(&self.database().await)
        .await
        .unwrap()
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new()
            .set("bootstrap.servers", self.kafka.bootstrap_servers())
            .create()
            .unwrap()
    }

    /// Deletes and recreates the topic. No message remains.
    async fn recreates_topic(&self) {
        let deleted = self.admin().delete_topics(&[TOPIC], &admin_options()).await;
        deleted.unwrap().remove(0).unwrap();
        let servers = self.kafka.bootstrap_servers();
        until("the topic is gone", || async {
            let metadata =
                self.admin().inner().fetch_metadata(None, Duration::from_secs(5)).ok()?;
            let is_there = metadata.topics().iter().any(|topic| topic.name() == TOPIC);
            (!is_there).then_some(())
        })
        .await;
        create_topic(&servers, TOPIC, PARTITIONS).await;
    }
}
