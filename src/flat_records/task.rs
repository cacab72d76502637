//! Reads the calls that changed, publishes their records, and stores the position; on one node at a time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use metrics::{counter, gauge};
use uuid::Uuid;

use super::changes::{FlatRecordChanges, changes};
use super::record::{FlatRecord, removal};
use crate::clock;
use crate::failpoint;
use crate::kafka::{KafkaClientConfig, KeyedRecord, RecordProducer, RecordProducerError};
use crate::lifecycle::Lifecycle;
use crate::postgres::{
    self, FlatCall, FlatCallRows, FlatPosition, FlatRecordName, Postgres, PublishedStep,
    StoreError, Tx,
};
use crate::telemetry::{LogLimiter, names};
use onrecord_evidence::event::ids::Digest;

const LEASE_NAME: &str = "flat records";
/// Time until the lease expires after its last renewal.
const LEASE: Duration = Duration::from_secs(10);
/// Interval of renewing it during a step, which may take longer.
const LEASE_INTERVAL: Duration = Duration::from_secs(3);
/// Interval of the loop while no call changes.
const INTERVAL: Duration = Duration::from_secs(1);
/// Interval of the loop while it fails.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Interval of looking for calls that exist no longer.
const ORPHANS_INTERVAL: Duration = Duration::from_secs(3600);
/// Interval between two log lines about a failure.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of calls of one step.
const MAX_CALLS: i64 = 100;

