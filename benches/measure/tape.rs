//! Messages as they are on the log: one call was posted to the door, and what came out is copied.

use std::time::Duration;

use anyhow::{anyhow, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::calls::{Calls, Mark, STEPS};
use super::ground::{Ground, PARTITIONS, SOURCE_KEY};
use super::load::{Connection, post};
use super::stencil::Stencil;

const READ_PATIENCE: Duration = Duration::from_secs(20);
/// The header that says when our door received an event.
const RECEIVED: &str = "onrecord_received";

/// The messages of one call, by the numbers of their steps.
pub struct Tape {
    steps: Vec<Taped>,
}

struct Taped {
    key: Stencil,
    headers: Vec<(String, Stencil)>,
    value: Stencil,
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
            headers.insert(Header {
                key,
                value: Some(value),
            })
        })
    }
}

impl Tape {
    /// Posts a call to a door, and reads what it makes of it.
    pub async fn record(ground: &Ground) -> anyhow::Result<Self> {
        let plot = ground.plot().await?;
        let door = plot.serve("intake", "").await?;
        door.is_ready().await?;
        let mark = Mark::of_templates();
        let words = mark.words();
        let headers = format!("x-onrecord-key: {SOURCE_KEY}\r\n");
        let mut connection = Connection::open(door.address())?;
        for (source, body) in Calls::template_bodies() {
            let answer = connection.asks(&post(source.path(), &headers, &body))?;
            if answer.status != 200 {
                bail!("the door answered {}", answer.status);
            }
        }
        door.stop().await;
        let topic = plot.topic("calling-events.v1");
        let brokers = plot.brokers.clone();
        let read = tokio::task::spawn_blocking(move || read_back(&brokers, &topic, &words));
        let steps = read.await??;
        ground.clear(plot).await?;
        Ok(Self { steps })
    }

    /// A copy of the message of a step, as another event.
    pub fn copy(&self, step: usize, mark: &Mark) -> Copied {
        let words = mark.words();
        let stamped = |stencil: &Stencil| {
            let mut stamped = Vec::with_capacity(stencil.len());
            stencil.stamp(&words, &mut stamped);
            stamped
        };
        let taped = &self.steps[step];
        let header = |(name, value): &(String, Stencil)| {
            let value = if name == RECEIVED {
                received(mark.at).into_bytes()
            } else {
                stamped(value)
            };
            (name.clone(), value)
        };
        Copied {
            key: stamped(&taped.key),
            headers: taped.headers.iter().map(header).collect(),
            value: stamped(&taped.value),
            timestamp: mark.at.timestamp_millis(),
        }
    }
}

fn received(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn read_back(brokers: &str, topic: &str, words: &[String]) -> anyhow::Result<Vec<Taped>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "tape")
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
            .poll(READ_PATIENCE)
            .ok_or_else(|| anyhow!("the log has {} messages of a call", steps.len()))??;
        let cut = |bytes: Option<&[u8]>| Stencil::cut(bytes.unwrap_or_default(), words);
        let headers = message.headers().into_iter().flat_map(|it| it.iter());
        steps.push(Taped {
            key: cut(message.key()),
            headers: headers
                .map(|it| (it.key.to_owned(), cut(it.value)))
                .collect(),
            value: cut(message.payload()),
        });
    }
    Ok(steps)
}

/// A producer that fills topics: its messages are made up, and may wait to travel together.
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
        Ok(Self {
            producer,
            topic: topic.to_owned(),
        })
    }

    /// Puts a message in, as soon as there is place.
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

    /// Waits until all are on the log.
    #[expect(
        clippy::disallowed_methods,
        reason = "nothing rests on these messages, and their number on the log is looked at"
    )]
    pub fn finish(self) -> anyhow::Result<()> {
        Ok(self.producer.flush(Duration::from_secs(300))?)
    }
}

/// How many messages a topic has.
pub fn messages_on(brokers: &str, topic: &str) -> anyhow::Result<u64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "tape")
        .create()?;
    let mut all = 0;
    for partition in 0..PARTITIONS {
        let (low, high) = consumer.fetch_watermarks(topic, partition, READ_PATIENCE)?;
        all += u64::try_from(high - low)?;
    }
    Ok(all)
}
