//! How every client of Kafka is configured.

use rdkafka::ClientConfig;

use crate::config::Settings;

/// A message may be so large: an original of 4 MiB, its normalized form and headers.
pub const LARGEST_MESSAGE: &str = "12582912";

/// Where Kafka is and how to reach it.
#[derive(Clone, Debug)]
pub struct Connection {
    brokers: String,
    prefix: String,
    properties: Vec<(String, crate::config::Secret<String>)>,
}

/// How soon a reader wants what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// At once, each message by itself if need be: somebody waits for it.
    Now,
    /// With what else comes within two milliseconds: an answer costs the broker and the reader more
    /// than a message.
    Brisk,
    /// With what else comes within ten milliseconds.
    Soon,
}

impl Connection {
    /// Out of the settings.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            brokers: settings.kafka_brokers.clone(),
            prefix: settings.topic_prefix.clone(),
            properties: settings
                .kafka
                .properties
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        }
    }

    /// The full name of a topic.
    #[must_use]
    pub fn topic(&self, topic: super::Topic) -> String {
        format!("{}{}", self.prefix, topic.name())
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
            .set("message.max.bytes", LARGEST_MESSAGE);
        if cfg!(feature = "kafka-tls") {
            // The OpenSSL that is built in looks for certificates where no system has them;
            // librdkafka knows the usual places.
            config.set("ssl.ca.location", "probe");
        }
        config
    }

    /// What the operator passes through wins over ours; what must not be is refused before.
    fn with_properties(&self, mut config: ClientConfig) -> ClientConfig {
        for (key, value) in &self.properties {
            config.set(key, value.expose());
        }
        config
    }

    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.base();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            // Topics are made with the settings of [kafka], or not at all.
            .set("allow.auto.create.topics", "false")
            // Longer than the application waits: a shorter one closes the broker connection under
            // the messages of others.
            .set("message.timeout.ms", "30000")
            .set("queue.buffering.max.kbytes", "131072")
            .set("compression.type", "lz4");
        self.with_properties(config)
    }

    pub(super) fn consumer(&self, haste: Haste) -> ClientConfig {
        let mut config = self.base();
        let (wait, together) = match haste {
            Haste::Now => ("10", "1"),
            Haste::Brisk => ("2", "65536"),
            Haste::Soon => ("10", "262144"),
        };
        config
            // librdkafka wants one; positions are ours, the group is never joined.
            .set("group.id", "onrecord")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", wait)
            // A broker answers before that time is over if so many bytes are there.
            .set("fetch.min.bytes", together)
            .set("fetch.error.backoff.ms", "100")
            // What is fetched ahead lies in memory. A message that is larger
            // than that comes all the same: a broker always sends one.
            .set("fetch.message.max.bytes", "131072")
            .set("fetch.max.bytes", LARGEST_MESSAGE)
            .set("queued.max.messages.kbytes", "1024")
            // Whoever has taken out what was fetched ahead does not wait a second for more.
            .set("fetch.queue.backoff.ms", "5")
            // New partitions are noticed within 30 s.
            .set("topic.metadata.refresh.interval.ms", "15000");
        self.with_properties(config)
    }

    /// Of single messages: more of the log than that is not fetched for one.
    pub(super) fn peek(&self) -> ClientConfig {
        let mut config = self.consumer(Haste::Now);
        config
            .set("fetch.message.max.bytes", "1")
            .set("queued.min.messages", "1");
        config
    }

    pub(super) fn admin(&self) -> ClientConfig {
        self.with_properties(self.base())
    }
}
