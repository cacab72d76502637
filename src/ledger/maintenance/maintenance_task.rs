//! Runs the maintenance of the ledger, on one node at a time.
//!
//! It projects calls that are due, presumes ends, monitors sources, creates partitions of tables ahead
//! of time, and deletes expired deduplication keys. The node holds the lease [`LEASE_NAME`].

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use futures_util::FutureExt as _;

use super::presumed_ends::presume_ends;
use super::source_monitor;
use crate::clock;
use crate::ledger::context::{LedgerContext, is_due};
use crate::ledger::project::project_calls::{ReevaluationTrigger, project_calls};
use crate::postgres::{self, StoreError};
use onrecord_evidence::identity::alias_graph::Anchor;

/// Time until the lease expires after its last renewal.
const LEASE: Duration = Duration::from_secs(10);
const LEASE_NAME: &str = "maintenance";
/// Interval of the loop.
const INTERVAL: Duration = Duration::from_secs(1);
/// Interval of presuming ends.
const PRESUMED_ENDS_INTERVAL: Duration = Duration::from_secs(10);
/// Interval of creating partitions and deleting expired keys.
const RETENTION_INTERVAL: Duration = Duration::from_secs(3600);
/// Time after which a call that cannot be projected is tried again.
const RETRY_DELAY: TimeDelta = TimeDelta::seconds(60);
/// Maximum calls that are projected in one step.
const MAX_CALLS: i64 = 100;

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
    while !soft.is_cancelled() {
        let lease = postgres::hold(&ledger.store, LEASE_NAME, &ledger.owner, LEASE).await;
        if matches!(lease, Ok(true)) {
            if let Err(error) = project_due_calls(&ledger).await {
                tracing::debug!(error = %error, "due calls are not projected now: {error}");
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
            () = tokio::time::sleep(INTERVAL) => {}
            () = soft.cancelled() => {}
        }
    }
    if let Err(error) = postgres::release(&ledger.store, LEASE_NAME, &ledger.owner).await {
        tracing::debug!(error = %error, "the lease of the maintenance is not released and expires: {error}");
    }
}

async fn project_due_calls(ledger: &LedgerContext) -> Result<(), StoreError> {
    let now = clock::now();
    for (tenant, call) in postgres::calls_due(&ledger.store, now, MAX_CALLS).await? {
        let (tenant, call) = (tenant.as_str(), Anchor::from_stored(call));
        let call = &call;
        let projected = ledger
            .store
            .run_tx("project", move |tx| {
                async move {
                    let touched = postgres::TouchedCalls::one(call.clone());
                    project_calls(tx, tenant, touched, ReevaluationTrigger::Time, now).await
                }
                .boxed()
            })
            .await;
        match projected {
            Ok(counts) => counts.report(),
            Err(error @ StoreError::Unavailable(_)) if !ledger.store.answers().await => {
                return Err(error);
            }
            // A call that cannot be projected delays no other.
            Err(error) => {
                tracing::warn!(error = %error, call.id = %call, "the call {call} is not projected now: {error}");
                postgres::set_retry_at(&ledger.store, tenant, call, now + RETRY_DELAY).await?;
            }
        }
    }
    Ok(())
}

/// Creates the partitions of tables ahead of time, and deletes expired deduplication keys.
async fn apply_retention(ledger: &LedgerContext) -> Result<(), StoreError> {
    let now = clock::now();
    ledger.store.create_partitions(now).await?;
    // The settings are limited to the range of the type; this is their default.
    let retention = TimeDelta::from_std(ledger.dedup_retention).unwrap_or(TimeDelta::days(35));
    let day = (now - retention).date_naive();
    while postgres::delete_event_keys(&ledger.store, day).await? > 0 {}
    Ok(())
}
