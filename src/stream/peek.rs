//! A look at single messages of the log, beside whoever reads it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::connection::Connection;
use super::message::{Topic, WireMessage};
use super::reader::{ReaderError, wire};

/// A message that is on the log comes within this.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at messages of one topic without moving anybody's position.
pub struct Peek {
    consumer: Arc<BaseConsumer>,
    topic: Topic,
    name: String,
}

impl Peek {
    /// Prepares to look.
    ///
    /// # Errors
    ///
    /// A property in the settings is wrong.
    pub fn open(connection: &Connection, topic: Topic) -> Result<Self, ReaderError> {
        Ok(Self {
            consumer: Arc::new(connection.peek().create()?),
            topic,
            name: connection.topic(topic),
        })
    }

    /// The message at this offset; `None` if the log does not have it. Inside, `None` means bytes
    /// that are no UTF-8.
    ///
    /// # Errors
    ///
    /// [`ReaderError::Unavailable`].
    pub async fn at(
        &self,
        partition: i32,
        offset: i64,
    ) -> Result<Option<Option<WireMessage>>, ReaderError> {
        let (consumer, topic, name) = (Arc::clone(&self.consumer), self.topic, self.name.clone());
        let look = move || {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&name, partition, Offset::Offset(offset))?;
            consumer.assign(&list)?;
            let found = wait(&consumer, topic, offset);
            consumer.unassign()?;
            found
        };
        let found = tokio::task::spawn_blocking(look).await;
        Ok(found.map_err(|_| KafkaError::Canceled)??)
    }
}

fn wait(
    consumer: &BaseConsumer,
    topic: Topic,
    offset: i64,
) -> Result<Option<Option<WireMessage>>, KafkaError> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        match consumer.poll(Duration::from_millis(200)) {
            // Offsets of transaction markers and of compacted messages are skipped.
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
    Err(KafkaError::MessageConsumption(
        RDKafkaErrorCode::OperationTimedOut,
    ))
}
