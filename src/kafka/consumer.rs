//! Reads the log from positions that the caller stores.
//!
//! # Why
//!
//! There is no consumer group: a rebalance would move partitions during a transaction, and a committed
//! offset in Kafka could disagree with the rows in PostgreSQL. The caller passes the start of each
//! partition. For a position that the log does not have, reading starts at the beginning of the log, and
//! a [`LogGap`] reports it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use rdkafka::consumer::{Consumer as _, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::connection::{FetchMode, KafkaClientConfig};
use super::message::{Topic, WireMessage};

/// Timeout of a request to a broker.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum time to fill a batch after its first message: messages are cheaper to append together.
const MAX_FILL: Duration = Duration::from_millis(100);
/// Maximum pause between two messages of a batch.
const MAX_PAUSE: Duration = Duration::from_millis(20);
/// Timeout for one of many partitions: some may have no leader, and the others wait for them.
const PARTITION_TIMEOUT: Duration = Duration::from_secs(3);

/// Where reading of a partition starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartOffset {
    /// The oldest message that the log still has.
    Beginning,
    /// The first message at or after this instant (ms); the end if there is none.
    At(i64),
    /// This offset.
    Offset(i64),
}

/// One message of the log.
#[derive(Clone, Debug)]
pub struct ConsumedMessage {
    pub partition: i32,
    pub offset: i64,
    /// The timestamp of the broker or the producer, ms.
    pub broker_time: i64,
    /// `None`: bytes that are not UTF-8, which no message of this service has.
    pub wire: Option<WireMessage>,
}

/// A position that the log does not have, or no longer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogGap {
    pub partition: i32,
    /// The offset at which reading should have continued.
    pub wanted: i64,
    /// The offset at which it continues.
    pub resumed: i64,
}

/// Reading failed.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// Kafka does not answer; try again.
    #[error("kafka does not answer: {0}")]
    Unavailable(#[from] KafkaError),
    /// No partition has a leader that answers; try again.
    #[error("no partition of the topic answers")]
    NoLeader,
    /// A batch cannot be decompressed or parsed; it is fetched again and again, and the other partitions are read on.
    #[error("{0}")]
    UnreadableBatch(UnreadableBatch),
    /// A position is out of range: call [`PartitionConsumer::reset_out_of_range`].
    #[error("the log no longer has a position")]
    OutOfRange,
}

/// Why a batch of the log cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a batch of the log cannot be decompressed or parsed: {0}")]
pub struct UnreadableBatch(RDKafkaErrorCode);

impl UnreadableBatch {
    /// The batch of an error of the client library, if it is one about a batch.
    pub(super) fn of(error: &KafkaError) -> Option<Self> {
        let code = error.rdkafka_error_code()?;
        let is_about_a_batch = matches!(
            code,
            RDKafkaErrorCode::BadCompression
                | RDKafkaErrorCode::BadMessage
                | RDKafkaErrorCode::NotImplemented
        );
        is_about_a_batch.then_some(Self(code))
    }
}

/// Logs the errors of the client library. Those that matter are returned by a read as well.
struct ConsumerErrorLog;

impl ClientContext for ConsumerErrorLog {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(error = %error, "kafka consumer: {reason}");
    }
}

impl ConsumerContext for ConsumerErrorLog {}

type Consumer = StreamConsumer<ConsumerErrorLog>;

/// A consumer of some partitions of one topic.
pub struct PartitionConsumer {
    connection: KafkaClientConfig,
    consumer: Arc<Consumer>,
    mode: FetchMode,
    topic: Topic,
    name: String,
    /// The next offset of each assigned partition.
    next: BTreeMap<i32, i64>,
    /// An error behind the messages of a batch, for the next read: the client library returns it once.
    deferred_error: Option<ConsumerError>,
}

/// A client that can replace the one of a [`PartitionConsumer`].
pub struct ReplacementConsumer {
    consumer: Consumer,
    mode: FetchMode,
}

