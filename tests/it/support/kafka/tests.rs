//! What the Kafka of the tests promises to the other tests.

use std::time::Duration;

use onrecord_devstack::InProcessBroker;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use uuid::Uuid;

use super::*;

const PARTITIONS: i32 = 12;

fn fresh_topic() -> String {
    format!("t-{}", Uuid::new_v4().simple())
}

fn client(bootstrap_servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap_servers)
        .set("message.max.bytes", "12582912")
        .set("reconnect.backoff.max.ms", "200")
        .set("topic.metadata.propagation.max.ms", "1000");
    config
}

fn producer(bootstrap_servers: &str) -> FutureProducer {
    client(bootstrap_servers).set("enable.idempotence", "true").set("acks", "all").create().unwrap()
}

async fn publish(producer: &FutureProducer, topic: &str, partition: i32) {
    let payload = format!("for partition {partition}");
    let record = FutureRecord::<(), _>::to(topic).partition(partition).payload(&payload);
    producer.send_result(record).unwrap().await.unwrap().unwrap();
}

/// Reads each partition of a topic from its start, until as many messages are there.
fn read(bootstrap_servers: &str, topic: &str, count: usize) -> Vec<(i32, i64, String)> {
    let consumer: BaseConsumer = client(bootstrap_servers)
        .set("group.id", "none")
        .set("fetch.wait.max.ms", "10")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut messages = Vec::new();
    while messages.len() < count {
        let polled = consumer.poll(Duration::from_secs(20));
        let message = polled.expect("nothing came for 20 s").unwrap();
        let payload = String::from_utf8_lossy(message.payload().unwrap()).into_owned();
        messages.push((message.partition(), message.offset(), payload));
    }
    messages.sort();
    messages
}

async fn is_published_and_read_on_every_partition(bootstrap_servers: &str, topic: &str) {
    let producer = producer(bootstrap_servers);
    for partition in 0..PARTITIONS {
        publish(&producer, topic, partition).await;
    }
    let expected: Vec<_> = (0..PARTITIONS)
        .map(|partition| (partition, 0, format!("for partition {partition}")))
        .collect();
    let count = expected.len();
    let (servers, topic) = (bootstrap_servers.to_owned(), topic.to_owned());
    let messages = tokio::task::spawn_blocking(move || read(&servers, &topic, count));
    assert_eq!(messages.await.unwrap(), expected);
}

#[tokio::test]
async fn the_shared_broker_keeps_twelve_partitions() {
    let kafka = shared_kafka().await;
    let topic = fresh_topic();
    kafka.create_topic(&topic, PARTITIONS).await;
    is_published_and_read_on_every_partition(kafka.bootstrap_servers(), &topic).await;
}

#[tokio::test]
async fn the_in_process_broker_keeps_twelve_partitions_and_ends_when_dropped() {
    let broker = InProcessBroker::start().await.unwrap();
    let servers = broker.bootstrap_servers().to_owned();
    let topic = fresh_topic();
    broker.create_topic(&topic, PARTITIONS).await.unwrap();
    is_published_and_read_on_every_partition(&servers, &topic).await;
    assert!(broker.create_topic(&topic, PARTITIONS).await.is_err());

    drop(broker);
    for _ in 0..500 {
        if tokio::net::TcpStream::connect(&servers).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{servers} still accepts connections");
}

#[tokio::test]
async fn a_real_kafka_accepts_messages_of_nearly_12_mib_and_creates_no_topic_by_itself() {
    let Some(kafka) = shared_kafka().await.real() else {
        return;
    };
    let topic = fresh_topic();
    kafka.create_topic(&topic, PARTITIONS).await;
    let producer = producer(kafka.bootstrap_servers());
    let payload = vec![b'x'; 12_000_000];
    let record = FutureRecord::<(), _>::to(&topic).payload(&payload);
    producer.send_result(record).unwrap().await.unwrap().unwrap();

    let absent = fresh_topic();
    let record = FutureRecord::<(), _>::to(&absent).payload("x");
    let sent = producer.send_result(record).unwrap();
    let (refused, _) = sent.await.unwrap().unwrap_err();
    let unknown = KafkaError::MessageProduction(RDKafkaErrorCode::UnknownTopic);
    let unknown_there = KafkaError::MessageProduction(RDKafkaErrorCode::UnknownTopicOrPartition);
    assert!([unknown, unknown_there].contains(&refused), "{refused}");
}

#[tokio::test]
async fn a_real_kafka_restarts_on_its_ports_with_all_that_it_confirmed() {
    let Some(mut kafka) = own_kafka().await else {
        return;
    };
    let servers = kafka.bootstrap_servers();
    let topic = fresh_topic();
    create_topic(&servers, &topic, PARTITIONS).await;
    let producer = producer(&servers);

    publish(&producer, &topic, 0).await;
    kafka.stop().await;
    assert!(tokio::net::TcpStream::connect(&servers).await.is_err());
    kafka.start_again().await.unwrap();
    publish(&producer, &topic, 0).await;
    kafka.kill().await;
    kafka.start_again().await.unwrap();

    kafka.pause();
    let mut publishing = Box::pin(publish(&producer, &topic, 0));
    let pause = Duration::from_millis(300);
    assert!(tokio::time::timeout(pause, &mut publishing).await.is_err());
    kafka.resume();
    publishing.await;

    assert_eq!(kafka.bootstrap_servers(), servers);
    let messages = tokio::task::spawn_blocking(move || read(&servers, &topic, 3));
    let offsets: Vec<_> = messages.await.unwrap().iter().map(|message| message.1).collect();
    assert_eq!(offsets, [0, 1, 2]);
}

#[test]
fn the_environment_decides_which_broker_it_is() {
    let mock = || Some("mock".to_owned());
    let real = || Some("real".to_owned());
    let brokers = || Some("b:9092".to_owned());
    assert_eq!(choice_from(None, None), Ok(BrokerChoice::RealElseMock));
    assert_eq!(choice_from(mock(), brokers()), Ok(BrokerChoice::Mock));
    assert_eq!(choice_from(real(), None), Ok(BrokerChoice::Real));
    assert_eq!(choice_from(real(), brokers()), Ok(BrokerChoice::Brokers("b:9092".into())));
    assert_eq!(choice_from(None, brokers()), Ok(BrokerChoice::Brokers("b:9092".into())));
    assert!(choice_from(Some("reall".into()), None).is_err());
}
