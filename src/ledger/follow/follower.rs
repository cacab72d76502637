//! Follows one topic: leases partitions, reads them, appends batches, and stores the low watermark.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use metrics::{counter, histogram};
use tokio::sync::Mutex;

use super::backlog::Backlog;
use super::batch_size::next_batch;
use super::follower_health::FollowerHandle;
use super::isolation::Isolation;
use super::stalled_partitions::StalledPartitions;
use super::step_error::StepError;
use super::topic_recreation::{KnownEnds, OTHER_MESSAGE, ReadingStart, reading_start, rewound};
use super::topic_recreation_probe::TopicRecreationProbe;
use crate::clock;
use crate::kafka::consumer_lag::ConsumerLag;
use crate::kafka::reopening::{ClientFailure, report_reopened};
use crate::kafka::{
    ConsumedMessage, ConsumerError, FetchMode, PartitionConsumer, PointRead, Topic, UnreadableBatch,
};
use crate::ledger::append::decoded_message::{DecodedMessage, digest_of};
use crate::ledger::context::{LedgerContext, is_due};
use crate::ledger::partition_leases::PartitionLeases;
use crate::postgres::{self, LogEnd, StoreError};
use crate::telemetry::names;
use onrecord_evidence::event::ids::Digest;

/// Timeout for the first message of a step.
const BATCH_TIMEOUT: Duration = Duration::from_millis(250);
/// Maximum age of a message, ms, while a follower keeps up with the log.
const MAX_LAG_MS: i64 = 5_000;
/// Interval between attempts after a failure of either store.
const RETRY_INTERVAL: Duration = Duration::from_millis(300);
/// Minimum interval between attempts to read a partition that does not answer: a new one may have its
/// leader a moment later. It doubles with each attempt.
const MIN_UNREADABLE_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum interval between attempts to read a partition that does not answer: the others wait for each.
const MAX_UNREADABLE_RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// Maximum age of the last unreadable batch while a follower is unhealthy by it: it is fetched again and again.
const MAX_UNREADABLE_AGE: Duration = Duration::from_secs(10);
/// Interval at which the low watermark is stored.
const WATERMARK_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum time from the receipt of an event to its place in the log: a delivery has 15 s, and what
/// it gave to the client library another 30 s.
const MAX_PUBLISH_DELAY: TimeDelta = TimeDelta::seconds(45);

struct Follower {
    ledger: LedgerContext,
    topic: Topic,
    /// The full name of the topic.
    name: String,
    consumer: PartitionConsumer,
    /// Shared with the probe.
    point_read: Arc<Mutex<PointRead>>,
    health: FollowerHandle,
    leases: PartitionLeases,
    /// Maximum messages of the next transaction: fewer after one that failed or took long.
    max_batch: usize,
    recreation_probe: TopicRecreationProbe,
    /// Leased partitions that do not answer, when they were tried last, and the interval until the next
    /// attempt.
    unreadable: BTreeMap<i32, (Instant, Duration)>,
    isolation: Isolation,
    backlog: Backlog,
    /// Per partition an end of the log, and the low watermark that holds when the position is there.
    pending_watermarks: BTreeMap<i32, (i64, DateTime<Utc>)>,
    /// Per partition offset and digest of the message before the position, which must still be the
    /// one that was appended last.
    predecessors: BTreeMap<i32, (i64, Digest)>,
    /// Per partition the end of the log when it was last read.
    ends: BTreeMap<i32, i64>,
    lag: ConsumerLag,
    stalled: StalledPartitions,
    /// When a batch could not be read last, and why.
    unreadable_batch: Option<(Instant, UnreadableBatch)>,
    failure: ClientFailure,
    watermark_stored_at: Option<Instant>,
}

