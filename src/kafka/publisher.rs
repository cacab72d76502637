//! Publishes messages to the log, and returns a delivery report for each.
//!
//! # Why
//!
//! A caller waits 2 s, librdkafka tries for 30 s: a message that was reported as not confirmed may be
//! confirmed later. The final report is awaited too, by the drain itself or else by a background task.
//! Otherwise the drain would publish the same messages again and again to a Kafka that is merely slow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use metrics::gauge;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::{DeliveryFuture, OwnedDeliveryResult};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::statistics::Statistics;

use super::circuit_breaker::{CircuitBreaker, PublishRoute};
use super::connection::KafkaClientConfig;
use super::message::{Topic, WireMessage};
use super::reopening::{ClientFailure, report_reopened};
use crate::clock;
use crate::lifecycle::background_writer::{BackgroundWriter, Merge};
use crate::lifecycle::{Lifecycle, Readiness};
use crate::telemetry::names;

/// The delivery report of a message.
#[must_use = "what is not confirmed must be stored elsewhere"]
#[derive(Debug, PartialEq, Eq)]
pub enum Publication {
    /// Kafka has it (`acks=all`).
    Confirmed,
    /// Possibly stored: store it elsewhere as well.
    NotConfirmed,
    /// Kafka will never take this message, for this reason.
    Refused(String),
}

/// How far Kafka acknowledged the messages of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AcknowledgedEnd {
    /// The first offset that it acknowledged since the last write.
    pub first_offset: i64,
    /// The offset behind the last one.
    pub next_offset: i64,
    pub acknowledged_at: DateTime<Utc>,
}

impl Merge for AcknowledgedEnd {
    fn merge(&mut self, other: Self) {
        let first_offset = self.first_offset.min(other.first_offset);
        if other.next_offset > self.next_offset {
            *self = other;
        }
        self.first_offset = first_offset;
    }
}

/// Timeout for the final report of librdkafka (`message.timeout.ms` is 30 s).
const FINAL_REPORT_TIMEOUT: Duration = Duration::from_secs(35);

/// Timeout of a request for the metadata.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// Time for which a healthy component stays healthy: failures are reported when they happen.
const HEALTHY_FOR: Duration = Duration::from_secs(3600);

/// The producer and its circuit breaker; a node has one.
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<PublisherState>,
}

struct PublisherState {
    connection: KafkaClientConfig,
    breaker: Arc<Mutex<CircuitBreaker>>,
    lifecycle: Lifecycle,
    producer: RwLock<ProducerGeneration>,
    /// Since when no broker has answered the producer.
    failure: Mutex<ClientFailure>,
    /// Maximum wait of a caller for confirmations.
    confirm_timeout: Duration,
    /// By topic and partition, what is not written yet.
    acknowledged: BackgroundWriter<(Topic, i32), AcknowledgedEnd>,
}

/// A producer, which a fatal error ends (the idempotent producer lost its sequence). Another
/// generation replaces it, and one to which no broker answers for long.
struct ProducerGeneration {
    number: u64,
    producer: FutureProducer<ProducerContext>,
}

/// Messages without a final report, by their index in the batch.
struct OutstandingReports {
    generation: u64,
    until: tokio::time::Instant,
    deliveries: Vec<(usize, Topic, DeliveryFuture)>,
}

/// Receives what librdkafka reports about the cluster.
struct ProducerContext {
    breaker: Arc<Mutex<CircuitBreaker>>,
    readiness: Readiness,
}

impl ClientContext for ProducerContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = false;

    fn stats(&self, statistics: Statistics) {
        gauge!(names::KAFKA_PRODUCER_QUEUE).set(statistics.msg_cnt as f64);
        for broker in statistics.brokers.into_values() {
            // Addresses of the settings become brokers when they are reached; they have no id.
            if let (Some(round_trip), 0..) = (broker.rtt, broker.nodeid) {
                let seconds = round_trip.avg as f64 / 1e6;
                gauge!(names::KAFKA_ROUND_TRIP_SECONDS, "broker" => broker.nodename).set(seconds);
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            if lock(&self.breaker).all_brokers_down() {
                report_open();
            }
            self.readiness.unhealthy("kafka", "no broker is reachable");
        } else {
            tracing::debug!(error = %error, "kafka producer: {reason}");
        }
    }
}

