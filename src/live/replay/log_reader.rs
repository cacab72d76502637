//! Reads the Kafka log into the live state, and drives its timers. The spool is read in
//! `spool_tail.rs`.
//!
//! # Why
//!
//! *A thread of its own.* A change with ten thousand subscribers makes ten thousand tasks ready. A
//! reader that waited behind all of them would find the next changes together, and state only the
//! last of them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, OptionFuture, join_all};
use metrics::counter;
use tokio::time::Instant;

use super::adaptive_fetch::AdaptiveFetch;
use super::decode::{RETRY_INTERVAL, decode};
use super::replay_progress::{ReplayProgress, ReplayStage};
use super::spool_tail::follow_spool;
use crate::clock;
use crate::config::{LiveHistory, Settings};
use crate::kafka::consumer_lag::ConsumerLag;
use crate::kafka::reopening::{ClientFailure, report_reopened};
use crate::kafka::{
    ConsumedMessage, ConsumerError, FetchMode, KafkaClientConfig, PartitionConsumer,
    ReplacementConsumer, StartOffset, Topic, UnreadableBatch, log_incarnation,
};
use crate::lifecycle::{Lifecycle, Readiness};
use crate::live::live_calls::LiveCalls;
use crate::live::live_state::EventOrigin;
use crate::postgres::Postgres;
use crate::telemetry::dropped::{DroppedContent, record_dropped};
use crate::telemetry::names;
use onrecord_evidence::event::instant::Millis;

/// Interval between checks for new partitions, and for partitions of which nothing arrives.
const PARTITION_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Interval between checks for known partitions that cannot be read.
const MISSING_PARTITION_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum age of the last unreadable batch while the live state is unhealthy by it, ms: it is fetched again and
/// again.
const MAX_UNREADABLE_AGE: Millis = 10_000;
/// Timeout of the query for the ends of the log while the reader may have fallen behind.
const LOG_END_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval between checks whether the replay still progresses.
const STAGE_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Interval between checks for due timers: the maximum delay of a change caused by time alone.
const TICK_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum number of available messages that are folded together.
const MAX_BURST: usize = 256;
/// Maximum number of calls folded under one lock at the end of the replay.
const MAX_FOLDS_PER_STEP: usize = 256;
/// Interval between evictions.
const EVICTION_INTERVAL: Duration = Duration::from_secs(60);
/// Interval between evictions during the replay, in messages.
const EVICTION_INTERVAL_MESSAGES: usize = 50_000;

/// Starts the tasks that keep the live state current.
pub(crate) fn start(
    settings: &Settings,
    live_calls: &LiveCalls,
    store: &Postgres,
    connection: &KafkaClientConfig,
    lifecycle: &Lifecycle,
) {
    lifecycle.readiness().starting("live");
    lifecycle.readiness().starting("spool");
    let history = settings.live.history;
    let (replayed, connection, life) = (live_calls.clone(), connection.clone(), lifecycle.clone());
    lifecycle.run_on_own_thread("live", move || async move {
        tokio::select! {
            () = follow_log(replayed.clone(), connection, history, life.clone()) => {}
            () = follow_clock(replayed, history, life) => {}
        }
    });
    let (large, soft) = (live_calls.clone(), lifecycle.soft().clone());
    lifecycle.run_on_own_thread("large calls", move || async move {
        soft.run_until_cancelled(fold_large_calls(large)).await;
    });
    // Not on that thread: if it fails, the streams must be ended all the same.
    let (closing, soft) = (live_calls.clone(), lifecycle.soft().clone());
    lifecycle.run("streams", async move {
        soft.cancelled().await;
        closing.close();
    });
    lifecycle.run("live spool", follow_spool(live_calls.clone(), store.clone(), lifecycle.clone()));
}

fn idle_limit(history: LiveHistory) -> Option<Millis> {
    match history {
        LiveHistory::All => None,
        LiveHistory::Since(history) => i64::try_from(history.as_millis()).ok(),
    }
}

