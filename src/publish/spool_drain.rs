//! Drains the spool: publishes messages that Kafka did not confirm, when it confirms again.
//!
//! One node drains at a time; it holds the lease [`LEASE_NAME`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use metrics::counter;
use uuid::Uuid;

use crate::clock;
use crate::failpoint;
use crate::kafka::{Publication, Publisher, WireMessage};
use crate::lifecycle::Lifecycle;
use crate::postgres::{self, NewQuarantine, Postgres, SpooledMessage, StoreError};
use crate::telemetry::{LogLimiter, names};
use onrecord_evidence::event::ids::Digest;

/// Time until the lease expires after its last renewal.
const LEASE: Duration = Duration::from_secs(10);
const LEASE_NAME: &str = "drain";
/// Interval of the look at an empty spool.
const INTERVAL: Duration = Duration::from_millis(500);
/// Interval between two log lines of steps that fail.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum messages of one step while Kafka confirms.
const MAX_MESSAGES: i64 = 500;
/// Maximum bytes of one step.
const MAX_BYTES: i64 = 8 * 1024 * 1024;

/// Publishes what is in the spool, and deletes what Kafka has.
pub(crate) struct SpoolDrain {
    store: Postgres,
    publisher: Publisher,
    lifecycle: Lifecycle,
    /// The holder of this process's leases.
    owner: Arc<str>,
    /// Rows up to this id were tried in the current pass over the spool.
    after: i64,
    /// Whether the availability record says that the spool is in use. `None`: unknown, because
    /// another node may have drained.
    in_use: Option<bool>,
    log_limiter: LogLimiter<()>,
}

impl SpoolDrain {
    /// Starts with the first row.
    pub(crate) fn new(
        store: Postgres,
        publisher: Publisher,
        lifecycle: Lifecycle,
        owner: Arc<str>,
    ) -> Self {
        let log_limiter = LogLimiter::new(LOG_INTERVAL);
        Self { store, publisher, lifecycle, owner, after: 0, in_use: None, log_limiter }
    }

    /// Drains until the stop, then releases the lease.
    pub(crate) async fn run(mut self) {
        let soft = self.lifecycle.soft().clone();
        while !soft.is_cancelled() {
            // A step that is dropped leaves in the spool what is not known to be in Kafka.
            let Some(step) = soft.run_until_cancelled(self.step()).await else {
                break;
            };
            let has_more = step.unwrap_or_else(|error| {
                if self.log_limiter.allows((), Instant::now()) {
                    tracing::warn!(error = %error, "the spool is not drained now, and is tried again: {error}");
                }
                false
            });
            if !has_more {
                soft.run_until_cancelled(tokio::time::sleep(INTERVAL)).await;
            }
        }
        if let Err(error) = postgres::release(&self.store, LEASE_NAME, &self.owner).await {
            tracing::debug!(error = %error, "the lease of the drain is not released and expires: {error}");
        }
    }

    /// Takes or renews the lease; returns whether this node holds it.
    async fn hold_lease(&self) -> Result<bool, StoreError> {
        postgres::hold(&self.store, LEASE_NAME, &self.owner, LEASE).await
    }

    /// Publishes the oldest messages behind those of the step before. Returns whether there may be
    /// more to do at once.
    ///
    /// # Why
    ///
    /// A message that Kafka does not take delays no other: it is tried again in the next pass.
    async fn step(&mut self) -> Result<bool, StoreError> {
        let now = clock::now();
        if !self.hold_lease().await? {
            self.in_use = None;
            return Ok(false);
        }
        // While Kafka does not confirm, one message per step probes it.
        let limit = if self.publisher.is_confirming() { MAX_MESSAGES } else { 1 };
        let rows = self.store.oldest_spooled(self.after, limit, MAX_BYTES).await?;
        let Some(last) = rows.last() else {
            // The next pass begins with the first row, where some may have been left.
            let had_rows = std::mem::take(&mut self.after) > 0;
            if !had_rows {
                self.record_empty(now).await;
            }
            return Ok(had_rows && self.publisher.is_confirming());
        };
        self.after = last.id;
        let since = rows.iter().map(|row| row.stored_at).min().unwrap_or(now);
        self.record_in_use(since, 0).await;
        let mut done = Vec::with_capacity(rows.len());
        let mut messages = Vec::with_capacity(rows.len());
        let mut ids = Vec::with_capacity(rows.len());
        for row in rows {
            match serde_json::from_slice::<WireMessage>(&row.message) {
                Ok(message) => {
                    messages.push(message);
                    ids.push(row.id);
                }
                Err(error) => {
                    let detail = format!("the spool row is not a message: {error}");
                    self.quarantine(&row, None, &detail).await?;
                    done.push(row.id);
                }
            }
        }
        let publications = self.publish(&messages).await;
        let mut all_done = true;
        for ((id, message), publication) in ids.into_iter().zip(&messages).zip(publications) {
            match publication {
                Publication::Confirmed => done.push(id),
                Publication::NotConfirmed => all_done = false,
                Publication::Refused(reason) => {
                    let content = match serde_json::to_vec(message) {
                        Ok(content) => content,
                        Err(error) => {
                            // It was read from JSON above.
                            tracing::error!(error = %error, spool.id = id, "spooled message {id} cannot be written, and stays in the spool: {error}");
                            all_done = false;
                            continue;
                        }
                    };
                    let row = SpooledMessage { id, message: content, stored_at: now };
                    let detail = format!("kafka will never take the message: {reason}");
                    self.quarantine(&row, Some(message), &detail).await?;
                    done.push(id);
                }
            }
        }
        if all_done {
            failpoint::reached("drain-published");
        }
        self.store.delete_spooled(&done).await?;
        counter!(names::SPOOL_DRAINED).increment(done.len() as u64);
        self.record_in_use(since, done.len()).await;
        Ok(all_done)
    }