/// Why a step failed. The next one does the same again.
#[derive(Debug, thiserror::Error)]
enum FlatRecordError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("kafka: {0}")]
    Kafka(#[from] RecordProducerError),
    #[error("a row of the schema reading or a key is not as expected: {0}")]
    Json(#[from] serde_json::Error),
    #[error("another node has the lease now")]
    LeaseLost,
}

impl FlatRecordError {
    /// Whether the rows of a call may be the cause: fewer calls at a time may succeed.
    fn is_of_a_call(&self) -> bool {
        match self {
            Self::Store(error) => {
                error.is_timeout()
                    || matches!(
                        error,
                        StoreError::Content(_)
                            | StoreError::Exhausted(_)
                            | StoreError::Inconsistent(_)
                    )
            }
            Self::Json(_) => true,
            Self::Kafka(_) | Self::LeaseLost => false,
        }
    }
}

/// What a step publishes.
#[derive(Debug, Default)]
struct PlannedStep {
    messages: Vec<KeyedRecord>,
    /// By key.
    names: BTreeMap<String, FlatRecordName>,
    digests: BTreeMap<String, Digest>,
    published: PublishedStep,
}

/// The calls of a step.
#[derive(Debug, Default)]
struct FlatBatch {
    calls: Vec<FlatCall>,
    /// The position behind them, if they are those that changed.
    position: Option<FlatPosition>,
    /// Whether there may be more.
    is_full: bool,
}

/// Publishes the flat records.
pub(crate) struct FlatRecordTask {
    store: Postgres,
    connection: KafkaClientConfig,
    lifecycle: Lifecycle,
    owner: String,
    /// Opened when this node takes the lease.
    producer: Option<RecordProducer>,
    orphans_at: Option<Instant>,
    /// Maximum number of calls of the next step.
    limit: i64,
    log: LogLimiter<&'static str>,
}

impl FlatRecordTask {
    pub(crate) fn new(
        store: Postgres,
        connection: KafkaClientConfig,
        lifecycle: Lifecycle,
    ) -> Self {
        Self {
            store,
            connection,
            lifecycle,
            owner: Uuid::new_v4().to_string(),
            producer: None,
            orphans_at: None,
            limit: MAX_CALLS,
            log: LogLimiter::new(LOG_INTERVAL),
        }
    }

    /// Runs until the stop, then releases the lease.
    pub(crate) async fn run(mut self) {
        let soft = self.lifecycle.soft().clone();
        while !soft.is_cancelled() {
            let renewal = renew(self.store.clone(), self.owner.clone());
            // A step that the stop interrupts is published again by the next node.
            let outcome = tokio::select! {
                outcome = self.step() => outcome,
                never = renewal => match never {},
                () = soft.cancelled() => break,
            };
            let wait = match outcome {
                Ok(true) => Duration::ZERO,
                Ok(false) => INTERVAL,
                Err(error) => {
                    // After a failed transaction a producer cannot begin another one.
                    self.producer = None;
                    if self.log.allows("step", Instant::now()) {
                        tracing::warn!(error = %error, "flat records are published later: {error}");
                    }
                    RETRY_INTERVAL
                }
            };
            soft.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
        if let Err(error) = postgres::release(&self.store, LEASE_NAME, &self.owner).await {
            tracing::debug!(error = %error, "the lease of flat records is not released and expires: {error}");
        }
    }

    /// One step. Returns whether there is more to do.
    async fn step(&mut self) -> Result<bool, FlatRecordError> {
        if !postgres::hold(&self.store, LEASE_NAME, &self.owner, LEASE).await? {
            self.producer = None;
            return Ok(false);
        }
        // After the lease, so that the producer of the node before is fenced, and before anything is read.
        let producer = match &self.producer {
            Some(producer) => producer.clone(),
            None => {
                let opened = RecordProducer::open(&self.connection).await?;
                self.producer.insert(opened).clone()
            }
        };
        let batch = self.next_batch().await?;
        let has_more = batch.is_full;
        gauge!(names::FLAT_RECORDS_BEHIND).set(if has_more { 1.0 } else { 0.0 });
        if batch.calls.is_empty() {
            return Ok(false);
        }
        // Without a connection no call is at fault.
        let mut snapshot = self.store.read_flat_records().await?;
        let planned = planned(&mut snapshot, &batch).await;
        drop(snapshot);
        match planned {
            Ok(planned) => {
                self.publish(&producer, planned).await?;
                self.limit = (2 * self.limit).min(MAX_CALLS);
                Ok(has_more)
            }
            // A call that is too large is read by itself, and then without the others waiting for it.
            Err(error) if !error.is_of_a_call() || !self.store.answers().await => Err(error),
            Err(error) if self.limit > 1 => {
                self.limit = (self.limit / 4).max(1);
                tracing::debug!(error = %error, "flat records are read in steps of {} calls: {error}", self.limit);
                Ok(true)
            }
            Err(error) => {
                self.skip(batch, &error).await?;
                Ok(true)
            }
        }
    }

    /// The calls of the next step: those that changed, else those that may be complete by now, else those that
    /// exist no longer.
    async fn next_batch(&mut self) -> Result<FlatBatch, FlatRecordError> {
        let is_full = |calls: &[FlatCall], limit| i64::try_from(calls.len()) == Ok(limit);
        let (calls, position) = self.store.changed_flat_calls(self.limit).await?;
        if !calls.is_empty() {
            return Ok(FlatBatch { is_full: is_full(&calls, self.limit), calls, position });
        }
        let calls = self.store.completed_flat_calls(self.limit).await?;
        if !calls.is_empty() {
            return Ok(FlatBatch { is_full: is_full(&calls, self.limit), calls, position: None });
        }
        if self.orphans_at.is_some_and(|at| at.elapsed() < ORPHANS_INTERVAL) {
            return Ok(FlatBatch::default());
        }
        let calls = self.store.orphaned_flat_calls(self.limit).await?;
        let is_full = is_full(&calls, self.limit);
        self.orphans_at = (!is_full).then(Instant::now);
        Ok(FlatBatch { is_full, calls, position: None })
    }

    /// Leaves a call out whose rows cannot be read, until it changes again.
    async fn skip(&self, batch: FlatBatch, error: &FlatRecordError) -> Result<(), FlatRecordError> {
        for FlatCall { call, .. } in &batch.calls {
            counter!(names::FLAT_RECORDS, "outcome" => "failed").increment(1);
            tracing::warn!(error = %error, call.id = %call, "the flat records of the call {call} are left out until it changes: {error}");
        }
        let calls = batch.calls.into_iter().map(|call| (call, None)).collect();
        let skipped = PublishedStep { calls, position: batch.position, ..PublishedStep::default() };
        if self.store.end_flat_records(LEASE_NAME, &self.owner, &skipped).await? {
            return Ok(());
        }
        Err(FlatRecordError::LeaseLost)
    }

    async fn publish(
        &self,
        producer: &RecordProducer,
        planned: PlannedStep,
    ) -> Result<(), FlatRecordError> {
        let PlannedStep { messages, names, digests, mut published } = planned;
        let (changed, gone) = (digests.len(), published.gone.len());
        if !messages.is_empty() {
            let begun: Vec<FlatRecordName> = names.values().cloned().collect();
            if !self.store.begin_flat_records(LEASE_NAME, &self.owner, &begun).await? {
                return Err(FlatRecordError::LeaseLost);
            }
            for key in producer.publish(messages).await? {
                counter!(names::FLAT_RECORDS, "outcome" => "too_large").increment(1);
                tracing::warn!(record.key = %key, "the flat record {key} is larger than Kafka takes, and is not published");
            }
        }
        failpoint::reached("flat-records-published");
        published.changed =
            names.into_iter().filter_map(|(key, name)| Some((name, *digests.get(&key)?))).collect();
        if !self.store.end_flat_records(LEASE_NAME, &self.owner, &published).await? {
            return Err(FlatRecordError::LeaseLost);
        }
        counter!(names::FLAT_RECORDS, "outcome" => "published").increment(changed as u64);
        counter!(names::FLAT_RECORDS, "outcome" => "tombstone").increment(gone as u64);
        Ok(())
    }
}

async fn planned(snapshot: &mut Tx<'_>, batch: &FlatBatch) -> Result<PlannedStep, FlatRecordError> {
    let rows = postgres::flat_call_rows(snapshot, &batch.calls).await?;
    Ok(plan(rows, batch.position.clone(), clock::now())?)
}

/// Renews the lease until it is another node's, which the step then finds at its next write.
async fn renew(store: Postgres, owner: String) -> Infallible {
    loop {
        tokio::time::sleep(LEASE_INTERVAL).await;
        match postgres::extend(&store, LEASE_NAME, &owner, LEASE).await {
            Ok(true) => {}
            Ok(false) => std::future::pending().await,
            Err(error) => {
                tracing::debug!(error = %error, "the lease of flat records is not renewed: {error}");
            }
        }
    }
}

/// What is to be published of these calls.
fn plan(
    calls: BTreeMap<FlatCall, FlatCallRows>,
    position: Option<FlatPosition>,
    now: DateTime<Utc>,
) -> serde_json::Result<PlannedStep> {
    let mut planned = PlannedStep::default();
    planned.published.position = position;
    for (call, FlatCallRows { rows, published, incomplete_since }) in calls {
        if rows.is_empty() {
            planned.published.gone_calls.push(call.clone());
        } else {
            planned.published.calls.push((call.clone(), incomplete_since));
        }
        let current = rows.into_iter().map(|row| FlatRecord::of(&call.tenant, row, now));
        let current: BTreeMap<String, FlatRecord> = current.collect::<serde_json::Result<_>>()?;
        let FlatRecordChanges { changed, gone } = changes(current, &published);
        let name = |key: &String| FlatRecordName { call: call.clone(), key: key.clone() };
        for (key, record) in changed {
            planned.names.insert(key.clone(), name(&key));
            planned.digests.insert(key.clone(), record.digest);
            planned.messages.push(record.to_message(key, &call));
        }
        for key in gone {
            planned.names.insert(key.clone(), name(&key));
            planned.published.gone.push(name(&key));
            planned.messages.extend(removal(&key, &call, now)?);
        }
    }
    Ok(planned)
}