async fn follow_log(
    live_calls: LiveCalls,
    connection: KafkaClientConfig,
    history: LiveHistory,
    lifecycle: Lifecycle,
) {
    let soft = lifecycle.soft().clone();
    let readiness = lifecycle.readiness().clone();
    let mut log = match LogReader::open(live_calls, &connection, history, readiness) {
        Ok(log) => log,
        Err(error) => {
            tracing::error!(error = %error, "live state: the log cannot be read: {error}");
            return;
        }
    };
    let reading = async {
        loop {
            let error = log.follow().await;
            tracing::debug!(error = %error, "live state: waiting for the log: {error}");
            if matches!(error, ConsumerError::OutOfRange) {
                log.repair_positions().await;
            }
            log.report_stage().await;
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    };
    soft.run_until_cancelled(reading).await;
}

/// A consumer in another fetch mode that is being opened.
type ConsumerChange = BoxFuture<'static, (FetchMode, Result<ReplacementConsumer, ConsumerError>)>;

/// The number of partitions, and the end of each partition that answers.
struct LogBounds {
    partitions: i32,
    ends: Vec<(i32, i64)>,
    cluster: Option<String>,
}

fn open_prober(connection: &KafkaClientConfig) -> Result<Arc<PartitionConsumer>, ConsumerError> {
    PartitionConsumer::open(connection, Topic::Events, FetchMode::Immediate).map(Arc::new)
}

async fn query_bounds(prober: Arc<PartitionConsumer>) -> Result<LogBounds, ConsumerError> {
    let partitions = prober.partitions().await?;
    let marks = (0..partitions).map(async |partition| {
        let marks = prober.watermarks(partition).await.ok();
        marks.map(|(_, end)| (partition, end))
    });
    let (ends, cluster) = tokio::join!(join_all(marks), prober.cluster_id());
    Ok(LogBounds { partitions, ends: ends.into_iter().flatten().collect(), cluster })
}

/// The consumer of the log and the progress of the replay.
struct LogReader {
    live_calls: LiveCalls,
    connection: KafkaClientConfig,
    topic: String,
    lag: ConsumerLag,
    reader: PartitionConsumer,
    reader_failure: ClientFailure,
    /// A second client for queries, so that reading does not wait for their answers.
    prober: Arc<PartitionConsumer>,
    prober_failure: ClientFailure,
    start: StartOffset,
    idle_limit: Option<Millis>,
    readiness: Readiness,
    progress: ReplayProgress,
    fetch: AdaptiveFetch,
    /// When a batch could not be read last, and why.
    unreadable_batch: Option<(Millis, UnreadableBatch)>,
    /// The stage last set, and whether a part of the log was unread then.
    reported: (ReplayStage, bool),
    /// The state was live, and no `gap` was sent since.
    was_live: bool,
    /// Messages since the state was live last, and since the last eviction.
    read: usize,
    since_eviction: usize,
    started_at: Millis,
}

impl LogReader {
    fn open(
        live_calls: LiveCalls,
        connection: &KafkaClientConfig,
        history: LiveHistory,
        readiness: Readiness,
    ) -> Result<Self, ConsumerError> {
        let started_at = clock::now_ms();
        let idle_limit = idle_limit(history);
        let from = idle_limit.map(|idle_limit| started_at - idle_limit);
        Ok(Self {
            live_calls,
            connection: connection.clone(),
            topic: connection.topic(Topic::Events),
            lag: ConsumerLag::new("live", connection.topic(Topic::Events)),
            reader: PartitionConsumer::open(connection, Topic::Events, FetchMode::Immediate)?,
            reader_failure: ClientFailure::default(),
            prober: open_prober(connection)?,
            prober_failure: ClientFailure::default(),
            start: from.map_or(StartOffset::Beginning, StartOffset::At),
            idle_limit,
            readiness,
            progress: ReplayProgress::new(from.unwrap_or(0)),
            fetch: AdaptiveFetch::new(started_at),
            unreadable_batch: None,
            reported: (ReplayStage::Disconnected, true),
            was_live: false,
            read: 0,
            since_eviction: 0,
            started_at,
        })
    }

    /// Reads until an error occurs.
    async fn follow(&mut self) -> ConsumerError {
        let mut query: Option<BoxFuture<'static, _>> =
            Some(query_bounds(self.prober.clone()).boxed());
        let mut answered = Instant::now();
        let mut change: Option<ConsumerChange> = None;
        loop {
            let query_interval = if self.progress.is_complete() {
                PARTITION_CHECK_INTERVAL
            } else {
                MISSING_PARTITION_INTERVAL
            };
            let is_querying = query.is_some();
            let answer = OptionFuture::from(query.as_mut());
            let is_changing = change.is_some();
            let changed = async {
                match &mut change {
                    Some(change) => change.await,
                    None => std::future::pending().await,
                }
            };
            let read = tokio::select! {
                incoming = self.reader.next() => match incoming {
                    Ok(incoming) => self.read(incoming).await,
                    Err(error) => Err(error),
                },
                Some(answer) = answer => {
                    query = None;
                    answered = Instant::now();
                    self.apply_bounds(answer).await;
                    Ok(())
                }
                (mode, replacement) = changed => {
                    change = None;
                    self.finish_mode_change(mode, replacement);
                    Ok(())
                }
                () = tokio::time::sleep_until(answered + query_interval), if !is_querying => {
                    query = Some(query_bounds(self.prober.clone()).boxed());
                    Ok(())
                }
                () = tokio::time::sleep(STAGE_CHECK_INTERVAL) => Ok(()),
            };
            match read {
                Ok(()) => {}
                Err(ConsumerError::UnreadableBatch(batch)) => self.note_unreadable(batch),
                Err(error) => return error,
            }
            self.report_stage().await;
            if !is_changing {
                change = self.start_mode_change();
            }
        }
    }

    /// Opens a consumer in the fetch mode that the traffic calls for, if it is another one.
    fn start_mode_change(&mut self) -> Option<ConsumerChange> {
        // During the replay, the broker returns full batches in either mode.
        let is_live = self.reported.0 == ReplayStage::Live;
        let mode = self.fetch.wanted(clock::now_ms()).filter(|_| is_live)?;
        let replacement = self.reader.prepare_replacement(mode);
        Some(async move { (mode, replacement.await) }.boxed())
    }

    fn finish_mode_change(
        &mut self,
        mode: FetchMode,
        replacement: Result<ReplacementConsumer, ConsumerError>,
    ) {
        match replacement.and_then(|replacement| self.reader.replace_consumer(replacement)) {
            Ok(()) => self.fetch.set_mode(mode),
            Err(error) => {
                tracing::debug!(error = %error, "live state: the fetch mode is not changed: {error}");
            }
        }
    }

    /// Starts reading partitions that exist and are not read yet.
    async fn apply_bounds(&mut self, answer: Result<LogBounds, ConsumerError>) {
        let bounds = match answer {
            Ok(bounds) => {
                self.prober_failure.ended();
                bounds
            }
            Err(error) => {
                if let Some(failed_for) = self.prober_failure.continues(std::time::Instant::now()) {
                    self.reopen_prober(failed_for);
                }
                if self.reported.0 == ReplayStage::Disconnected {
                    self.readiness.unhealthy("live", error.to_string());
                }
                return;
            }
        };
        let now = clock::now_ms();
        let new = self.progress.observe_partitions(bounds.partitions, &bounds.ends, now);
        if let Some(cluster) = bounds.cluster.filter(|_| !new.is_empty()) {
            self.live_calls.set_incarnation(log_incarnation(&self.topic, &cluster));
        }
        for partition in new {
            match self.reader.assign(&[(partition, self.start)]).await {
                Ok(_) => {
                    let next = self.reader.positions().get(&partition).copied();
                    let end = bounds.ends.iter().find(|(seen, _)| *seen == partition);
                    if let (Some(next), Some((_, end))) = (next, end) {
                        self.progress.start_partition(partition, next, *end, clock::now_ms());
                    }
                }
                Err(error) => {
                    tracing::debug!(error = %error, "live state: partition {partition} cannot be read yet: {error}");
                }
            }
        }
        let positions = self.reader.positions();
        self.lag.report(bounds.ends.iter().filter_map(|(partition, end)| {
            // One that cannot be read yet has no position.
            positions.get(partition).map(|next| (*partition, *next, *end))
        }));
    }

    /// Notes that a part of the log cannot be read, so that levels may be wrong: the other partitions are read
    /// on.
    fn note_unreadable(&mut self, batch: UnreadableBatch) {
        let now = clock::now_ms();
        if self.unreadable_batch(now).is_none() {
            self.readiness.unhealthy("live", batch.to_string());
        }
        self.unreadable_batch = Some((now, batch));
    }

    fn unreadable_batch(&self, now: Millis) -> Option<UnreadableBatch> {
        let (at, batch) = self.unreadable_batch?;
        (now - at < MAX_UNREADABLE_AGE).then_some(batch)
    }

    fn stage(&self, now: Millis) -> ReplayStage {
        if self.unreadable_batch(now).is_some() {
            ReplayStage::Disconnected
        } else {
            self.progress.stage(now)
        }
    }

    fn reopen_prober(&mut self, failed_for: Duration) {
        match open_prober(&self.connection) {
            Ok(prober) => {
                let failed = std::mem::replace(&mut self.prober, prober);
                // The drop waits for the threads of the client.
                tokio::task::spawn_blocking(move || drop(failed));
                report_reopened("live", failed_for);
            }
            Err(error) => {
                tracing::warn!(error = %error, "live state: the kafka client for queries cannot be opened again: {error}");
            }
        }
    }

    /// Opens the reading client again if it has read nothing of what the log has for long.
    fn reopen_reader_if_failing(&mut self, now: Millis) {
        // Another client cannot read an unreadable batch either.
        if self.progress.stage(now) != ReplayStage::Disconnected
            || self.unreadable_batch(now).is_some()
            || self.reader.positions().is_empty()
        {
            self.reader_failure.ended();
        } else if let Some(failed_for) = self.reader_failure.continues(std::time::Instant::now()) {
            match self.reader.reopen() {
                Ok(()) => report_reopened("live", failed_for),
                Err(error) => {
                    tracing::warn!(error = %error, "live state: the kafka client cannot be opened again: {error}");
                }
            }
        }
    }

    /// Applies a message together with those that are already available.
    async fn read(&mut self, first: ConsumedMessage) -> Result<(), ConsumerError> {
        let now = clock::now_ms();
        let mut events = Vec::new();
        let mut oldest = Millis::MAX;
        let mut read = 0;
        let mut next = Some(Ok(first));
        let mut outcome = Ok(());
        while let Some(incoming) = next.take() {
            let incoming = match incoming {
                Ok(incoming) => incoming,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            };
            let at = incoming.broker_time;
            self.progress.record_read(incoming.partition, incoming.offset, at, now);
            oldest = oldest.min(at);
            match incoming.wire {
                Some(wire) => events.extend(decode(&wire, at)),
                None => record_dropped(DroppedContent::LiveMessage, &"a part of it is not UTF-8"),
            }
            read += 1;
            if read < MAX_BURST {
                next = self.reader.next_ready();
            }
        }
        if self.reported.0 == ReplayStage::Live {
            self.fetch.count(read);
        } else {
            self.read += read;
        }
        self.since_eviction += read;
        // Messages read before the end of the replay are applied before the stage changes: levels
        // are stated with them, not before them.
        let while_catching_up = self.reported.1;
        if while_catching_up {
            self.resume_catching_up();
            self.live_calls.apply(std::mem::take(&mut events), EventOrigin::Log, clock::now_ms());
        }
        if self.progress.seems_late(oldest, now) {
            let answer =
                tokio::time::timeout(LOG_END_TIMEOUT, query_bounds(self.prober.clone())).await;
            let ends = answer.ok().and_then(Result::ok).map(|bounds| bounds.ends);
            self.progress.set_goals(&ends.unwrap_or_default(), clock::now_ms());
            if !while_catching_up {
                self.report_stage().await;
            }
        }
        if !while_catching_up {
            self.live_calls.apply(events, EventOrigin::Log, clock::now_ms());
        }
        outcome
    }

    /// Returns to catching up when the log moves again after it was unavailable.
    fn resume_catching_up(&mut self) {
        let now = clock::now_ms();
        if self.reported.0 == ReplayStage::Disconnected
            && self.stage(now) != ReplayStage::Disconnected
        {
            self.reported = (ReplayStage::CatchingUp, true);
            self.live_calls.set_stage(ReplayStage::CatchingUp, true, now);
        }
    }

    /// Sets the stage of the live state by the progress of the replay.
    async fn report_stage(&mut self) {
        let now = clock::now_ms();
        let (stage, unread) = (self.stage(now), self.progress.is_unread());
        self.reopen_reader_if_failing(now);
        if stage == ReplayStage::CatchingUp && self.since_eviction >= EVICTION_INTERVAL_MESSAGES {
            self.since_eviction = 0;
            self.live_calls.evict(self.progress.read_to(), self.idle_limit, now);
        }
        if self.reported == (stage, unread) {
            return;
        }
        if stage != ReplayStage::CatchingUp && !unread {
            while self.live_calls.fold_deferred(MAX_FOLDS_PER_STEP, now) {
                tokio::task::yield_now().await;
            }
            if self.was_live && self.reported.0 == ReplayStage::CatchingUp {
                self.live_calls.send_gap(
                    "this node fell behind; changes meanwhile were not announced, the levels follow",
                    now,
                );
            }
        }
        self.live_calls.set_stage(stage, unread, now);
        match stage {
            ReplayStage::Live => {
                self.was_live = true;
                self.readiness.healthy("live", Duration::from_secs(3600 * 24 * 365));
                let read = std::mem::take(&mut self.read);
                let took = now - self.started_at;
                tracing::info!(
                    replay.messages = read,
                    "the live state is current, {took} ms after its start; the replay read {read} messages"
                );
            }
            ReplayStage::CatchingUp => {}
            ReplayStage::Disconnected => {
                let reason = self.unreadable_batch(now).map_or_else(
                    || "the log is unavailable; levels from the spool are announced".to_owned(),
                    |batch| batch.to_string(),
                );
                self.readiness.unhealthy("live", reason);
            }
        }
        self.reported = (stage, unread);
    }

    async fn repair_positions(&mut self) {
        match self.reader.reset_out_of_range().await {
            Ok(gaps) => {
                for gap in gaps {
                    counter!(names::STREAM_GAPS, "reader" => "live").increment(1);
                    tracing::error!(
                        topic.partition = gap.partition,
                        offset.wanted = gap.wanted,
                        offset.resumed = gap.resumed,
                        "live state: the position in partition {} is lost, reading continues at {}",
                        gap.partition,
                        gap.resumed
                    );
                }
                let now = clock::now_ms();
                self.progress.reset_positions(self.reader.positions(), now);
                self.was_live = false;
                self.live_calls
                    .send_gap("a part of the log is lost; the levels in it are unknown here", now);
            }
            Err(error) => {
                tracing::warn!(error = %error, "live state: the position cannot be repaired yet: {error}");
            }
        }
    }
}

/// Folds calls with very many events, on a thread of its own.
async fn fold_large_calls(live_calls: LiveCalls) {
    loop {
        live_calls.large_fold_requested().await;
        while live_calls.fold_large_call(clock::now_ms) {
            // The stop of the process is checked after each fold.
            tokio::task::yield_now().await;
        }
    }
}

async fn follow_clock(live_calls: LiveCalls, history: LiveHistory, lifecycle: Lifecycle) {
    let soft = lifecycle.soft().clone();
    let idle_limit = idle_limit(history);
    let mut tick = tokio::time::interval(TICK_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut evicted_at = Instant::now();
    loop {
        if soft.run_until_cancelled(tick.tick()).await.is_none() {
            return;
        }
        let now = clock::now_ms();
        live_calls.tick(now);
        if evicted_at.elapsed() >= EVICTION_INTERVAL {
            evicted_at = Instant::now();
            live_calls.evict(None, idle_limit, now);
        }
    }
}