/// Starts this number of followers of the topic. Each leases its own share of the partitions, as if
/// it ran on a node of its own.
pub(crate) fn start(ledger: &LedgerContext, topic: Topic, followers: usize) {
    let (component, task) = match topic {
        Topic::Events => ("ledger", "ledger events"),
        Topic::NoticeFacts => ("notice_facts", "ledger notice facts"),
        Topic::Quarantine => ("quarantine", "ledger quarantine"),
    };
    let appended = Arc::new(AtomicU64::new(0));
    let handles = FollowerHandle::of(followers, component, &ledger.lifecycle);
    for (health, leases) in handles.into_iter().zip(PartitionLeases::of_new_owners(followers)) {
        let (ledger, appended) = (ledger.clone(), Arc::clone(&appended));
        ledger.lifecycle.clone().run(task, follow(ledger, topic, health, leases, appended));
    }
}

/// Runs one follower until the stop.
async fn follow(
    ledger: LedgerContext,
    topic: Topic,
    health: FollowerHandle,
    leases: PartitionLeases,
    appended: Arc<AtomicU64>,
) {
    let soft = ledger.lifecycle.soft().clone();
    let opened = PartitionConsumer::open(&ledger.connection, topic, FetchMode::Batched)
        .and_then(|consumer| Ok((consumer, PointRead::open(&ledger.connection, topic)?)));
    let (consumer, point_read) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tracing::error!(error = %error, "the ledger cannot read the log: {error}");
            return;
        }
    };
    let point_read = Arc::new(Mutex::new(point_read));
    let name = ledger.connection.topic(topic);
    let mut follower = Follower {
        max_batch: ledger.batch,
        leases,
        ledger,
        recreation_probe: TopicRecreationProbe::new(Arc::clone(&point_read)),
        point_read,
        unreadable: BTreeMap::new(),
        isolation: Isolation::new(appended),
        backlog: Backlog::default(),
        pending_watermarks: BTreeMap::new(),
        topic,
        lag: ConsumerLag::new("ledger", name.clone()),
        name,
        consumer,
        health,
        predecessors: BTreeMap::new(),
        ends: BTreeMap::new(),
        stalled: StalledPartitions::default(),
        unreadable_batch: None,
        failure: ClientFailure::default(),
        watermark_stored_at: None,
    };
    while !soft.is_cancelled() {
        let outcome = follower.step().await;
        follower.reopen_if_failing(&outcome);
        match outcome {
            Ok(()) => follower.report_health(),
            Err(error) => {
                follower.health.report(Err(error.to_string()));
                follower.recover(error).await;
            }
        }
    }
    let Follower { ledger, name, leases, .. } = &follower;
    let released = postgres::release_all_partitions(&ledger.store, name, leases.owner()).await;
    if let Err(error) = released {
        tracing::debug!(error = %error, "the leases of the ledger are not released and expire: {error}");
    }
}

impl Follower {
    /// Opens the client again if it has not read the log for long.
    fn reopen_if_failing(&mut self, outcome: &Result<(), StepError>) {
        let is_reading = match outcome {
            Ok(()) => {
                // Another client cannot read that batch either.
                self.unreadable_batch().is_some()
                    || self.unreadable.is_empty()
                        && self.stalled.partitions(Instant::now()).next().is_none()
            }
            Err(StepError::Consumer(ConsumerError::OutOfRange)) => true,
            Err(StepError::Consumer(_)) => false,
            // It says nothing about Kafka.
            Err(StepError::Store(_)) => return,
        };
        if is_reading {
            self.failure.ended();
        } else if let Some(failed_for) = self.failure.continues(Instant::now()) {
            match self.consumer.reopen() {
                Ok(()) => report_reopened("ledger", failed_for),
                Err(error) => {
                    tracing::warn!(error = %error, "the kafka client of the ledger cannot be opened again: {error}");
                }
            }
        }
    }

    fn unreadable_batch(&self) -> Option<UnreadableBatch> {
        let (at, batch) = self.unreadable_batch?;
        (at.elapsed() < MAX_UNREADABLE_AGE).then_some(batch)
    }

