//! Reads the log from positions that its caller owns.
//!
//! # Why
//!
//! No consumer group: a rebalance would move partitions under a transaction, and a committed
//! offset in Kafka could disagree with the rows in Postgres. A reader is told where each partition
//! starts, and a position that the log does not have is answered with the start of what is there
//! and a [`Gap`], never with silence.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use rdkafka::consumer::{Consumer as _, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::connection::{Connection, Haste};
use super::message::{Topic, WireMessage};

const ASK: Duration = Duration::from_secs(5);
/// A batch is waited for no longer than this once its first message is there: what comes beside each
/// other is cheaper to enter together.
const FILL: Duration = Duration::from_millis(100);
/// And ends when nothing came for so long.
const LULL: Duration = Duration::from_millis(20);
/// Of many partitions some may have no leader: the others do not wait longer for them.
const ASK_ALL: Duration = Duration::from_secs(3);

/// Where reading of a partition starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest message that the log still has.
    Beginning,
    /// The first message at or after this instant (ms); the end if there is none.
    At(i64),
    /// This offset.
    Offset(i64),
}

/// One message as it lies on the log.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub partition: i32,
    pub offset: i64,
    /// When the broker or the producer stamped it, ms.
    pub broker_time: i64,
    /// `None`: bytes that are no UTF-8, which no message of ours has.
    pub wire: Option<WireMessage>,
}

/// A position that the log does not have (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub partition: i32,
    /// Where reading should have gone on.
    pub wanted: i64,
    /// Where it goes on.
    pub resumed: i64,
}

/// Reading failed.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// Kafka does not answer; try again.
    #[error("kafka does not answer: {0}")]
    Unavailable(#[from] KafkaError),
    /// No partition has a leader that answers; try again.
    #[error("no partition of the topic answers")]
    NoLeader,
    /// A position is out of range: call [`Reader::mend`].
    #[error("a position is not on the log any more")]
    OutOfRange,
}

/// The client library's words about the cluster; what matters comes as an error of a read.
struct Context;

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(error = %error, "kafka consumer: {reason}");
    }
}

impl ConsumerContext for Context {}

type Consumer = StreamConsumer<Context>;

/// A reader of some partitions of one topic.
pub struct Reader {
    connection: Connection,
    consumer: Arc<Consumer>,
    topic: Topic,
    name: String,
    /// The next offset that is to come, per partition.
    next: BTreeMap<i32, i64>,
    /// An error that came behind messages of a batch: the client library says it only once.
    kept: Option<ReaderError>,
}

/// What is to read in the place of a [`Reader`]'s own client.
pub struct Successor(Consumer);

impl Reader {
    /// Opens a reader that reads nothing yet.
    ///
    /// # Errors
    ///
    /// A property in the settings is wrong.
    pub fn open(connection: &Connection, topic: Topic, haste: Haste) -> Result<Self, ReaderError> {
        Ok(Self {
            connection: connection.clone(),
            consumer: Arc::new(consumer(connection, haste)?),
            topic,
            name: connection.topic(topic),
            next: BTreeMap::new(),
            kept: None,
        })
    }

