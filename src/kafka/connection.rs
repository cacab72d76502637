//! The configuration of every Kafka client.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;

use crate::config::{CallFactsTopic, KafkaCompression, Secret, Settings};

/// Maximum bytes of a message: an original of 4 MiB, its normalized form and headers.
pub const MAX_MESSAGE_BYTES: &str = "12582912";

/// Where Kafka is and how to reach it.
#[derive(Clone, Debug)]
pub struct KafkaClientConfig {
    brokers: String,
    prefix: String,
    /// Whether flat records are published.
    call_facts: bool,
    compression: KafkaCompression,
    properties: BTreeMap<String, Secret<String>>,
}

/// How long a fetch waits to coalesce messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchMode {
    /// Not at all: a client waits for each message.
    Immediate,
    /// Up to 2 ms: an answer costs the broker and the consumer more than a message.
    Coalesced,
    /// Up to 10 ms, for larger batches.
    Batched,
}

impl KafkaClientConfig {
    /// From the settings.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            brokers: settings.kafka_brokers.clone(),
            prefix: settings.topic_prefix.clone(),
            call_facts: settings.kafka.call_facts == CallFactsTopic::On,
            compression: settings.kafka.compression,
            properties: settings.kafka.properties.clone(),
        }
    }

    /// The full name of a topic.
    #[must_use]
    pub fn topic(&self, topic: super::Topic) -> String {
        format!("{}{}", self.prefix, topic.name())
    }

    /// The full name of the topic of flat records.
    #[must_use]
    pub fn call_facts_topic(&self) -> String {
        format!("{}{}", self.prefix, super::message::CALL_FACTS)
    }

    /// The full names of all topics: those of [`super::Topic::ALL`] in their order, then that of flat records if
    /// they are published.
    pub(super) fn topics(&self) -> Vec<String> {
        let topics = super::Topic::ALL.iter().map(|topic| self.topic(*topic));
        topics.chain(self.call_facts.then(|| self.call_facts_topic())).collect()
    }

    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "onrecord")
            // Come back quickly after an outage: the default grows to 10 s.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.keepalive.enable", "true")
            .set("message.max.bytes", MAX_MESSAGE_BYTES);
        if cfg!(feature = "kafka-tls") {
            // The bundled OpenSSL has a default path for certificates that no system has; with this
            // value librdkafka tries the usual paths.
            config.set("ssl.ca.location", "probe");
        }
        config
    }

    /// Adds the properties of the operator, which override these. Forbidden ones are refused earlier.
    fn with_properties(&self, mut config: ClientConfig) -> ClientConfig {
        for (key, value) in &self.properties {
            config.set(key, value.expose());
        }
        config
    }

    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.base();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            // Topics are created with the settings of [kafka] only.
            .set("allow.auto.create.topics", "false")
            // Longer than the application waits: a shorter timeout closes the broker connection of
            // other messages too.
            .set("message.timeout.ms", "30000")
            .set("queue.buffering.max.kbytes", "131072")
            .set("statistics.interval.ms", "5000")
            .set("compression.type", <&str>::from(self.compression));
        self.with_properties(config)
    }

    pub(crate) fn consumer(&self, mode: FetchMode) -> ClientConfig {
        let mut config = self.base();
        let (wait_ms, min_bytes) = match mode {
            FetchMode::Immediate => ("10", "1"),
            FetchMode::Coalesced => ("2", "65536"),
            FetchMode::Batched => ("10", "262144"),
        };
        config
            // librdkafka requires one; the group is never joined, because PostgreSQL has the positions.
            .set("group.id", "onrecord")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", wait_ms)
            // A broker answers earlier if it has this number of bytes.
            .set("fetch.min.bytes", min_bytes)
            .set("fetch.error.backoff.ms", "100")
            // Limits the memory for messages that are fetched ahead. A larger message is delivered
            // too: a broker always sends at least one.
            .set("fetch.message.max.bytes", "131072")
            .set("fetch.max.bytes", MAX_MESSAGE_BYTES)
            .set("queued.max.messages.kbytes", "1024")
            // The default of 1 s would delay the fetch after the queue was full.
            .set("fetch.queue.backoff.ms", "5")
            // New partitions are detected within 30 s.
            .set("topic.metadata.refresh.interval.ms", "15000");
        self.with_properties(config)
    }

    /// For reads of single messages: fetches as little as possible beside them.
    pub(crate) fn point_read(&self) -> ClientConfig {
        let mut config = self.consumer(FetchMode::Immediate);
        config.set("fetch.message.max.bytes", "1").set("queued.min.messages", "1");
        config
    }

    pub(crate) fn admin(&self) -> ClientConfig {
        self.with_properties(self.base())
    }
}
