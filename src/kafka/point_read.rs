//! Reads single messages of the log, independently of the consumers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::connection::KafkaClientConfig;
use super::consumer::{ConsumerError, REQUEST_TIMEOUT, wire};
use super::message::{Topic, WireMessage};
use super::reopening::{ClientFailure, report_reopened};

/// Timeout for a message that is in the log.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Reads messages of one topic by offset; no position moves.
pub struct PointRead {
    connection: KafkaClientConfig,
    consumer: Arc<BaseConsumer>,
    failure: ClientFailure,
    topic: Topic,
    name: String,
}

impl PointRead {
    /// Creates the client.
    ///
    /// # Errors
    ///
    /// A property in the settings is wrong.
    pub fn open(connection: &KafkaClientConfig, topic: Topic) -> Result<Self, ConsumerError> {
        Ok(Self {
            connection: connection.clone(),
            consumer: Arc::new(connection.point_read().create()?),
            failure: ClientFailure::default(),
            topic,
            name: connection.topic(topic),
        })
    }

    /// The first and the next offset of a partition.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Unavailable`].
    pub async fn watermarks(&mut self, partition: i32) -> Result<(i64, i64), ConsumerError> {
        let name = self.name.clone();
        self.request(move |consumer| consumer.fetch_watermarks(&name, partition, REQUEST_TIMEOUT))
            .await
    }

    /// The message at this offset; `None` if the log does not have it. The inner `None` means bytes
    /// that are not UTF-8.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Unavailable`].
    pub async fn at(
        &mut self,
        partition: i32,
        offset: i64,
    ) -> Result<Option<Option<WireMessage>>, ConsumerError> {
        let (topic, name) = (self.topic, self.name.clone());
        self.request(move |consumer| {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&name, partition, Offset::Offset(offset))?;
            consumer.assign(&list)?;
            let found = poll(consumer, topic, offset);
            consumer.unassign()?;
            found
        })
        .await
    }

    /// Runs a blocking request, and opens the client again if requests have failed for long.
    async fn request<T, F>(&mut self, request: F) -> Result<T, ConsumerError>
    where
        T: Send + 'static,
        F: FnOnce(&BaseConsumer) -> Result<T, KafkaError> + Send + 'static,
    {
        let consumer = Arc::clone(&self.consumer);
        let answer = tokio::task::spawn_blocking(move || request(&consumer)).await;
        let answer = answer.map_err(|_| KafkaError::Canceled)?;
        if answer.is_ok() {
            self.failure.ended();
        } else if let Some(failed_for) = self.failure.continues(Instant::now()) {
            let reopened = Arc::new(self.connection.point_read().create()?);
            let failed = std::mem::replace(&mut self.consumer, reopened);
            // The drop waits for the threads of the client.
            tokio::task::spawn_blocking(move || drop(failed));
            report_reopened("point_read", failed_for);
        }
        Ok(answer?)
    }
}

fn poll(
    consumer: &BaseConsumer,
    topic: Topic,
    offset: i64,
) -> Result<Option<Option<WireMessage>>, KafkaError> {
    let began = Instant::now();
    while began.elapsed() < TIMEOUT {
        match consumer.poll(Duration::from_millis(200)) {
            // A transaction marker or a compacted message is at the offset.
            Some(Ok(message)) if message.offset() != offset => return Ok(None),
            Some(Ok(message)) => return Ok(Some(wire(&message, topic))),
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                    return Ok(None);
                }
                Some(
                    RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::LeaderNotAvailable
                    | RDKafkaErrorCode::NotLeaderForPartition,
                ) => {}
                _ => return Err(error),
            },
            None => {}
        }
    }
    Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut))
}
