//! How the log is read, whatever lies on it.

use std::collections::BTreeMap;

use onrecord::config::Settings;
use onrecord::stream::{Connection, Haste, Reader, Start, Topic, TopicLayout, ensure_topics};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::house::{DEADLINE, Ground, until};
use crate::notices::bulk_producer;

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
async fn each_message_is_read_once_and_in_order_however_often_the_haste_changes() {
    let ground = Ground::shared().await;
    let settings = Settings::from_toml(&ground.toml("127.0.0.1:0", "off", "")).unwrap();
    let connection = Connection::new(&settings);
    let layout = TopicLayout::of(&settings.kafka);
    ensure_topics(&connection, layout).await.unwrap();
    let mut reader = Reader::open(&connection, Topic::Events, Haste::Now).unwrap();
    let partitions: Vec<i32> = (0..PARTITIONS).collect();
    until("every partition has a leader", || async {
        let answered = reader.all_watermarks(&partitions).await;
        (answered.len() == partitions.len()).then_some(())
    })
    .await;
    let all = partitions.into_iter().map(|it| (it, Start::Beginning));
    let all: Vec<(i32, Start)> = all.collect();
    reader.assign(&all).await.unwrap();

    let producer = bulk_producer(&ground.brokers);
    let publishing = tokio::spawn(publish(producer, connection.topic(Topic::Events)));
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    for read in 0..MESSAGES {
        if read % 400 == 399 {
            let haste = [Haste::Brisk, Haste::Now][read / 400 % 2];
            let successor = reader.successor(haste).await.unwrap();
            reader.hand_over(successor).unwrap();
        }
        let message = tokio::time::timeout(DEADLINE, reader.next()).await;
        let message = message.unwrap().unwrap();
        let expected = next.entry(message.partition).or_default();
        assert_eq!(message.offset, *expected, "after {read} messages");
        *expected += 1;
    }
    publishing.await.unwrap();
}