    fn report_health(&self) {
        let unreadable: Vec<String> = self.unreadable.keys().map(ToString::to_string).collect();
        let stalled = self.stalled.partitions(Instant::now());
        let stalled: Vec<String> = stalled.map(|partition| partition.to_string()).collect();
        let delayed = self.isolation.delayed().positions();
        let delayed: Vec<String> = delayed
            .map(|(partition, offset)| format!("offset {offset} of partition {partition}"))
            .collect();
        self.health.report(if !unreadable.is_empty() {
            Err(format!("no leader answers for partition {}", unreadable.join(", ")))
        } else if let Some(batch) = self.unreadable_batch() {
            Err(batch.to_string())
        } else if !stalled.is_empty() {
            Err(format!("no message arrives of partition {}, which has more", stalled.join(", ")))
        } else if !delayed.is_empty() {
            Err(format!("postgres cannot append the message at {} now", delayed.join(", ")))
        } else {
            Ok(())
        });
    }

    /// One step: renews the leases if that is due, reads, and appends the next part of what was read.
    async fn step(&mut self) -> Result<(), StepError> {
        if self.leases.is_due() {
            self.renew_leases().await?;
        }
        self.probe_for_recreation().await?;
        self.isolation.resume(&self.leases, &mut self.consumer)?;
        let resumed = self.backlog.resume();
        self.consumer.read_from(resumed)?;
        let room = self.ledger.batch.saturating_sub(self.backlog.len());
        let timeout = if self.backlog.is_empty() { BATCH_TIMEOUT } else { Duration::ZERO };
        let consumed = match self.consumer.next_batch(room, timeout).await {
            Err(ConsumerError::UnreadableBatch(batch)) => {
                self.unreadable_batch = Some((Instant::now(), batch));
                Vec::new()
            }
            consumed => consumed?,
        };
        let read = self.decode_leased(consumed).await?;
        self.backlog.add(read);
        let is_full = self.backlog.len() >= self.max_batch;
        let batch = self.backlog.take_part(self.max_batch, self.leases.lock_limits().batch_ids());
        if let Some(paused) = self.backlog.pause(self.consumer.positions()) {
            self.consumer.unassign(&[paused])?;
        }
        if batch.is_empty() {
            return self.store_complete_through().await;
        }
        let is_lagging = is_full || !self.backlog.is_empty() || has_old(&batch);
        let permit = self.ledger.commit_gate.acquire(is_lagging).await;
        let (began, messages) = (Instant::now(), batch.len());
        let partitions: BTreeSet<i32> = batch.iter().map(|message| message.partition).collect();
        let (leases, consumer) = (&mut self.leases, &mut self.consumer);
        self.isolation.append(&self.ledger, &self.name, leases, consumer, batch).await?;
        drop(permit);
        let delayed = self.isolation.delayed();
        self.backlog.forget(|partition| delayed.is_paused(partition));
        self.recreation_probe.remember(&self.leases, &partitions);
        let took = began.elapsed();
        self.backlog.took(took);
        self.max_batch = next_batch(self.max_batch, messages, took, self.ledger.batch);
        histogram!(names::LEDGER_TRANSACTION_SECONDS).record(took.as_secs_f64());
        tracing::debug!(
            topic.name = self.name,
            topic.partitions = ?partitions,
            messages,
            messages.waiting = self.backlog.len(),
            took_ms = took.as_millis(),
            "{messages} messages of {} are appended after {took:.1?}",
            self.name,
        );
        self.store_complete_through().await
    }

