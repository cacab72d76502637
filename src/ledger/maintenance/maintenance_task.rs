//! Runs the maintenance of the ledger, on one node at a time.
//!
//! It moves ids and projects calls that are due, presumes ends, monitors sources, creates partitions of tables ahead
//! of time, and deletes expired deduplication keys and revocations. The node holds the lease [`LEASE_NAME`].

use std::time::{Duration, Instant};

use chrono::TimeDelta;

use super::due_calls::project_due_calls;
use super::merges::move_merged_ids;
use super::presumed_ends::presume_ends;
use super::source_monitor;
use crate::clock;
use crate::ledger::context::{LedgerContext, is_due};
use crate::postgres::{self, StoreError};

/// Time until the lease expires after its last renewal.
const LEASE: Duration = Duration::from_secs(10);
const LEASE_NAME: &str = "maintenance";
/// Interval of the loop.
const INTERVAL: Duration = Duration::from_secs(1);
/// Interval of presuming ends.
const PRESUMED_ENDS_INTERVAL: Duration = Duration::from_secs(10);
/// Interval of creating partitions and deleting what has expired.
const RETENTION_INTERVAL: Duration = Duration::from_secs(3600);
/// Runs until the stop, then releases the lease.
///
/// # Why
///
/// One node is enough: a second one would wait for the locks of the first, and project the same calls
/// once more.
pub(crate) async fn run(ledger: LedgerContext) {
    let soft = ledger.lifecycle.soft().clone();
    let mut retained_at: Option<Instant> = None;
    let mut monitored_at: Option<Instant> = None;
    let mut counted_at: Option<Instant> = None;
    let mut presumed_at: Option<Instant> = None;
    let mut presumed_through = None;
    let mut has_more = false;
    while !soft.is_cancelled() {
        let lease = postgres::hold(&ledger.store, LEASE_NAME, &ledger.owner, LEASE).await;
        if matches!(lease, Ok(true)) {
            has_more = false;
            for step in [move_merged_ids(&ledger).await, project_due_calls(&ledger).await] {
                match step {
                    Ok(more) => has_more |= more,
                    Err(error) => {
                        tracing::debug!(error = %error, "large calls wait: {error}");
                    }
                }
            }
            if is_due(monitored_at, source_monitor::INTERVAL) {
                monitored_at = Some(Instant::now());
                if let Err(error) = source_monitor::reconcile_once(&ledger, &mut counted_at).await {
                    tracing::debug!(error = %error, "the sources are not monitored now: {error}");
                }
            }
            if is_due(presumed_at, PRESUMED_ENDS_INTERVAL) {
                match presume_ends(&ledger, &mut presumed_through).await {
                    // If there are more, the next loop continues, after what else is due.
                    Ok(has_more) => presumed_at = (!has_more).then(Instant::now),
                    Err(error) => {
                        tracing::debug!(error = %error, "no ends are presumed now: {error}");
                    }
                }
            }
            if is_due(retained_at, RETENTION_INTERVAL) {
                match apply_retention(&ledger).await {
                    Ok(()) => retained_at = Some(Instant::now()),
                    Err(error) => tracing::debug!(error = %error, "retention waits: {error}"),
                }
            }
        } else if lease.is_ok() && monitored_at.take().is_some() {
            // Another node reports the gauges now. While the store is unavailable no other node
            // does, and the last values stay.
            counted_at = None;
            source_monitor::reset_gauges();
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL), if !has_more => {}
            () = tokio::task::yield_now(), if has_more => {}
            () = soft.cancelled() => {}
        }
    }
    if let Err(error) = postgres::release(&ledger.store, LEASE_NAME, &ledger.owner).await {
        tracing::debug!(error = %error, "the lease of the maintenance is not released and expires: {error}");
    }
}

/// Creates the partitions of tables ahead of time, and deletes expired deduplication keys and
/// revocations of tokens that have expired.
async fn apply_retention(ledger: &LedgerContext) -> Result<(), StoreError> {
    let now = clock::now();
    ledger.store.create_partitions(now).await?;
    // The settings are limited to the range of the type; this is their default.
    let retention = TimeDelta::from_std(ledger.dedup_retention).unwrap_or(TimeDelta::days(35));
    let day = (now - retention).date_naive();
    while postgres::delete_event_keys(&ledger.store, day).await? > 0 {}
    // Far more than the time since the first token.
    let retention = TimeDelta::from_std(ledger.revocation_retention).unwrap_or(TimeDelta::MAX);
    if let Some(until) = now.checked_sub_signed(retention) {
        while ledger.store.delete_token_revocations(until).await? > 0 {}
    }
    Ok(())
}
