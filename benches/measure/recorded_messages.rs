//! Messages as the ingest role writes them: one call is posted, and its messages are copied.

use std::time::Duration;

use anyhow::{anyhow, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::calls::{Calls, EventMark, STEPS};
use super::environment::{Environment, SOURCE_KEY};
use super::load::{Connection, post};
use super::template::Template;
use super::topics::PARTITIONS;

const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// The header with the time at which an event was received.
const RECEIVED: &str = "onrecord_received";

/// The messages of one call, by the numbers of their steps.
pub struct RecordedMessages {
    steps: Vec<RecordedMessage>,
}

struct RecordedMessage {
    key: Template,
    headers: Vec<(String, Template)>,
    value: Template,
}

/// A message to be published.
pub struct Copied {
    pub key: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub value: Vec<u8>,
    /// ms since 1970.
    pub timestamp: i64,
}

impl Copied {
    pub fn headers(&self) -> OwnedHeaders {
        let headers = OwnedHeaders::new_with_capacity(self.headers.len());
        self.headers.iter().fold(headers, |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        })
    }
}

impl RecordedMessages {
    /// Posts a call to an ingest role, and reads the messages that it publishes.
    pub async fn record(environment: &Environment) -> anyhow::Result<Self> {
        let namespace = environment.namespace().await?;
        let ingest = namespace.serve("ingest", "").await?;
        ingest.is_ready().await?;
        let mark = EventMark::of_templates();
        let words = mark.words();
        let headers = format!("x-onrecord-key: {SOURCE_KEY}\r\n");
        let mut connection = Connection::open(ingest.address())?;
        for (source, body) in Calls::template_bodies() {
            let answer = connection.request(&post(source.path(), &headers, &body))?;
            if answer.status != 200 {
                bail!("the ingest role answered {}", answer.status);
            }
        }
        ingest.stop().await;
        let topic = namespace.topic("calling-events.v1");
        let brokers = namespace.brokers.clone();
        let read = tokio::task::spawn_blocking(move || read_back(&brokers, &topic, &words));
        let steps = read.await??;
        environment.clear(namespace).await?;
        Ok(Self { steps })
    }

    /// A copy of the message of a step, as another event.
    pub fn copy(&self, step: usize, mark: &EventMark) -> Copied {
        let words = mark.words();
        let stamped = |template: &Template| {
            let mut stamped = Vec::with_capacity(template.len());
            template.fill_in(&words, &mut stamped);
            stamped
        };
        let recorded = &self.steps[step];
        let header = |(name, value): &(String, Template)| {
            let value =
                if name == RECEIVED { received(mark.at).into_bytes() } else { stamped(value) };
            (name.clone(), value)
        };
        Copied {
            key: stamped(&recorded.key),
            headers: recorded.headers.iter().map(header).collect(),
            value: stamped(&recorded.value),
            timestamp: mark.at.timestamp_millis(),
        }
    }
}

fn received(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn read_back(brokers: &str, topic: &str, words: &[String]) -> anyhow::Result<Vec<RecordedMessage>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    let mut steps = Vec::new();
    // A call has one key, so its messages come in the order of its events.
    while steps.len() < STEPS as usize {
        let message = consumer
            .poll(READ_TIMEOUT)
            .ok_or_else(|| anyhow!("the log has {} messages of a call", steps.len()))??;
        let of = |bytes: Option<&[u8]>| Template::of(bytes.unwrap_or_default(), words);
        let headers = message.headers().into_iter().flat_map(|it| it.iter());
        steps.push(RecordedMessage {
            key: of(message.key()),
            headers: headers.map(|it| (it.key.to_owned(), of(it.value))).collect(),
            value: of(message.payload()),
        });
    }
    Ok(steps)
}

/// A producer that fills topics. Its messages may wait to be sent together.
pub struct Filler {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
}

impl Filler {
    pub fn new(brokers: &str, topic: &str) -> anyhow::Result<Self> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            .set("batch.size", "1000000")
            .set("compression.type", "lz4")
            .create()?;
        Ok(Self { producer, topic: topic.to_owned() })
    }

    /// Publishes a message, as soon as the queue has space.
    pub fn put(&self, copied: &Copied) -> anyhow::Result<()> {
        let mut record = BaseRecord::to(&self.topic)
            .key(&copied.key)
            .payload(&copied.value)
            .timestamp(copied.timestamp)
            .headers(copied.headers());
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), it)) => {
                    record = it;
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    /// Waits until Kafka has all messages.
    #[expect(
        clippy::disallowed_methods,
        reason = "these messages need no individual confirmation, and their number is checked"
    )]
    pub fn finish(self) -> anyhow::Result<()> {
        Ok(self.producer.flush(Duration::from_secs(300))?)
    }
}

/// How many messages a topic has.
pub fn messages_on(brokers: &str, topic: &str) -> anyhow::Result<u64> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "bench").create()?;
    let mut all = 0;
    for partition in 0..PARTITIONS {
        let (low, high) = consumer.fetch_watermarks(topic, partition, READ_TIMEOUT)?;
        all += u64::try_from(high - low)?;
    }
    Ok(all)
}
