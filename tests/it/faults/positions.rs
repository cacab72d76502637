//! The log is another one than the ledger left: what remains is entered, and the gap is on record.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use uuid::Uuid;

use super::bench::Bench;
use crate::azure::{ALICE, Call};
use crate::house::until;
use crate::kafka::create_topic;

const TOPIC: &str = "calling-events.v1";
const PARTITIONS: i32 = 12;
/// New partitions are noticed, by the producer and the ledger, within this time.
const NOTICED: Duration = Duration::from_secs(40);
/// The node of the door alone, and that of the ledger.
const DOOR: usize = 0;
const LEDGER: usize = 1;

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_with_fewer_messages_is_entered_whole_and_the_gap_is_told() {
    a_topic_made_anew(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_with_more_messages_is_entered_whole_and_the_gap_is_told() {
    a_topic_made_anew(150).await;
}

async fn a_topic_made_anew(messages: usize) {
    let Some(mut bench) = Bench::with_door_and_ledger().await else {
        return;
    };
    let before = bench.posts_calls(50).await;
    bench.are_entered_once(&before).await;
    bench.nodes[LEDGER].stop().await;
    // The door's producer would go on with the sequence that it had on the old topic.
    bench.nodes[DOOR].stop().await;
    bench.makes_topic_anew().await;
    bench.nodes[DOOR].start_again().await;
    let after = bench.posts_calls(messages).await;
    bench.nodes[LEDGER].start_again().await;
    bench.are_entered_once(&after).await;
    bench.are_entered_once(&before).await;
    let gaps = bench.gaps().await;
    assert!(!gaps.is_empty());
    assert!(
        gaps.iter().all(|(_, _, resumed, _)| *resumed == 0),
        "{gaps:?}"
    );
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_under_a_running_ledger_is_entered_whole_and_the_gap_is_told() {
    a_topic_made_anew_under_a_running_ledger(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_outgrows_a_running_ledger_before_it_looks_is_entered_whole_too() {
    a_topic_made_anew_under_a_running_ledger(200).await;
}

async fn a_topic_made_anew_under_a_running_ledger(messages: usize) {
    let Some(mut bench) = Bench::with_door_and_ledger().await else {
        return;
    };
    let before = bench.posts_calls(50).await;
    bench.are_entered_once(&before).await;
    bench.nodes[DOOR].stop().await;
    bench.makes_topic_anew().await;
    bench.nodes[DOOR].start_again().await;
    let after = bench.posts_calls(messages).await;
    bench.are_entered_once(&after).await;
    assert!(!bench.gaps().await.is_empty());
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_are_read_from_their_beginning() {
    let Some(bench) = Bench::with_door_and_ledger().await else {
        return;
    };
    let before = bench.posts_calls(20).await;
    let more = NewPartitions::new(TOPIC, 20);
    let outcomes = bench.admin().create_partitions([&more], &patience()).await;
    outcomes.unwrap().remove(0).unwrap();
    let mut ids = before;
    let began = Instant::now();
    while !bench.has_entered_what_was_added().await {
        // The door's producer uses them when it knows of them.
        ids.extend(bench.posts_calls(5).await);
        assert!(began.elapsed() < NOTICED, "{:?}", began.elapsed());
    }
    bench.are_entered_once(&ids).await;
    assert_eq!(bench.gaps().await, []);
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_took_while_the_ledger_was_away_is_a_gap_and_the_rest_is_entered() {
    let Some(mut bench) = Bench::with_door_and_ledger().await else {
        return;
    };
    let before = bench.posts_calls(30).await;
    bench.are_entered_once(&before).await;
    bench.nodes[LEDGER].stop().await;
    bench.posts_calls(60).await;
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(TOPIC, partition, Offset::End)
            .unwrap();
    }
    bench
        .admin()
        .delete_records(&all, &patience())
        .await
        .unwrap();
    let after = bench.posts_calls(30).await;
    bench.nodes[LEDGER].start_again().await;
    bench.are_entered_once(&after).await;
    let gaps = bench.gaps().await;
    assert!(!gaps.is_empty());
    assert!(
        gaps.iter().all(|(_, wanted, resumed, _)| resumed > wanted),
        "{gaps:?}"
    );
    bench.close().await;
}

fn patience() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)))
}

impl Bench {
    /// A door that goes on posting while the ledger of another process is away.
    async fn with_door_and_ledger() -> Option<Self> {
        let mut bench = Self::without_nodes(2).await?;
        bench.add_node(&["--rooms", "intake"]).await;
        bench.add_node(&["--rooms", "ledger"]).await;
        until("both are well", || async {
            let well =
                |view: &serde_json::Value, name: &str| view["components"][name]["health"] == "well";
            let (door, ledger) = (
                bench.nodes[DOOR].health().await?,
                bench.nodes[LEDGER].health().await?,
            );
            (well(&door, "kafka") && well(&ledger, "ledger") && well(&ledger, "kafka"))
                .then_some(())
        })
        .await;
        Some(bench)
    }

    /// Posts so many events, each of a call of its own, so that they lie everywhere.
    async fn posts_calls(&self, number: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..number {
            let events = Call::new().joined(ALICE, &Uuid::new_v4().to_string());
            ids.extend(self.event_grid_posts(DOOR, &events).await);
        }
        ids
    }

    async fn has_entered_what_was_added(&self) -> bool {
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

    /// Deletes the topic and creates it; nothing of it remains.
    async fn makes_topic_anew(&self) {
        let deleted = self.admin().delete_topics(&[TOPIC], &patience()).await;
        deleted.unwrap().remove(0).unwrap();
        let servers = self.kafka.bootstrap_servers();
        until("the topic is gone", || async {
            let metadata = self
                .admin()
                .inner()
                .fetch_metadata(None, Duration::from_secs(5))
                .ok()?;
            let is_there = metadata.topics().iter().any(|topic| topic.name() == TOPIC);
            (!is_there).then_some(())
        })
        .await;
        create_topic(&servers, TOPIC, PARTITIONS).await;
    }
}
