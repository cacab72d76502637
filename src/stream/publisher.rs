//! Writes to the log, and knows whether that is known to have succeeded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use metrics::gauge;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use super::breaker::{Breaker, Way};
use super::connection::Connection;
use super::message::WireMessage;
use crate::lifecycle::Readiness;
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

/// The producer and its breaker; one for the whole node.
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
}

struct Inner {
    connection: Connection,
    breaker: Arc<Mutex<Breaker>>,
    readiness: Readiness,
    producer: RwLock<FutureProducer<Context>>,
    patience: Duration,
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
        readiness: Readiness,
    ) -> Result<Self, KafkaError> {
        let breaker = Arc::new(Mutex::new(Breaker::default()));
        let producer = create(connection, &breaker, &readiness)?;
        readiness.starting("kafka");
        let inner = Inner {
            connection: connection.clone(),
            breaker,
            readiness,
            producer: RwLock::new(producer),
            patience,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Which way the next publication takes.
    #[must_use]
    pub fn way(&self) -> Way {
        lock(&self.inner.breaker).way(Instant::now())
    }

    /// Whether publications go straight to the spool.
    #[must_use]
    pub fn is_open(&self) -> bool {
        lock(&self.inner.breaker).is_open()
    }

    /// Publishes all messages and waits, at most the configured patience, for Kafka's word on each.
    pub async fn publish(&self, messages: &[WireMessage]) -> Vec<Publication> {
        let deadline = tokio::time::Instant::now() + self.inner.patience;
        // First all are handed over, then all are awaited: a batch costs one round trip.
        let deliveries: Vec<_> = messages
            .iter()
            .map(|message| self.hand_over(message))
            .collect();
        let mut publications = Vec::with_capacity(messages.len());
        for delivery in deliveries {
            publications.push(match delivery {
                Ok(delivery) => match tokio::time::timeout_at(deadline, delivery).await {
                    Ok(Ok(Ok(_))) => Publication::Confirmed,
                    Ok(Ok(Err((error, _)))) => self.judge(&error),
                    // The producer was replaced, or patience is at its end: possibly stored.
                    Ok(Err(_)) | Err(_) => Publication::NotConfirmed,
                },
                Err(error) => self.judge(&error),
            });
        }
        self.learn(&publications);
        publications
    }

    fn hand_over(
        &self,
        message: &WireMessage,
    ) -> Result<rdkafka::producer::future_producer::DeliveryFuture, KafkaError> {
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
        let producer = self
            .inner
            .producer
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        producer.send_result(record).map_err(|(error, _)| error)
    }

    fn judge(&self, error: &KafkaError) -> Publication {
        match error.rdkafka_error_code() {
            Some(
                code @ (RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::InvalidRecord),
            ) => Publication::Refused(code.to_string()),
            Some(RDKafkaErrorCode::Fatal) => {
                self.rebuild();
                Publication::NotConfirmed
            }
            _ => {
                if self.fatal() {
                    self.rebuild();
                }
                tracing::debug!(error = %error, "kafka did not take a message");
                Publication::NotConfirmed
            }
        }
    }

    fn fatal(&self) -> bool {
        let producer = self
            .inner
            .producer
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        producer.client().fatal_error().is_some()
    }

    /// A fatal error (the idempotent producer lost its sequence) ends that producer for good.
    fn rebuild(&self) {
        match create(
            &self.inner.connection,
            &self.inner.breaker,
            &self.inner.readiness,
        ) {
            Ok(producer) => {
                tracing::warn!("the kafka producer had a fatal error and was made anew");
                *self
                    .inner
                    .producer
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = producer;
            }
            Err(error) => {
                tracing::error!(error = %error, "the kafka producer cannot be made anew: {error}")
            }
        }
    }

    fn learn(&self, publications: &[Publication]) {
        if publications.is_empty() {
            return;
        }
        let mut breaker = lock(&self.inner.breaker);
        if publications.contains(&Publication::NotConfirmed) {
            if breaker.missed() {
                opened();
            }
            drop(breaker);
            self.inner
                .readiness
                .unwell("kafka", "it does not confirm messages");
            return;
        }
        if breaker.confirmed() {
            closed();
        }
        drop(breaker);
        self.inner
            .readiness
            .well("kafka", Duration::from_secs(3600));
    }

    /// Asks Kafka for its metadata, so that readiness is known without traffic.
    pub async fn check(&self) {
        let inner = Arc::clone(&self.inner);
        let answer = tokio::task::spawn_blocking(move || {
            let producer = inner
                .producer
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            producer
                .client()
                .fetch_metadata(None, Duration::from_secs(2))
                .map(|metadata| metadata.brokers().len())
        })
        .await;
        match answer {
            Ok(Ok(_)) => {
                if lock(&self.inner.breaker).reachable() {
                    closed();
                }
                if !self.is_open() {
                    self.inner
                        .readiness
                        .well("kafka", Duration::from_secs(3600));
                }
            }
            Ok(Err(error)) => {
                if lock(&self.inner.breaker).all_brokers_down() {
                    opened();
                }
                self.inner.readiness.unwell("kafka", error.to_string());
            }
            Err(_) => {}
        }
    }
}

fn create(
    connection: &Connection,
    breaker: &Arc<Mutex<Breaker>>,
    readiness: &Readiness,
) -> Result<FutureProducer<Context>, KafkaError> {
    connection.producer().create_with_context(Context {
        breaker: Arc::clone(breaker),
        readiness: readiness.clone(),
    })
}
