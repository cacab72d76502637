//! Writes to the log, and knows whether that is known to have succeeded.
//!
//! # Why
//!
//! The road waits two seconds, librdkafka tries for thirty: a message that was given up as not
//! confirmed may be confirmed yet. That word is waited for as well, by the drain itself and, for
//! the road, by a task beside it; or the drain would publish the same messages again and again to
//! a Kafka that is merely slow.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use metrics::gauge;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::{DeliveryFuture, OwnedDeliveryResult};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use super::breaker::{Breaker, Way};
use super::connection::Connection;
use super::message::WireMessage;
use crate::lifecycle::{Lifecycle, Readiness};
use crate::telemetry::names;

/// How a publication ended.
#[must_use = "what is not confirmed must be stored elsewhere"]
#[derive(Debug, PartialEq, Eq)]
pub enum Publication {
    /// Kafka has it (`acks=all`).
    Confirmed,
    /// Possibly stored, possibly not: store it elsewhere as well.
    NotConfirmed,
    /// Kafka will never take this message; the text says why.
    Refused(String),
}

/// After so long librdkafka has said its last word on a message (`message.timeout.ms` is 30 s).
const LAST_WORD: Duration = Duration::from_secs(35);

/// A component that published well is well until the next look.
const WELL: Duration = Duration::from_secs(3600);

/// The producer and its breaker; one for the whole node.
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
}

struct Inner {
    connection: Connection,
    breaker: Arc<Mutex<Breaker>>,
    lifecycle: Lifecycle,
    producer: RwLock<Generation>,
    patience: Duration,
}

/// A fatal error (the idempotent producer lost its sequence) ends a producer for good; another one
/// takes its place.
struct Generation {
    number: u64,
    producer: FutureProducer<Context>,
}

/// Messages that the producer has, in their order, or why not.
struct HandedOver {
    generation: u64,
    at: tokio::time::Instant,
    deliveries: Vec<Result<DeliveryFuture, KafkaError>>,
}

/// Messages whose last word is still to come, by their place among all.
struct Outstanding {
    generation: u64,
    until: tokio::time::Instant,
    deliveries: Vec<(usize, DeliveryFuture)>,
}

/// librdkafka's own word about the state of the cluster.
struct Context {
    breaker: Arc<Mutex<Breaker>>,
    readiness: Readiness,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = false;

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            if lock(&self.breaker).all_brokers_down() {
                opened();
            }
            self.readiness.unwell("kafka", "no broker is reachable");
        } else {
            tracing::debug!(error = %error, "kafka producer: {reason}");
        }
    }
}

fn lock(breaker: &Mutex<Breaker>) -> MutexGuard<'_, Breaker> {
    breaker.lock().unwrap_or_else(PoisonError::into_inner)
}

fn opened() {
    gauge!(names::BREAKER_OPEN).set(1.0);
    tracing::warn!("kafka does not confirm, messages go straight to the spool until it does");
}

fn closed() {
    gauge!(names::BREAKER_OPEN).set(0.0);
    tracing::info!("kafka is tried first again");
}

