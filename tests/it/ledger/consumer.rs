//! The consumer of the log.

use std::collections::BTreeMap;

use onrecord::config::Settings;
use onrecord::kafka::{
    FetchMode, KafkaClientConfig, PartitionConsumer, StartOffset, Topic, ensure_topics,
};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::live::notices::bulk_producer;
use crate::support::app::{DEADLINE, TestStores, until};

const PARTITIONS: i32 = 12;
const MESSAGES: usize = 3_000;
const TOGETHER: usize = 1_000;

async fn publish(producer: FutureProducer, topic: String) {
    for chunk in 0..MESSAGES / TOGETHER {
        let sent = (0..TOGETHER).map(|number| {
            let key = (TOGETHER * chunk + number).to_string();
            let record = FutureRecord::to(&topic).key(&key).payload(&key);
            producer.send_result(record).unwrap()
        });
        let sent: Vec<_> = sent.collect();
        for delivery in sent {
            delivery.await.unwrap().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_is_read_once_and_in_order_however_often_the_fetch_mode_changes() {
    let stores = TestStores::shared().await;
    let settings = Settings::from_toml(&stores.toml("127.0.0.1:0", "off", "")).unwrap();
    let connection = KafkaClientConfig::new(&settings);
    ensure_topics(&connection, &settings.kafka).await.unwrap();
    let mut reader =
        PartitionConsumer::open(&connection, Topic::Events, FetchMode::Immediate).unwrap();
    let partitions: Vec<i32> = (0..PARTITIONS).collect();
    until("every partition has a leader", || async {
        let answered = reader.all_watermarks(&partitions).await;
        (answered.len() == partitions.len()).then_some(())
    })
    .await;
    let all = partitions.into_iter().map(|it| (it, StartOffset::Beginning));
    let all: Vec<(i32, StartOffset)> = all.collect();
    reader.assign(&all).await.unwrap();

    let producer = bulk_producer(&stores.brokers);
    let publishing = tokio::spawn(publish(producer, connection.topic(Topic::Events)));
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    for read in 0..MESSAGES {
        if read % 400 == 399 {
            let fetch_mode = [FetchMode::Coalesced, FetchMode::Immediate][read / 400 % 2];
            let successor = reader.prepare_replacement(fetch_mode).await.unwrap();
            reader.replace_consumer(successor).unwrap();
        }
        let message = tokio::time::timeout(DEADLINE, reader.next()).await;
        let message = message.unwrap().unwrap();
        let expected = next.entry(message.partition).or_default();
        assert_eq!(message.offset, *expected, "after {read} messages");
        *expected += 1;
    }
    publishing.await.unwrap();
}