impl PartitionConsumer {
    /// Opens a consumer without partitions.
    ///
    /// # Errors
    ///
    /// A property in the settings is wrong.
    pub fn open(
        connection: &KafkaClientConfig,
        topic: Topic,
        mode: FetchMode,
    ) -> Result<Self, ConsumerError> {
        Ok(Self {
            connection: connection.clone(),
            consumer: Arc::new(consumer(connection, mode)?),
            mode,
            topic,
            name: connection.topic(topic),
            next: BTreeMap::new(),
            deferred_error: None,
        })
    }

    /// The current number of partitions of the topic.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Unavailable`], also while the topic does not exist.
    pub async fn partitions(&self) -> Result<i32, ConsumerError> {
        let name = self.name.clone();
        let count = self
            .request(move |consumer| {
                let metadata = consumer.fetch_metadata(Some(&name), REQUEST_TIMEOUT)?;
                Ok(metadata.topics().first().map_or(0, |topic| topic.partitions().len()))
            })
            .await?;
        if count == 0 {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition).into());
        }
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }

    /// Kafka's id of the cluster, by which a cursor of another cluster is recognized. `None` if the
    /// broker does not answer or has no id.
    pub async fn cluster_id(&self) -> Option<String> {
        let id = self.request(|consumer| Ok(consumer.client().fetch_cluster_id(REQUEST_TIMEOUT)));
        id.await.ok()?
    }

    /// The first and the next offset of a partition.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Unavailable`].
    pub async fn watermarks(&self, partition: i32) -> Result<(i64, i64), ConsumerError> {
        let name = self.name.clone();
        self.request(move |consumer| consumer.fetch_watermarks(&name, partition, REQUEST_TIMEOUT))
            .await
    }

    /// The first and the next offset of each of these partitions. Partitions that do not answer in
    /// time are missing.
    pub async fn all_watermarks(&self, partitions: &[i32]) -> BTreeMap<i32, (i64, i64)> {
        let requests = partitions.iter().map(async |partition| {
            let watermarks =
                tokio::time::timeout(PARTITION_TIMEOUT, self.watermarks(*partition)).await;
            // The caller treats a missing partition as unreadable.
            Some((*partition, watermarks.ok()?.ok()?))
        });
        join_all(requests).await.into_iter().flatten().collect()
    }

    /// Assigns these partitions at offsets that the log has, beside those that are assigned already.
    ///
    /// # Errors
    ///
    /// The client library refuses.
    pub fn read_from(&mut self, next: Vec<(i32, i64)>) -> Result<(), ConsumerError> {
        if next.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for (partition, offset) in &next {
            list.add_partition_offset(&self.name, *partition, Offset::Offset(*offset))?;
        }
        // Incremental, so that assigned partitions are not fetched again.
        self.consumer.incremental_assign(&list)?;
        self.next.extend(next);
        Ok(())
    }

    /// Opens a client with another fetch mode, and waits until each partition has answered it. This
    /// consumer reads on meanwhile, and if that fails.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Unavailable`], or the client library refuses.
    pub fn prepare_replacement(
        &self,
        mode: FetchMode,
    ) -> impl Future<Output = Result<ReplacementConsumer, ConsumerError>> + Send + use<> {
        let (connection, name) = (self.connection.clone(), self.name.clone());
        let partitions: Vec<i32> = self.next.keys().copied().collect();
        let opened = tokio::task::spawn_blocking(move || {
            let replacement = consumer(&connection, mode)?;
            for partition in partitions {
                replacement.fetch_watermarks(&name, partition, REQUEST_TIMEOUT)?;
            }
            Ok(ReplacementConsumer { consumer: replacement, mode })
        });
        async move { opened.await.map_err(|_| KafkaError::Canceled)? }
    }

    /// Continues with the replacement from the current positions.
    ///
    /// # Errors
    ///
    /// The client library refuses; this consumer reads on with its own client then.
    pub fn replace_consumer(
        &mut self,
        ReplacementConsumer { consumer: replacement, mode }: ReplacementConsumer,
    ) -> Result<(), ConsumerError> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in &self.next {
            list.add_partition_offset(&self.name, *partition, Offset::Offset(*offset))?;
        }
        replacement.incremental_assign(&list)?;
        self.mode = mode;
        let replaced = std::mem::replace(&mut self.consumer, Arc::new(replacement));
        // The drop waits for the threads of the client.
        tokio::task::spawn_blocking(move || drop(replaced));
        Ok(())
    }

    /// Continues with a new client from the current positions, after this one failed for long.
    ///
    /// # Errors
    ///
    /// The client library refuses; this consumer reads on with its own client then.
    pub fn reopen(&mut self) -> Result<(), ConsumerError> {
        let consumer = consumer(&self.connection, self.mode)?;
        self.replace_consumer(ReplacementConsumer { consumer, mode: self.mode })
    }

    /// Assigns these partitions, beside those that are assigned already. Positions outside the log
    /// are moved to its beginning and reported.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Unavailable`]; no partition is added then.
    pub async fn assign(
        &mut self,
        starts: &[(i32, StartOffset)],
    ) -> Result<Vec<LogGap>, ConsumerError> {
        let (next, gaps) = self.resolve(starts).await?;
        self.read_from(next)?;
        Ok(gaps)
    }

    /// The offsets of these starts, and the starts that are outside the log.
    async fn resolve(
        &self,
        starts: &[(i32, StartOffset)],
    ) -> Result<(Vec<(i32, i64)>, Vec<LogGap>), ConsumerError> {
        let mut gaps = Vec::new();
        let mut next = Vec::with_capacity(starts.len());
        for (partition, start) in starts {
            let (low, high) = self.watermarks(*partition).await?;
            let offset = match *start {
                StartOffset::Beginning => low,
                StartOffset::At(instant) => {
                    self.offset_at(*partition, instant).await?.unwrap_or(high)
                }
                StartOffset::Offset(offset) if (low..=high).contains(&offset) => offset,
                StartOffset::Offset(offset) => {
                    gaps.push(LogGap { partition: *partition, wanted: offset, resumed: low });
                    low
                }
            };
            next.push((*partition, offset));
        }
        Ok((next, gaps))
    }

    /// Removes these partitions from the assignment.
    ///
    /// # Errors
    ///
    /// The client library refuses.
    pub fn unassign(&mut self, partitions: &[i32]) -> Result<(), ConsumerError> {
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

    /// The next offset of each assigned partition.
    #[must_use]
    pub fn positions(&self) -> &BTreeMap<i32, i64> {
        &self.next
    }

    async fn offset_at(&self, partition: i32, instant: i64) -> Result<Option<i64>, ConsumerError> {
        let name = self.name.clone();
        self.request(move |consumer| {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&name, partition, Offset::Offset(instant))?;
            let found = consumer.offsets_for_times(list, REQUEST_TIMEOUT)?;
            Ok(found.elements().first().and_then(|element| match element.offset() {
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
    /// [`ConsumerError`].
    pub async fn next(&mut self) -> Result<ConsumedMessage, ConsumerError> {
        if let Some(error) = self.deferred_error.take() {
            return Err(error);
        }
        loop {
            match self.consumer.recv().await {
                Ok(message) => {
                    let consumed = read(&message, self.topic);
                    // The client library may still have a message of a partition that was unassigned. It is read
                    // again when the partition is assigned again.
                    if let Some(next) = self.next.get_mut(&consumed.partition) {
                        *next = consumed.offset + 1;
                        return Ok(consumed);
                    }
                }
                Err(error) => match error.rdkafka_error_code() {
                    Some(
                        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
                    ) => return Err(ConsumerError::OutOfRange),
                    // An outage adds ten of these a second to the queue. The client library recovers
                    // by itself, and a request for the watermarks shows the outage.
                    Some(
                        RDKafkaErrorCode::AllBrokersDown
                        | RDKafkaErrorCode::BrokerTransportFailure
                        | RDKafkaErrorCode::Resolve
                        | RDKafkaErrorCode::OperationTimedOut
                        | RDKafkaErrorCode::RequestTimedOut
                        | RDKafkaErrorCode::LeaderNotAvailable
                        | RDKafkaErrorCode::NotLeaderForPartition,
                    ) => {}
                    _ => {
                        let unreadable = UnreadableBatch::of(&error);
                        return Err(
                            unreadable.map_or_else(|| error.into(), ConsumerError::UnreadableBatch)
                        );
                    }
                },
            }
        }
    }

    /// The next message, if it was fetched already.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`].
    pub fn next_ready(&mut self) -> Option<Result<ConsumedMessage, ConsumerError>> {
        self.next().now_or_never()
    }

    /// The next messages, at most `max`: waits up to `timeout` for the first one, then takes those that
    /// follow without a pause.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`], if nothing was read before it.
    pub async fn next_batch(
        &mut self,
        max: usize,
        timeout: Duration,
    ) -> Result<Vec<ConsumedMessage>, ConsumerError> {
        let mut batch = Vec::new();
        let mut deadline = tokio::time::Instant::now() + timeout;
        let mut full_at = None;
        while batch.len() < max {
            match tokio::time::timeout_at(deadline, self.next()).await {
                // The timeout or the pause has elapsed.
                Err(_) => break,
                Ok(Ok(consumed)) => {
                    batch.push(consumed);
                    let now = tokio::time::Instant::now();
                    deadline = (now + MAX_PAUSE).min(*full_at.get_or_insert(now + MAX_FILL));
                }
                Ok(Err(error)) if batch.is_empty() => return Err(error),
                Ok(Err(error)) => {
                    self.deferred_error = Some(error);
                    break;
                }
            }
        }
        Ok(batch)
    }

    /// Moves every position that the log does not have to the beginning of the log, after
    /// [`ConsumerError::OutOfRange`].
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Unavailable`]; nothing changes then, and the next read returns
    /// [`ConsumerError::OutOfRange`] again.
    pub async fn reset_out_of_range(&mut self) -> Result<Vec<LogGap>, ConsumerError> {
        let positions = self.next.iter();
        let positions: Vec<(i32, StartOffset)> = positions
            .map(|(partition, offset)| (*partition, StartOffset::Offset(*offset)))
            .collect();
        let resolved = self.resolve(&positions).await;
        if resolved.is_err() {
            self.deferred_error = Some(ConsumerError::OutOfRange);
        }
        let (next, gaps) = resolved?;
        // All of them: the client library does not report which one is out of range.
        let partitions: Vec<i32> = next.iter().map(|(partition, _)| *partition).collect();
        self.unassign(&partitions)?;
        self.read_from(next)?;
        Ok(gaps)
    }

    /// Runs a blocking request of the client library.
    async fn request<T, F>(&self, request: F) -> Result<T, ConsumerError>
    where
        T: Send + 'static,
        F: FnOnce(&Consumer) -> Result<T, KafkaError> + Send + 'static,
    {
        let consumer = Arc::clone(&self.consumer);
        let answer = tokio::task::spawn_blocking(move || request(&consumer)).await;
        Ok(answer.map_err(|_| KafkaError::Canceled)??)
    }
}

fn consumer(connection: &KafkaClientConfig, mode: FetchMode) -> Result<Consumer, ConsumerError> {
    Ok(connection.consumer(mode).create_with_context(ConsumerErrorLog)?)
}

fn read(message: &BorrowedMessage<'_>, topic: Topic) -> ConsumedMessage {
    ConsumedMessage {
        partition: message.partition(),
        offset: message.offset(),
        // A message without a timestamp counts as old: it only skips the commit gate.
        broker_time: message.timestamp().to_millis().unwrap_or(0),
        wire: wire(message, topic),
    }
}

/// The message in the form of the log, where an absent part counts as empty; `None` if a part is not
/// UTF-8.
pub(crate) fn wire(message: &BorrowedMessage<'_>, topic: Topic) -> Option<WireMessage> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let mut headers = Vec::new();
    if let Some(borrowed) = message.headers() {
        for header in borrowed.iter() {
            headers.push((header.key.to_owned().into(), text(header.value.unwrap_or_default())?));
        }
    }
    Some(WireMessage {
        topic,
        key: text(message.key().unwrap_or_default())?,
        headers,
        value: text(message.payload().unwrap_or_default())?,
    })
}
