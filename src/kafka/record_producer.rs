//! Publishes the records of a compacted topic in transactions, of which only the latest producer may commit one.
//!
//! # Why
//!
//! The last message of a key is what holds. A node that was frozen, and whose lease another one took, must not
//! publish what it read before: opening a producer fences the one before it.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::connection::KafkaClientConfig;
use super::message::MessageHeader;

/// Timeout of opening a producer, and of a transaction.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(20);
/// Wait for a place in the queue of the producer.
const QUEUE_WAIT: Duration = Duration::from_millis(50);

/// A message of the topic.
#[derive(Clone, Debug)]
pub(crate) struct KeyedRecord {
    pub key: String,
    pub headers: Vec<MessageHeader>,
    /// `None`: a tombstone.
    pub value: Option<String>,
}

/// Kafka does not answer or refuses. What was not committed is not published.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct RecordProducerError(#[from] KafkaError);

/// A producer of the topic. After an error another one is opened.
#[derive(Clone)]
pub(crate) struct RecordProducer {
    producer: Arc<BaseProducer>,
    topic: Arc<str>,
}

impl RecordProducer {
    /// Opens a producer. What an earlier one had not committed is never committed.
    ///
    /// # Errors
    ///
    /// Kafka does not answer, or refuses transactions.
    pub(crate) async fn open(connection: &KafkaClientConfig) -> Result<Self, RecordProducerError> {
        let topic: Arc<str> = connection.call_facts_topic().into();
        let mut config = connection.producer();
        config.set("transactional.id", &*topic).set("statistics.interval.ms", "0");
        blocking(move || {
            let producer: BaseProducer = config.create()?;
            producer.init_transactions(TRANSACTION_TIMEOUT)?;
            Ok(Self { producer: Arc::new(producer), topic })
        })
        .await
    }

    /// Publishes records in one transaction. Returns the keys of those that are larger than Kafka takes: nothing is
    /// published of them.
    ///
    /// # Errors
    ///
    /// Nothing is published, unless the commit was not answered.
    pub(crate) async fn publish(
        &self,
        records: Vec<KeyedRecord>,
    ) -> Result<Vec<String>, RecordProducerError> {
        let Self { producer, topic } = self.clone();
        blocking(move || {
            producer.begin_transaction()?;
            let mut too_large = Vec::new();
            for record in &records {
                match send(&producer, &topic, record) {
                    Ok(()) => {}
                    Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)) => {
                        too_large.push(record.key.clone());
                    }
                    Err(error) => {
                        // The next producer aborts it, if this one cannot.
                        if let Err(abort) = producer.abort_transaction(TRANSACTION_TIMEOUT) {
                            tracing::debug!(error = %abort, "a transaction of {topic} is aborted by its timeout: {abort}");
                        }
                        return Err(error);
                    }
                }
            }
            producer.commit_transaction(TRANSACTION_TIMEOUT)?;
            Ok(too_large)
        })
        .await
    }
}

/// Queues a record; waits while the queue is full.
fn send(producer: &BaseProducer, topic: &str, record: &KeyedRecord) -> Result<(), KafkaError> {
    let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    });
    let mut next = BaseRecord::to(topic).key(&record.key).headers(headers);
    next.payload = record.value.as_deref();
    loop {
        match producer.send(next) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                producer.poll(QUEUE_WAIT);
                next = refused;
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// Runs calls of librdkafka that block.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, RecordProducerError> {
    let called = tokio::task::spawn_blocking(call).await.map_err(|_| KafkaError::Canceled)?;
    Ok(called?)
}