    /// How many partitions the topic has now.
    ///
    /// # Errors
    ///
    /// [`ReaderError::Unavailable`], also while the topic does not exist.
    pub async fn partitions(&self) -> Result<i32, ReaderError> {
        let name = self.name.clone();
        let count = self
            .ask(move |consumer| {
                let metadata = consumer.fetch_metadata(Some(&name), ASK)?;
                Ok(metadata
                    .topics()
                    .first()
                    .map_or(0, |topic| topic.partitions().len()))
            })
            .await?;
        if count == 0 {
            return Err(
                KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition).into(),
            );
        }
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }

    /// Kafka's id of the cluster, by which a cursor of another one is known.
    pub async fn cluster(&self) -> Option<String> {
        self.ask(|consumer| Ok(consumer.client().fetch_cluster_id(ASK)))
            .await
            .ok()
            .flatten()
    }

    /// The first and the next offset of a partition.
    ///
    /// # Errors
    ///
    /// [`ReaderError::Unavailable`].
    pub async fn watermarks(&self, partition: i32) -> Result<(i64, i64), ReaderError> {
        let name = self.name.clone();
        self.ask(move |consumer| consumer.fetch_watermarks(&name, partition, ASK))
            .await
    }

    /// The first and the next offset of each of these partitions that answers in time.
    pub async fn all_watermarks(&self, partitions: &[i32]) -> BTreeMap<i32, (i64, i64)> {
        let asked = partitions.iter().map(async |partition| {
            let marks = tokio::time::timeout(ASK_ALL, self.watermarks(*partition)).await;
            Some((*partition, marks.ok()?.ok()?))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Starts reading these partitions at these offsets, which are on the log, besides those that
    /// are read already.
    ///
    /// # Errors
    ///
    /// The client library refuses.
    pub fn read_from(&mut self, next: Vec<(i32, i64)>) -> Result<(), ReaderError> {
        if next.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for (partition, offset) in &next {
            list.add_partition_offset(&self.name, *partition, Offset::Offset(*offset))?;
        }
        // Incremental: what is read already must not be fetched anew.
        self.consumer.incremental_assign(&list)?;
        self.next.extend(next);
        Ok(())
    }

    /// What reads with another haste, once each partition has answered it: until then, and if that
    /// fails, this one goes on.
    ///
    /// # Errors
    ///
    /// [`ReaderError::Unavailable`], or the client library refuses.
    pub fn successor(
        &self,
        haste: Haste,
    ) -> impl Future<Output = Result<Successor, ReaderError>> + Send + use<> {
        let (connection, name) = (self.connection.clone(), self.name.clone());
        let partitions: Vec<i32> = self.next.keys().copied().collect();
        let prepared = tokio::task::spawn_blocking(move || {
            let other = consumer(&connection, haste)?;
            for partition in partitions {
                other.fetch_watermarks(&name, partition, ASK)?;
            }
            Ok(Successor(other))
        });
        async move { prepared.await.map_err(|_| KafkaError::Canceled)? }
    }

    /// Lets it go on from where this one is.
    ///
    /// # Errors
    ///
    /// The client library refuses; it is read as before then.
    pub fn hand_over(&mut self, Successor(other): Successor) -> Result<(), ReaderError> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in &self.next {
            list.add_partition_offset(&self.name, *partition, Offset::Offset(*offset))?;
        }
        other.incremental_assign(&list)?;
        let before = std::mem::replace(&mut self.consumer, Arc::new(other));
        // It waits for its threads.
        tokio::task::spawn_blocking(move || drop(before));
        Ok(())
    }

    /// Starts reading these partitions, besides those that are read already. Positions outside
    /// the log are moved to its beginning and reported.
    ///
    /// # Errors
    ///
    /// [`ReaderError::Unavailable`]; nothing new is read then.
    pub async fn assign(&mut self, starts: &[(i32, Start)]) -> Result<Vec<Gap>, ReaderError> {
        let (next, gaps) = self.resolve(starts).await?;
        self.read_from(next)?;
        Ok(gaps)
    }

    /// Where on the log these starts are, and which of them had to be moved.
    async fn resolve(
        &self,
        starts: &[(i32, Start)],
    ) -> Result<(Vec<(i32, i64)>, Vec<Gap>), ReaderError> {
        let mut gaps = Vec::new();
        let mut next = Vec::with_capacity(starts.len());
        for (partition, start) in starts {
            let (low, high) = self.watermarks(*partition).await?;
            let offset = match *start {
                Start::Beginning => low,
                Start::At(instant) => self.offset_at(*partition, instant).await?.unwrap_or(high),
                Start::Offset(offset) if (low..=high).contains(&offset) => offset,
                Start::Offset(offset) => {
                    gaps.push(Gap {
                        partition: *partition,
                        wanted: offset,
                        resumed: low,
                    });
                    low
                }
            };
            next.push((*partition, offset));
        }
        Ok((next, gaps))
    }

    /// Stops reading these partitions.
    ///
    /// # Errors
    ///
    /// The client library refuses.
    pub fn unassign(&mut self, partitions: &[i32]) -> Result<(), ReaderError> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            if self.next.remove(partition).is_some() {
                list.add_partition(&self.name, *partition);
            }
        }
        if list.count() > 0 {
            self.consumer.incremental_unassign(&list)?;
        }
        Ok(())
    }

    /// Whether the partition is being read.
    #[must_use]
    pub fn reads(&self, partition: i32) -> bool {
        self.next.contains_key(&partition)
    }

    /// The next offset to come, per partition that is read.
    #[must_use]
    pub fn positions(&self) -> &BTreeMap<i32, i64> {
        &self.next
    }

    async fn offset_at(&self, partition: i32, instant: i64) -> Result<Option<i64>, ReaderError> {
        let name = self.name.clone();
        self.ask(move |consumer| {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&name, partition, Offset::Offset(instant))?;
            let found = consumer.offsets_for_times(list, ASK)?;
            Ok(found
                .elements()
                .first()
                .and_then(|element| match element.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                }))
        })
        .await
    }

    /// Waits for the next message. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`ReaderError`].
    pub async fn next(&mut self) -> Result<Incoming, ReaderError> {
        if let Some(error) = self.kept.take() {
            return Err(error);
        }
        loop {
            match self.consumer.recv().await {
                Ok(message) => {
                    let incoming = read(&message, self.topic);
                    self.next.insert(incoming.partition, incoming.offset + 1);
                    return Ok(incoming);
                }
                Err(error) => match error.rdkafka_error_code() {
                    Some(
                        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
                    ) => return Err(ReaderError::OutOfRange),
                    // An outage fills the queue with these, ten a second; the client library goes
                    // on by itself, and whoever wants to know asks for the watermarks.
                    Some(
                        RDKafkaErrorCode::AllBrokersDown
                        | RDKafkaErrorCode::BrokerTransportFailure
                        | RDKafkaErrorCode::Resolve
                        | RDKafkaErrorCode::OperationTimedOut
                        | RDKafkaErrorCode::RequestTimedOut
                        | RDKafkaErrorCode::LeaderNotAvailable
                        | RDKafkaErrorCode::NotLeaderForPartition,
                    ) => {}
                    _ => return Err(error.into()),
                },
            }
        }
    }

    /// The next message if it is here already.
    ///
    /// # Errors
    ///
    /// [`ReaderError`].
    pub fn next_ready(&mut self) -> Option<Result<Incoming, ReaderError>> {
        self.next().now_or_never()
    }

    /// The next messages: waits for the first one at most `patience`, then takes what comes without
    /// a lull, for a moment, at most `most`.
    ///
    /// # Errors
    ///
    /// [`ReaderError`], if nothing was read before it.
    pub async fn batch(
        &mut self,
        most: usize,
        patience: Duration,
    ) -> Result<Vec<Incoming>, ReaderError> {
        let mut batch = Vec::new();
        let mut deadline = tokio::time::Instant::now() + patience;
        let mut full_at = None;
        while batch.len() < most {
            match tokio::time::timeout_at(deadline, self.next()).await {
                Err(_) => break,
                Ok(Ok(incoming)) => {
                    batch.push(incoming);
                    let now = tokio::time::Instant::now();
                    deadline = (now + LULL).min(*full_at.get_or_insert(now + FILL));
                }
                Ok(Err(error)) if batch.is_empty() => return Err(error),
                Ok(Err(error)) => {
                    self.kept = Some(error);
                    break;
                }
            }
        }
        Ok(batch)
    }

    /// After [`ReaderError::OutOfRange`]: moves every position that the log does not have to the
    /// log's beginning.
    ///
    /// # Errors
    ///
    /// [`ReaderError::Unavailable`]; nothing has changed then, and the next read says once more
    /// that a position is out of range.
    pub async fn mend(&mut self) -> Result<Vec<Gap>, ReaderError> {
        let positions: Vec<(i32, Start)> = self
            .next
            .iter()
            .map(|(partition, offset)| (*partition, Start::Offset(*offset)))
            .collect();
        match self.resolve(&positions).await {
            Ok((next, gaps)) => {
                // All of them: the client library gave up without saying which.
                let partitions: Vec<i32> = next.iter().map(|(partition, _)| *partition).collect();
                self.unassign(&partitions)?;
                self.read_from(next)?;
                Ok(gaps)
            }
            Err(error) => {
                self.kept = Some(ReaderError::OutOfRange);
                Err(error)
            }
        }
    }

    /// Asks the client library something that blocks.
    async fn ask<T, F>(&self, question: F) -> Result<T, ReaderError>
    where
        T: Send + 'static,
        F: FnOnce(&Consumer) -> Result<T, KafkaError> + Send + 'static,
    {
        let consumer = Arc::clone(&self.consumer);
        let answer = tokio::task::spawn_blocking(move || question(&consumer)).await;
        Ok(answer.map_err(|_| KafkaError::Canceled)??)
    }
}

fn consumer(connection: &Connection, haste: Haste) -> Result<Consumer, ReaderError> {
    Ok(connection.consumer(haste).create_with_context(Context)?)
}

fn read(message: &BorrowedMessage<'_>, topic: Topic) -> Incoming {
    Incoming {
        partition: message.partition(),
        offset: message.offset(),
        broker_time: message.timestamp().to_millis().unwrap_or(0),
        wire: wire(message, topic),
    }
}

pub(super) fn wire(message: &BorrowedMessage<'_>, topic: Topic) -> Option<WireMessage> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let mut headers = Vec::new();
    if let Some(borrowed) = message.headers() {
        for header in borrowed.iter() {
            headers.push((
                header.key.to_owned().into(),
                text(header.value.unwrap_or_default())?,
            ));
        }
    }
    Some(WireMessage {
        topic,
        key: text(message.key().unwrap_or_default())?,
        headers,
        value: text(message.payload().unwrap_or_default())?,
    })
}