impl Publisher {
    /// Makes the producer; Kafka need not be there yet.
    ///
    /// # Errors
    ///
    /// A property in the settings is unknown to librdkafka or has a wrong value.
    pub fn new(
        connection: &Connection,
        patience: Duration,
        lifecycle: Lifecycle,
    ) -> Result<Self, KafkaError> {
        let breaker = Arc::new(Mutex::new(Breaker::default()));
        let first = Generation {
            number: 0,
            producer: create(connection, &breaker, lifecycle.readiness())?,
        };
        lifecycle.readiness().starting("kafka");
        let inner = Inner {
            connection: connection.clone(),
            breaker,
            lifecycle,
            producer: RwLock::new(first),
            patience,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Which way the next publication takes.
    #[must_use]
    pub fn way(&self) -> Way {
        self.breaker().way(Instant::now())
    }

    /// Whether Kafka confirms, as far as is known, be it later than the patience.
    #[must_use]
    pub fn is_confirming(&self) -> bool {
        self.breaker().is_confirming()
    }

    /// Publishes all messages and waits, at most the configured patience, for Kafka's word on each.
    pub async fn publish(&self, messages: &[WireMessage]) -> Vec<Publication> {
        let (publications, outstanding) = self.publish_within_patience(messages).await;
        if !outstanding.deliveries.is_empty() {
            let publisher = self.clone();
            self.inner.lifecycle.finish(async move {
                let _known_to_the_breaker = publisher.last_words(outstanding).await;
            });
        }
        publications
    }

    /// Publishes all messages and waits for Kafka's last word on each, which takes half a minute
    /// at most. For those who would publish again what is not confirmed.
    pub async fn publish_to_the_end(&self, messages: &[WireMessage]) -> Vec<Publication> {
        let (mut publications, outstanding) = self.publish_within_patience(messages).await;
        for (at, word) in self.last_words(outstanding).await {
            if let Some(publication) = publications.get_mut(at) {
                *publication = word;
            }
        }
        publications
    }

    async fn publish_within_patience(
        &self,
        messages: &[WireMessage],
    ) -> (Vec<Publication>, Outstanding) {
        // First all are handed over, then all are awaited: a batch costs one round trip.
        let handed_over = self.hand_over(messages);
        // One for all of them: each would be a timer of its own.
        let patience = tokio::time::sleep_until(handed_over.at + self.inner.patience);
        tokio::pin!(patience);
        let mut outstanding = Outstanding {
            generation: handed_over.generation,
            until: handed_over.at + LAST_WORD,
            deliveries: Vec::new(),
        };
        let mut publications = Vec::with_capacity(messages.len());
        for (at, delivery) in handed_over.deliveries.into_iter().enumerate() {
            publications.push(match delivery {
                Ok(mut delivery) => tokio::select! {
                    biased;
                    word = &mut delivery => heard(word.ok()),
                    () = &mut patience => {
                        outstanding.deliveries.push((at, delivery));
                        Publication::NotConfirmed
                    }
                },
                Err(error) => judge(&error),
            });
        }
        self.learn(&publications);
        self.renew(outstanding.generation);
        (publications, outstanding)
    }

    /// Waits for what is outstanding, but not beyond the stop.
    async fn last_words(&self, outstanding: Outstanding) -> Vec<(usize, Publication)> {
        let mut words = Vec::with_capacity(outstanding.deliveries.len());
        let soft = self.inner.lifecycle.soft();
        for (at, delivery) in outstanding.deliveries {
            let word = tokio::select! {
                word = tokio::time::timeout_at(outstanding.until, delivery) => word,
                () = soft.cancelled() => break,
            };
            let publication = heard(word.ok().and_then(Result::ok));
            match publication {
                Publication::Confirmed => self.breaker().heard_late(true),
                Publication::NotConfirmed => self.breaker().heard_late(false),
                Publication::Refused(_) => {}
            }
            words.push((at, publication));
        }
        self.renew(outstanding.generation);
        words
    }

    fn hand_over(&self, messages: &[WireMessage]) -> HandedOver {
        let current = self.current();
        let deliveries = messages
            .iter()
            .map(|message| {
                let topic = self.inner.connection.topic(message.topic);
                let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
                for (name, value) in &message.headers {
                    headers = headers.insert(Header {
                        key: name,
                        value: Some(value),
                    });
                }
                let record = FutureRecord::to(&topic)
                    .key(&message.key)
                    .payload(&message.value)
                    .headers(headers);
                let sent = current.producer.send_result(record);
                sent.map_err(|(error, _)| error)
            })
            .collect();
        HandedOver {
            generation: current.number,
            at: tokio::time::Instant::now(),
            deliveries,
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        lock(&self.inner.breaker)
    }

    fn current(&self) -> RwLockReadGuard<'_, Generation> {
        let producer = &self.inner.producer;
        producer.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the producer anew, if it is still this one and had a fatal error.
    fn renew(&self, generation: u64) {
        let is_over = |current: &Generation| {
            current.number == generation && current.producer.client().fatal_error().is_some()
        };
        if !is_over(&self.current()) {
            return;
        }
        let producer = &self.inner.producer;
        let mut current = producer.write().unwrap_or_else(PoisonError::into_inner);
        // Others saw the same.
        if !is_over(&current) {
            return;
        }
        let readiness = self.inner.lifecycle.readiness();
        match create(&self.inner.connection, &self.inner.breaker, readiness) {
            Ok(producer) => {
                let number = generation + 1;
                let old = std::mem::replace(&mut *current, Generation { number, producer });
                drop(current);
                // It waits for its thread.
                tokio::task::spawn_blocking(move || drop(old));
                tracing::warn!("the kafka producer had a fatal error and was made anew");
            }
            Err(error) => {
                drop(current);
                tracing::error!(error = %error, "the kafka producer cannot be made anew: {error}");
            }
        }
    }

    fn learn(&self, publications: &[Publication]) {
        let readiness = self.inner.lifecycle.readiness();
        if publications.contains(&Publication::NotConfirmed) {
            if self.breaker().missed(Instant::now()) {
                opened();
            }
            readiness.unwell("kafka", "it does not confirm messages");
        } else if publications.contains(&Publication::Confirmed) {
            if self.breaker().confirmed() {
                closed();
            }
            readiness.well("kafka", WELL);
        } else {
            // What is refused may have been refused here, by the client library.
            self.breaker().learnt_nothing();
        }
    }

    /// Asks Kafka for its metadata, so that readiness is known without traffic.
    pub async fn check(&self) {
        let publisher = self.clone();
        let answer = tokio::task::spawn_blocking(move || {
            // A clone, because the lock is not held for so long; it is dropped in this thread.
            let producer = publisher.current().producer.clone();
            producer
                .client()
                .fetch_metadata(None, Duration::from_secs(2))
                .map(|metadata| metadata.brokers().len())
        })
        .await;
        let readiness = self.inner.lifecycle.readiness();
        match answer {
            Ok(Ok(_)) => {
                if self.breaker().reachable(Instant::now()) {
                    closed();
                }
                if !self.breaker().is_open() {
                    readiness.well("kafka", WELL);
                }
            }
            Ok(Err(error)) => {
                if self.breaker().all_brokers_down() {
                    opened();
                }
                readiness.unwell("kafka", error.to_string());
            }
            Err(_) => {}
        }
    }
}

/// `None`: the producer was replaced, or nobody waited any longer; possibly stored.
fn heard(word: Option<OwnedDeliveryResult>) -> Publication {
    match word {
        Some(Ok(_)) => Publication::Confirmed,
        Some(Err((error, _))) => judge(&error),
        None => Publication::NotConfirmed,
    }
}

fn judge(error: &KafkaError) -> Publication {
    match error.rdkafka_error_code() {
        Some(
            code @ (RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::InvalidRecord),
        ) => Publication::Refused(code.to_string()),
        _ => {
            tracing::debug!(error = %error, "kafka did not take a message");
            Publication::NotConfirmed
        }
    }
}

fn create(
    connection: &Connection,
    breaker: &Arc<Mutex<Breaker>>,
    readiness: &Readiness,
) -> Result<FutureProducer<Context>, KafkaError> {
    let context = Context {
        breaker: Arc::clone(breaker),
        readiness: readiness.clone(),
    };
    let created = connection.producer().create_with_context(context);
    created.map_err(without_value)
}

/// What stands in the settings may be a password, and is not repeated.
pub(super) fn without_value(error: KafkaError) -> KafkaError {
    match error {
        KafkaError::ClientConfig(code, _, key, _) => {
            let what = "the property is unknown, or has a value that it cannot have:".to_owned();
            KafkaError::ClientConfig(code, what, key, String::new())
        }
        error => error,
    }
}

#[cfg(test)]
mod tests;