    async fn recover(&mut self, error: StepError) {
        match error {
            // The next renewal compares every position with the log, and records a gap.
            StepError::Consumer(ConsumerError::OutOfRange) => self.forget_all(),
            StepError::Store(StoreError::Fenced) => {
                tracing::info!(
                    topic.name = self.name,
                    "another node owns a partition of {} now, the leases are taken again",
                    self.name
                );
                self.forget_all();
            }
            error => {
                tracing::debug!(error = %error, "the ledger waits: {error}");
                // What was read and not appended is read again. A batch may also be too large for
                // the time that a transaction has.
                self.max_batch = (self.max_batch / 2).max(1);
                self.forget_all();
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }

    /// Drops every lease and message; positions are read from Postgres again.
    fn forget_all(&mut self) {
        self.leases.forget_all();
        self.backlog.clear();
        self.predecessors.clear();
        self.ends.clear();
        self.stalled.forget_all();
        self.pending_watermarks.clear();
        let partitions: Vec<i32> = self.consumer.positions().keys().copied().collect();
        if let Err(error) = self.consumer.unassign(&partitions) {
            tracing::warn!(error = %error, "partitions cannot be unassigned from the client library: {error}");
        }
    }

    async fn renew_leases(&mut self) -> Result<(), StepError> {
        let partitions = self.consumer.partitions().await?;
        let (gained, lost) = self.leases.renew(&self.ledger, &self.name, partitions).await?;
        for partition in lost.iter().chain(&gained) {
            self.pending_watermarks.remove(partition);
            self.ends.remove(partition);
            self.stalled.forget(*partition);
        }
        for partition in &lost {
            self.isolation.forget(*partition);
        }
        self.backlog.forget(|partition| lost.contains(&partition) || gained.contains(&partition));
        self.consumer.unassign(&lost)?;
        // A partition that another node held meanwhile is read from its stored position.
        self.consumer.unassign(&gained)?;
        self.unreadable.retain(|partition, _| gained.contains(partition));
        let due = gained.iter().filter(|partition| {
            let failed = self.unreadable.get(partition);
            failed.is_none_or(|(at, interval)| at.elapsed() >= *interval)
        });
        let due: Vec<i32> = due.copied().collect();
        // The known ends are read before those of the log, which only grows.
        let mut log_ends = BTreeMap::new();
        if !due.is_empty() {
            let stored = postgres::stored_positions(&self.ledger.store, &self.name).await?;
            log_ends.extend(stored.into_iter().map(|it| (it.partition, KnownEnds::of(&it))));
        }
        let watermarks = self.consumer.all_watermarks(&due).await;
        let mut recreated: BTreeMap<i32, &'static str> = BTreeMap::new();
        for partition in &gained {
            let Some((low, high)) = watermarks.get(partition) else {
                // A partition without a leader delays no other: a later renewal gains it again.
                self.leases.forget(*partition);
                if due.contains(partition) {
                    let last = self.unreadable.get(partition);
                    let next = last.map_or(MIN_UNREADABLE_RETRY_INTERVAL, |(_, last)| {
                        (2 * *last).min(MAX_UNREADABLE_RETRY_INTERVAL)
                    });
                    self.unreadable.insert(*partition, (Instant::now(), next));
                }
                continue;
            };
            self.unreadable.remove(partition);
            let ends = log_ends.get(partition).copied().unwrap_or_default();
            let Some(lease) = self.leases.get(*partition) else { continue };
            self.isolation.read_from(*partition, lease.next_offset);
            self.recreation_probe.forget_rewound(*partition, lease.next_offset);
            match reading_start(lease, *low, *high, ends) {
                ReadingStart::Position { from, predecessor } => {
                    if let Some(digest) = predecessor {
                        self.predecessors.insert(*partition, (from, digest));
                    }
                    self.consumer.read_from(vec![(*partition, from)])?;
                }
                ReadingStart::Gap { from, reason } => {
                    self.consumer.read_from(vec![(*partition, from)])?;
                    self.record_gap(*partition, from, reason).await?;
                }
                ReadingStart::Recreated { reason } => {
                    recreated.insert(*partition, reason);
                }
            }
        }
        if let Some(reason) = recreated.values().next().copied() {
            let recreated = recreated.into_keys().collect();
            return self.rewind_topic(&recreated, reason).await;
        }
        if !gained.is_empty() && self.unreadable.len() == gained.len() && self.leases.is_empty() {
            return Err(ConsumerError::NoLeader.into());
        }
        Ok(())
    }

    async fn probe_for_recreation(&mut self) -> Result<(), StepError> {
        let recreated = self.recreation_probe.step(&self.leases).await;
        if recreated.is_empty() {
            Ok(())
        } else {
            self.rewind_topic(&recreated, OTHER_MESSAGE).await
        }
    }

    /// Records that a part of the log was not read, and moves the position behind it.
    async fn record_gap(
        &mut self,
        partition: i32,
        resumed: i64,
        reason: &'static str,
    ) -> Result<(), StoreError> {
        let Some(position) = self.leases.position_at(partition, resumed, None) else {
            return Ok(());
        };
        tracing::error!(
            topic.name = self.name,
            topic.partition = partition,
            offset.wanted = position.expected,
            offset.resumed = resumed,
            "stream gap in {} partition {partition}: {reason}; reading resumes at {resumed}",
            self.name,
        );
        counter!(names::STREAM_GAPS, "reader" => "ledger").increment(1);
        let store = &self.ledger.store;
        postgres::record_gap(store, &self.name, &position, reason, clock::now()).await?.report();
        self.leases.committed(&position);
        self.recreation_probe.forget(partition);
        self.isolation.forget(partition);
        Ok(())
    }

    /// Decodes messages of leased partitions, without those that were appended before. Compares the
    /// predecessors, and rewinds the partitions where another message is.
    async fn decode_leased(
        &mut self,
        consumed: Vec<ConsumedMessage>,
    ) -> Result<Vec<DecodedMessage>, StepError> {
        let mut decoded = Vec::with_capacity(consumed.len());
        let mut recreated = BTreeSet::new();
        for message in consumed {
            if let Some((offset, digest)) = self.predecessors.remove(&message.partition)
                && message.offset <= offset
            {
                if message.offset != offset || digest_of(message.wire.as_ref()) != digest {
                    recreated.insert(message.partition);
                }
                continue;
            }
            let Some(lease) = self.leases.get(message.partition) else {
                continue;
            };
            // It was read before the partition was paused, and is read again.
            if self.isolation.delayed().is_paused(message.partition) {
                continue;
            }
            if message.offset >= lease.next_offset && !recreated.contains(&message.partition) {
                decoded.push(DecodedMessage::of(self.topic, message));
            }
        }
        if !recreated.is_empty() {
            // What was read of other partitions is read again.
            self.rewind_topic(&recreated, OTHER_MESSAGE).await?;
            return Ok(Vec::new());
        }
        Ok(decoded)
    }

    /// Rewinds a topic that was deleted and created again, which these partitions show: every message in it
    /// may be new. All owners take their leases again, and start at the new positions.
    async fn rewind_topic(
        &mut self,
        found: &BTreeSet<i32>,
        reason: &'static str,
    ) -> Result<(), StepError> {
        let store = &self.ledger.store;
        // The probe may use it now; what is compared must not be older than that wait.
        let mut point_read = self.point_read.lock().await;
        let positions = postgres::stored_positions(store, &self.name).await?;
        let partitions: Vec<i32> = positions.iter().map(|position| position.partition).collect();
        let watermarks = self.consumer.all_watermarks(&partitions).await;
        let mut all = Vec::with_capacity(positions.len());
        for position in &positions {
            let partition = position.partition;
            let (watermarks, found) =
                (watermarks.get(&partition).copied(), found.contains(&partition));
            all.extend(rewound(position, watermarks, found, &mut point_read).await?);
        }
        drop(point_read);
        let (unread, exceptions) =
            postgres::record_recreation(store, &self.name, &all, reason, clock::now()).await?;
        exceptions.report();
        tracing::error!(
            topic.name = self.name,
            topic.partitions = all.len(),
            messages.unread = unread,
            "stream gap in {} partitions of {}: {reason}; {unread} acknowledged messages were never read, and reading resumes at the beginning",
            all.len(),
            self.name,
        );
        counter!(names::STREAM_GAPS, "reader" => "ledger").increment(all.len() as u64);
        for partition in &all {
            self.recreation_probe.forget(partition.partition);
        }
        self.isolation.forget_all();
        self.forget_all();
        Ok(())
    }

    /// Stores the ends of the log that the positions have not reached: what is acknowledged and not read is
    /// known, if the topic is deleted before it is read.
    async fn store_log_ends(
        &self,
        watermarks: &BTreeMap<i32, (i64, i64)>,
        known_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let lagging = watermarks.iter().filter(|(partition, (_, high))| {
            self.leases.get(**partition).is_some_and(|lease| lease.next_offset < *high)
        });
        let ends: Vec<LogEnd> = lagging
            .map(|(partition, (_, high))| LogEnd {
                topic: self.name.clone(),
                partition: *partition,
                first_offset: *high,
                next_offset: *high,
                known_at,
            })
            .collect();
        self.ledger.store.raise_log_ends(&ends).await
    }

    /// Stores the low watermark of each leased partition whose position has reached an end of the
    /// log: everything that was received before that end was read, less [`MAX_PUBLISH_DELAY`], is in
    /// the audit store.
    async fn store_complete_through(&mut self) -> Result<(), StepError> {
        if !is_due(self.watermark_stored_at, WATERMARK_INTERVAL) {
            return Ok(());
        }
        self.watermark_stored_at = Some(Instant::now());
        // The spool is read before the ends of the log: a message that is drained in between is then
        // still counted as spooled, and one that was drained before is in the log.
        let spooled = self.ledger.store.oldest_in_spool().await?;
        let complete = clock::now() - MAX_PUBLISH_DELAY;
        let complete = spooled.map_or(complete, |spooled| spooled.min(complete));
        let partitions: Vec<i32> = self.leases.partitions().collect();
        let known_at = clock::now();
        let watermarks = self.consumer.all_watermarks(&partitions).await;
        let (leases, ends) = (&self.leases, &watermarks);
        self.lag.report(ends.iter().filter_map(|(partition, (_, end))| {
            // A partition whose lease was lost meanwhile is not read here.
            leases.get(*partition).map(|lease| (*partition, lease.next_offset, *end))
        }));
        self.store_log_ends(&watermarks, known_at).await?;
        if watermarks.is_empty() && !partitions.is_empty() {
            return Err(ConsumerError::NoLeader.into());
        }
        let mut through: Vec<(i32, DateTime<Utc>)> = Vec::new();
        for (partition, (_, high)) in watermarks {
            let Some(next) = self.leases.get(partition).map(|lease| lease.next_offset) else {
                continue;
            };
            // The log is shorter than it was: the renewal of the leases finds out why.
            if next > high || self.ends.insert(partition, high).is_some_and(|end| end > high) {
                return Err(ConsumerError::OutOfRange.into());
            }
            if self.isolation.delayed().is_paused(partition) {
                self.stalled.forget(partition);
            } else {
                self.stalled.observe(partition, next, high, Instant::now());
            }
            // Under load the log grows between two readings of its end, and the position never
            // reaches the latest end. So an earlier end is kept until the position has passed it.
            let (goal, goal_complete) =
                *self.pending_watermarks.entry(partition).or_insert((high, complete));
            if next >= high {
                through.push((partition, complete));
                self.pending_watermarks.remove(&partition);
            } else if next >= goal {
                through.push((partition, goal_complete));
                self.pending_watermarks.insert(partition, (high, complete));
            }
        }
        let (store, owner) = (&self.ledger.store, self.leases.owner());
        Ok(postgres::raise_complete_through(store, &self.name, owner, &through).await?)
    }
}

/// Whether one of these messages is too old for a follower that keeps up with the log.
fn has_old(batch: &[DecodedMessage]) -> bool {
    let oldest = batch.iter().map(|message| message.broker_time).min();
    oldest.is_some_and(|oldest| clock::now_ms() - oldest > MAX_LAG_MS)
}