fn lock(breaker: &Mutex<CircuitBreaker>) -> MutexGuard<'_, CircuitBreaker> {
    breaker.lock().unwrap_or_else(PoisonError::into_inner)
}

fn report_open() {
    gauge!(names::KAFKA_CIRCUIT_OPEN).set(1.0);
    tracing::warn!("kafka does not confirm, messages go directly to the spool until it does");
}

fn report_closed() {
    gauge!(names::KAFKA_CIRCUIT_OPEN).set(0.0);
    tracing::info!("messages go to kafka first again");
}

impl Publisher {
    /// Creates the producer; Kafka need not be available yet.
    ///
    /// # Errors
    ///
    /// A property in the settings is unknown to librdkafka or has a wrong value.
    pub fn new(
        connection: &KafkaClientConfig,
        confirm_timeout: Duration,
        lifecycle: Lifecycle,
    ) -> Result<Self, KafkaError> {
        let breaker = Arc::new(Mutex::new(CircuitBreaker::default()));
        let producer = create(connection, &breaker, lifecycle.readiness())?;
        lifecycle.readiness().starting("kafka");
        let inner = PublisherState {
            connection: connection.clone(),
            breaker,
            lifecycle,
            producer: RwLock::new(ProducerGeneration { number: 0, producer }),
            failure: Mutex::default(),
            confirm_timeout,
            acknowledged: BackgroundWriter::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How far Kafka acknowledged the messages of this node.
    pub(crate) fn acknowledged_ends(&self) -> &BackgroundWriter<(Topic, i32), AcknowledgedEnd> {
        &self.inner.acknowledged
    }

    /// The route of the next publication.
    #[must_use]
    pub fn next_route(&self) -> PublishRoute {
        self.breaker().next_route(Instant::now())
    }

    /// Whether Kafka confirms, as far as is known, even if later than the timeout.
    #[must_use]
    pub fn is_confirming(&self) -> bool {
        self.breaker().is_confirming()
    }

    /// Publishes all messages and waits for their delivery reports, at most the configured timeout.
    pub async fn publish(&self, messages: &[WireMessage]) -> Vec<Publication> {
        let (publications, outstanding) = self.publish_within_timeout(messages).await;
        if !outstanding.deliveries.is_empty() {
            let publisher = self.clone();
            self.inner.lifecycle.run_to_completion(async move {
                // The reports are for the circuit breaker only: the caller has its answer.
                let _ = publisher.final_reports(outstanding).await;
            });
        }
        publications
    }

    /// Publishes all messages and waits for the final report of each, at most
    /// 35 s. For a caller that publishes unconfirmed messages again.
    pub async fn publish_with_final_reports(&self, messages: &[WireMessage]) -> Vec<Publication> {
        let (mut publications, outstanding) = self.publish_within_timeout(messages).await;
        for (index, report) in self.final_reports(outstanding).await {
            if let Some(publication) = publications.get_mut(index) {
                *publication = report;
            }
        }
        publications
    }

    async fn publish_within_timeout(
        &self,
        messages: &[WireMessage],
    ) -> (Vec<Publication>, OutstandingReports) {
        // All are enqueued before the first is awaited: a batch costs one round trip.
        let (generation, deliveries) = self.enqueue(messages);
        let enqueued_at = tokio::time::Instant::now();
        // One timer for the whole batch.
        let timeout = tokio::time::sleep_until(enqueued_at + self.inner.confirm_timeout);
        tokio::pin!(timeout);
        let until = enqueued_at + FINAL_REPORT_TIMEOUT;
        let mut outstanding = OutstandingReports { generation, until, deliveries: Vec::new() };
        let mut publications = Vec::with_capacity(messages.len());
        let mut ends = AcknowledgedEnds::default();
        for (index, (delivery, message)) in deliveries.into_iter().zip(messages).enumerate() {
            publications.push(match delivery {
                Ok(mut delivery) => tokio::select! {
                    biased;
                    // An error means that the producer was replaced.
                    report = &mut delivery => publication_of(report.ok(), message.topic, &mut ends),
                    () = &mut timeout => {
                        outstanding.deliveries.push((index, message.topic, delivery));
                        Publication::NotConfirmed
                    }
                },
                Err(error) => classify(&error),
            });
        }
        self.note(ends);
        self.record(&publications);
        self.replace_if_failed(generation);
        (publications, outstanding)
    }

    /// Waits for the final reports, until the stop.
    async fn final_reports(&self, outstanding: OutstandingReports) -> Vec<(usize, Publication)> {
        let mut reports = Vec::with_capacity(outstanding.deliveries.len());
        let mut ends = AcknowledgedEnds::default();
        let soft = self.inner.lifecycle.soft();
        for (index, topic, delivery) in outstanding.deliveries {
            let report = tokio::time::timeout_at(outstanding.until, delivery);
            let Some(report) = soft.run_until_cancelled(report).await else {
                break;
            };
            // Neither a timeout nor a replaced producer is a report: not confirmed.
            let publication = publication_of(report.ok().and_then(Result::ok), topic, &mut ends);
            if !matches!(publication, Publication::Refused(_)) {
                self.breaker().late_report(publication == Publication::Confirmed);
            }
            reports.push((index, publication));
        }
        self.note(ends);
        self.replace_if_failed(outstanding.generation);
        reports
    }

    /// Gives the messages to the producer, in order. Returns its generation, and for each message its
    /// delivery or the error for which it was refused.
    fn enqueue(&self, messages: &[WireMessage]) -> (u64, Vec<Result<DeliveryFuture, KafkaError>>) {
        let current = self.current();
        let deliveries = messages.iter().map(|message| {
            let topic = self.inner.connection.topic(message.topic);
            let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
            for (name, value) in &message.headers {
                headers = headers.insert(Header { key: name, value: Some(value) });
            }
            let record = FutureRecord::to(&topic).key(&message.key).payload(&message.value);
            let sent = current.producer.send_result(record.headers(headers));
            sent.map_err(|(error, _)| error)
        });
        (current.number, deliveries.collect())
    }

    fn note(&self, AcknowledgedEnds(ends): AcknowledgedEnds) {
        let acknowledged_at = clock::now();
        let ends = ends.into_iter();
        let ends = ends.map(|(key, (first_offset, next_offset))| {
            (key, AcknowledgedEnd { first_offset, next_offset, acknowledged_at })
        });
        self.inner.acknowledged.add_all(ends);
    }

    /// For how long the producer has failed, if it is to be opened again now.
    fn failed_for(&self, is_answered: bool) -> Option<Duration> {
        let mut failure = self.inner.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if is_answered {
            failure.ended();
            return None;
        }
        failure.continues(Instant::now())
    }

    fn breaker(&self) -> MutexGuard<'_, CircuitBreaker> {
        lock(&self.inner.breaker)
    }

    fn current(&self) -> RwLockReadGuard<'_, ProducerGeneration> {
        let producer = &self.inner.producer;
        producer.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the producer, if it is still this generation and had a fatal error.
    fn replace_if_failed(&self, generation: u64) {
        let has_failed = |current: &ProducerGeneration| {
            current.number == generation && current.producer.client().fatal_error().is_some()
        };
        if has_failed(&self.current()) && self.replace(has_failed) {
            tracing::warn!("the kafka producer had a fatal error and was replaced");
        }
    }

    /// Replaces the producer, if it still has to be. Messages that it has not confirmed are in the spool
    /// too. Returns whether it was replaced.
    fn replace(&self, has_failed: impl Fn(&ProducerGeneration) -> bool) -> bool {
        let producer = &self.inner.producer;
        let mut current = producer.write().unwrap_or_else(PoisonError::into_inner);
        // Another task may have replaced it meanwhile.
        if !has_failed(&current) {
            return false;
        }
        let readiness = self.inner.lifecycle.readiness();
        match create(&self.inner.connection, &self.inner.breaker, readiness) {
            Ok(producer) => {
                let number = current.number + 1;
                let old = std::mem::replace(&mut *current, ProducerGeneration { number, producer });
                // The drop waits for the thread of the producer.
                tokio::task::spawn_blocking(move || drop(old));
                true
            }
            Err(error) => {
                tracing::error!(error = %error, "the kafka producer cannot be replaced: {error}");
                false
            }
        }
    }

    /// Kafka's id of the cluster. `None` if no broker answers or it has no id.
    pub async fn cluster_id(&self) -> Option<String> {
        let publisher = self.clone();
        let id = tokio::task::spawn_blocking(move || {
            // As in `check`.
            let producer = publisher.current().producer.clone();
            producer.client().fetch_cluster_id(METADATA_TIMEOUT)
        });
        id.await.ok()?
    }

    /// Records the result of a batch in the circuit breaker and the readiness.
    fn record(&self, publications: &[Publication]) {
        let readiness = self.inner.lifecycle.readiness();
        if publications.contains(&Publication::NotConfirmed) {
            if self.breaker().timed_out(Instant::now()) {
                report_open();
            }
            readiness.unhealthy("kafka", "it does not confirm messages");
        } else if publications.contains(&Publication::Confirmed) {
            if self.breaker().confirmed() {
                report_closed();
            }
            readiness.healthy("kafka", HEALTHY_FOR);
        } else {
            // The client library itself may have refused the messages.
            self.breaker().inconclusive();
        }
    }

    /// Asks Kafka for its metadata, so that readiness is known without traffic. A producer to which no
    /// broker has answered for long is replaced.
    pub async fn check(&self) {
        let publisher = self.clone();
        let generation = self.current().number;
        let answer = tokio::task::spawn_blocking(move || {
            // A clone, so that the lock is not held meanwhile; it is dropped in this thread.
            let producer = publisher.current().producer.clone();
            producer.client().fetch_metadata(None, METADATA_TIMEOUT).map(drop)
        })
        .await;
        if let Ok(answer) = &answer
            && let Some(failed_for) = self.failed_for(answer.is_ok())
            && self.replace(|current| current.number == generation)
        {
            report_reopened("producer", failed_for);
        }
        let readiness = self.inner.lifecycle.readiness();
        match answer {
            Ok(Ok(())) => {
                if self.breaker().reachable(Instant::now()) {
                    report_closed();
                }
                if !self.breaker().is_open() {
                    readiness.healthy("kafka", HEALTHY_FOR);
                }
            }
            Ok(Err(error)) => {
                if self.breaker().all_brokers_down() {
                    report_open();
                }
                readiness.unhealthy("kafka", error.to_string());
            }
            // The task panicked or the runtime stops: nothing is known of Kafka.
            Err(_) => {}
        }
    }
}

/// By topic and partition, the first acknowledged offset of a batch, and the one behind the last.
#[derive(Default)]
struct AcknowledgedEnds(BTreeMap<(Topic, i32), (i64, i64)>);

/// The publication of a delivery report; `None`: there was none in time, so it is possibly stored.
fn publication_of(
    report: Option<OwnedDeliveryResult>,
    topic: Topic,
    AcknowledgedEnds(ends): &mut AcknowledgedEnds,
) -> Publication {
    match report {
        Some(Ok(delivery)) => {
            // Without an offset the broker had the message already.
            if delivery.offset >= 0 {
                let offset = delivery.offset;
                let (first, next) =
                    ends.entry((topic, delivery.partition)).or_insert((offset, offset + 1));
                (*first, *next) = (offset.min(*first), (offset + 1).max(*next));
            }
            Publication::Confirmed
        }
        Some(Err((error, _))) => classify(&error),
        None => Publication::NotConfirmed,
    }
}

fn classify(error: &KafkaError) -> Publication {
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
    connection: &KafkaClientConfig,
    breaker: &Arc<Mutex<CircuitBreaker>>,
    readiness: &Readiness,
) -> Result<FutureProducer<ProducerContext>, KafkaError> {
    let context = ProducerContext { breaker: Arc::clone(breaker), readiness: readiness.clone() };
    let created = connection.producer().create_with_context(context);
    created.map_err(without_value)
}

/// Removes the value of a property from an error, because it may be a password (`NO_SECRETS`).
pub(crate) fn without_value(error: KafkaError) -> KafkaError {
    match error {
        KafkaError::ClientConfig(code, _, key, _) => {
            let reason = "the property is unknown, or has a value that it cannot have:".to_owned();
            KafkaError::ClientConfig(code, reason, key, String::new())
        }
        error => error,
    }
}

#[cfg(test)]
mod tests;
