//! Appends a batch, isolates the messages that PostgreSQL refuses or cannot complete, and delays them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::batch_attempt::{self, BatchFailure, NextAttempt};
use super::delayed_messages::{DelayedMessages, MessageFate};
use super::step_error::StepError;
use crate::kafka::{ConsumerError, PartitionConsumer};
use crate::ledger::append::append_batch::{AppendMode, append_batch};
use crate::ledger::append::decoded_message::DecodedMessage;
use crate::ledger::append::refusal::RefusalReason;
use crate::ledger::context::LedgerContext;
use crate::ledger::partition_leases::PartitionLeases;
use crate::postgres::StoreError;

/// What is still to be appended, the last one first.
type PendingBatches = Vec<(Vec<DecodedMessage>, AppendMode)>;

/// The messages of one follower that are isolated.
pub(super) struct Isolation {
    /// Messages that could not be appended alone.
    delayed: DelayedMessages,
    /// Number of batches that the followers of the topic on this node have appended.
    appended: Arc<AtomicU64>,
}

impl Isolation {
    pub(super) fn new(appended: Arc<AtomicU64>) -> Self {
        Self { delayed: DelayedMessages::default(), appended }
    }

    pub(super) fn delayed(&self) -> &DelayedMessages {
        &self.delayed
    }

    /// Notes that this partition is read from its position.
    pub(super) fn read_from(&mut self, partition: i32, next_offset: i64) {
        self.delayed.moved(partition, next_offset);
        self.delayed.resumed(partition);
    }

    pub(super) fn forget(&mut self, partition: i32) {
        self.delayed.forget(partition);
    }

    pub(super) fn forget_all(&mut self) {
        self.delayed = DelayedMessages::default();
    }

    /// Appends a batch. One that Postgres refuses for its content, or cannot complete, is isolated: see
    /// [`batch_attempt::after`]. A store that does not answer is an outage, and so is a lock that is not
    /// free: the batch waits.
    pub(super) async fn append(
        &mut self,
        ledger: &LedgerContext,
        topic: &str,
        leases: &mut PartitionLeases,
        consumer: &mut PartitionConsumer,
        batch: Vec<DecodedMessage>,
    ) -> Result<(), StepError> {
        let mut pending = self.first_attempts(batch);
        while let Some((batch, mode)) = pending.pop() {
            let error = match append_batch(ledger, topic, leases, &batch, &mode).await {
                Ok(()) => {
                    self.note_appended(&batch, &mode);
                    continue;
                }
                Err(error) => error,
            };
            let reason = error.to_string();
            let failure = match &error {
                StoreError::Content(_) => BatchFailure::Content(reason),
                StoreError::Exhausted(_) => BatchFailure::Exhausted(reason),
                StoreError::TooLarge => BatchFailure::TooLarge(reason),
                StoreError::Inconsistent(_) => BatchFailure::Unprojectable,
                _ if error.is_timeout() && ledger.store.answers().await => {
                    BatchFailure::Exhausted(reason)
                }
                _ => return Err(error.into()),
            };
            let Some(next) = batch_attempt::after(&mode, failure, batch.len()) else {
                return Err(error.into());
            };
            tracing::debug!(error = %error, "a batch of {} is tried in another way: {error}", batch.len());
            match next {
                NextAttempt::Whole(mode) => pending.push((batch, mode)),
                NextAttempt::Halves(mode) => {
                    let mut first = batch;
                    let second = first.split_off(first.len() / 2);
                    // Offsets must rise within a partition: the earlier half is appended first.
                    pending.push((second, mode.clone()));
                    pending.push((first, mode));
                }
                NextAttempt::Later(reason) => {
                    self.delay(topic, consumer, batch, reason, &mut pending)?;
                }
            }
        }
        Ok(())
    }

    /// What is tried, the last one first: delayed messages alone, then the others.
    fn first_attempts(&self, batch: Vec<DecodedMessage>) -> PendingBatches {
        let is_delayed =
            |message: &DecodedMessage| self.delayed.has(message.partition, message.offset);
        let (delayed, others): (Vec<_>, Vec<_>) = if self.delayed.is_empty() {
            (Vec::new(), batch)
        } else {
            batch.into_iter().partition(is_delayed)
        };
        let others = (!others.is_empty()).then_some((others, AppendMode::Projected));
        let delayed = delayed.into_iter().map(|message| (vec![message], AppendMode::Postponed));
        others.into_iter().chain(delayed).collect()
    }

    fn note_appended(&mut self, batch: &[DecodedMessage], mode: &AppendMode) {
        if !matches!(mode, AppendMode::Quarantined(_)) {
            self.appended.fetch_add(1, Ordering::Relaxed);
        }
        if !self.delayed.is_empty() {
            for message in batch {
                self.delayed.moved(message.partition, message.offset + 1);
            }
        }
    }

    /// Delays the partition of a message that could not be appended alone, or sets the message aside.
    fn delay(
        &mut self,
        topic: &str,
        consumer: &mut PartitionConsumer,
        batch: Vec<DecodedMessage>,
        reason: String,
        pending: &mut PendingBatches,
    ) -> Result<(), StepError> {
        let Some(message) = batch.first() else { return Ok(()) };
        let (partition, offset) = (message.partition, message.offset);
        let appended = self.appended.load(Ordering::Relaxed);
        match self.delayed.failed(partition, offset, appended, Instant::now()) {
            MessageFate::Delayed => {
                tracing::warn!(
                    topic.name = topic,
                    topic.partition = partition,
                    message.offset = offset,
                    "the message at offset {offset} of {topic} partition {partition} is appended later, and what follows it: {reason}",
                );
                for (batch, _) in pending.iter_mut() {
                    batch.retain(|message| message.partition != partition);
                }
                pending.retain(|(batch, _)| !batch.is_empty());
                consumer.unassign(&[partition])?;
            }
            MessageFate::SetAside => {
                tracing::error!(
                    topic.name = topic,
                    topic.partition = partition,
                    message.offset = offset,
                    "the message at offset {offset} of {topic} partition {partition} goes to quarantine, because others are appended and it is not: {reason}",
                );
                pending.push((batch, AppendMode::Quarantined(RefusalReason::Exhausted(reason))));
            }
        }
        Ok(())
    }

    /// Reads the partitions again whose delay is over.
    pub(super) fn resume(
        &mut self,
        leases: &PartitionLeases,
        consumer: &mut PartitionConsumer,
    ) -> Result<(), ConsumerError> {
        for partition in self.delayed.due(Instant::now()) {
            match leases.get(partition) {
                Some(lease) => {
                    consumer.read_from(vec![(partition, lease.next_offset)])?;
                    self.delayed.resumed(partition);
                }
                None => self.delayed.forget(partition),
            }
        }
        Ok(())
    }
}
