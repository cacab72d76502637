//! Runs the maintenance of the ledger, on one node at a time.
//!
//! It moves ids and projects calls that are due, presumes ends, monitors sources, creates partitions of tables ahead
//! of time, analyzes new tables, makes the roll-ups of statistics, and deletes expired deduplication keys and revocations. The node holds the lease [`LEASE_NAME`].

use std::time::{Duration, Instant};

use chrono::TimeDelta;

use super::due_calls::project_due_calls;
use super::merges::move_merged_ids;
use super::presumed_ends::presume_ends;
use super::rollups::make_due_rollups;
use super::source_monitor;
use crate::clock;
use crate::ledger::context::{LedgerContext, is_due};
use crate::postgres::{self, StoreError};

/// Time until the lease expires after its last renewal.
const LEASE: Duration = Duration::from_secs(10);
const LEASE_NAME: &str = "maintenance";
/// Interval of the loop.
const INTERVAL: Duration = Duration::from_secs(1);
/// Maximum interval of the loop while its steps fail.
const MAX_INTERVAL: Duration = Duration::from_secs(8);
/// Maximum time after which a step begins nothing more: other work waits for it, and the lease.
const MAX_STEP_TIME: Duration = Duration::from_secs(3);
/// Interval of presuming ends.
const PRESUMED_ENDS_INTERVAL: Duration = Duration::from_secs(10);
/// Interval of making the roll-ups of hours that changed.
const ROLLUP_INTERVAL: Duration = Duration::from_secs(10);
/// Interval of analyzing tables that have grown since they were created.
const ANALYZE_INTERVAL: Duration = Duration::from_secs(5);
/// Interval of creating partitions and deleting what has expired.
const RETENTION_INTERVAL: Duration = Duration::from_secs(3600);

/// How long the loop waits after its steps.
#[derive(Debug, Default)]
struct Pace {
    /// Whether a step has more to do.
    has_more: bool,
    /// Number of loops in succession in which a step failed.
    failures: u32,
}

impl Pace {
    /// Begins a loop.
    fn begin(&mut self) {
        self.has_more = false;
    }

    /// The wait after a loop in which a step failed, or none did.
    fn end(&mut self, has_failed: bool) -> Duration {
        self.failures = if has_failed { self.failures.saturating_add(1) } else { 0 };
        if self.failures > 0 {
            let doublings = (self.failures - 1).min(8);
            return INTERVAL.saturating_mul(1 << doublings).min(MAX_INTERVAL);
        }
        if self.has_more { Duration::ZERO } else { INTERVAL }
    }
}

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
    let mut rolled_at: Option<Instant> = None;
    let mut analyzed_at: Option<Instant> = None;
    let mut presumed_through = None;
    let mut pace = Pace::default();
    while !soft.is_cancelled() {
        pace.begin();
        let lease = postgres::hold(&ledger.store, LEASE_NAME, &ledger.owner, LEASE).await;
        let mut has_failed = lease.is_err();
        if let Err(error) = &lease {
            ledger.warn_of_failed("its lease", error);
        }
        if matches!(lease, Ok(true)) {
            if is_due(analyzed_at, ANALYZE_INTERVAL) {
                analyzed_at = Some(Instant::now());
                if let Err(error) = postgres::analyze_new_tables(&ledger.store).await {
                    ledger.warn_of_failed("the analysis of new tables", &error);
                }
            }
            let merged = move_merged_ids(&ledger, Instant::now() + MAX_STEP_TIME).await;
            let projected = project_due_calls(&ledger, Instant::now() + MAX_STEP_TIME).await;
            for step in [merged, projected] {
                match step {
                    Ok(more) => pace.has_more |= more,
                    Err(error) => {
                        has_failed = true;
                        ledger.warn_of_failed("the evaluation of due calls", &error);
                    }
                }
            }
            if is_due(monitored_at, source_monitor::INTERVAL) {
                monitored_at = Some(Instant::now());
                if let Err(error) = source_monitor::reconcile_once(&ledger, &mut counted_at).await {
                    ledger.warn_of_failed("the monitoring of sources", &error);
                }
            }
            if is_due(presumed_at, PRESUMED_ENDS_INTERVAL) {
                match presume_ends(&ledger, &mut presumed_through).await {
                    // If there are more, the next loop continues, after what else is due.
                    Ok(has_more) => presumed_at = (!has_more).then(Instant::now),
                    Err(error) => {
                        ledger.warn_of_failed("the presumption of ends", &error);
                    }
                }
            }
            if is_due(rolled_at, ROLLUP_INTERVAL) {
                match make_due_rollups(&ledger).await {
                    // As for ends.
                    Ok(has_more) => rolled_at = (!has_more).then(Instant::now),
                    Err(error) => ledger.warn_of_failed("the roll-ups of statistics", &error),
                }
            }
            if is_due(retained_at, RETENTION_INTERVAL) {
                match apply_retention(&ledger).await {
                    Ok(()) => retained_at = Some(Instant::now()),
                    Err(error) => ledger.warn_of_failed("the retention", &error),
                }
            }
        } else if lease.is_ok() && monitored_at.take().is_some() {
            // Another node reports the gauges now. While the store is unavailable no other node
            // does, and the last values stay.
            counted_at = None;
            source_monitor::reset_gauges();
        }
        soft.run_until_cancelled(tokio::time::sleep(pace.end(has_failed))).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_goes_on_at_once_only_if_a_step_of_this_loop_has_more() {
        let mut pace = Pace::default();
        pace.begin();
        pace.has_more = true;
        assert_eq!(pace.end(false), Duration::ZERO);
        // The lease is another node's now.
        pace.begin();
        assert_eq!(pace.end(false), INTERVAL);
    }

    #[test]
    fn failures_in_succession_wait_longer_each_time() {
        let mut pace = Pace { has_more: true, failures: 0 };
        let waits: Vec<u64> = (0..6).map(|_| pace.end(true).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 8, 8]);
        assert_eq!(pace.end(false), Duration::ZERO);
    }
}