    /// Waits for the final delivery report of each message and renews the lease meanwhile, because
    /// the reports may take longer than the lease.
    ///
    /// # Why
    ///
    /// A late confirmation counts: to publish the message again would only make another copy.
    async fn publish(&self, messages: &[WireMessage]) -> Vec<Publication> {
        let final_reports = self.publisher.publish_with_final_reports(messages);
        tokio::pin!(final_reports);
        loop {
            tokio::select! {
                publications = &mut final_reports => return publications,
                () = tokio::time::sleep(LEASE / 3) => {
                    // Without the lease another node publishes the same, which ONCE makes harmless.
                    if let Err(error) = self.hold_lease().await {
                        tracing::debug!(error = %error, "the lease of the drain is not renewed now: {error}");
                    }
                }
            }
        }
    }

    /// Records in the availability record that the spool is in use, and how many messages were
    /// drained.
    async fn record_in_use(&mut self, since: DateTime<Utc>, drained: usize) {
        if self.in_use == Some(true) && drained == 0 {
            return;
        }
        let recorded = self.store.record_spool_use(since, drained as u64).await;
        self.note_recorded(true, recorded, "the use of the spool");
    }

    async fn record_empty(&mut self, now: DateTime<Utc>) {
        if self.in_use != Some(false) {
            let recorded = self.store.end_spool_use(now).await;
            self.note_recorded(false, recorded, "the end of the spool's use");
        }
    }

    fn note_recorded(&mut self, in_use: bool, recorded: Result<(), StoreError>, what: &str) {
        match recorded {
            Ok(()) => self.in_use = Some(in_use),
            // The messages matter more than the record of their delay: the drain goes on, and the
            // next step tries again.
            Err(error) => tracing::warn!(error = %error, "{what} is not recorded: {error}"),
        }
    }

    async fn quarantine(
        &self,
        row: &SpooledMessage,
        message: Option<&WireMessage>,
        detail: &str,
    ) -> Result<(), StoreError> {
        tracing::error!(
            spool.id = row.id,
            "spooled message {} goes to quarantine: {detail}",
            row.id
        );
        let sha256 = Digest::of(&row.message);
        let tenant = message.and_then(|message| message.header("ce_tenant"));
        let quarantined = NewQuarantine {
            id: Uuid::now_v7(),
            // Without a tenant the row is visible to the operator only.
            tenant: tenant.unwrap_or_default().to_owned(),
            key: sha256,
            source: "spool".to_owned(),
            reason: "log_refused".to_owned(),
            detail: detail.to_owned(),
            pointer: None,
            content: Some(row.message.clone()),
            sealed: None,
            content_type: Some("application/json".to_owned()),
            content_coding: None,
            charset: None,
            size: i64::try_from(row.message.len()).unwrap_or(i64::MAX),
            sha256,
            redacted: Vec::new(),
            received_at: row.stored_at,
        };
        let quarantined = std::slice::from_ref(&quarantined);
        let (_, counts) = self
            .store
            .run_tx("quarantine from spool", move |tx| {
                async move { postgres::record_quarantine(tx, quarantined, clock::now()).await }
                    .boxed()
            })
            .await?;
        counts.report();
        Ok(())
    }
}
