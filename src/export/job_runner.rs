//! Runs exports, one at a time for each worker, under a lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use metrics::counter;

use super::context::ExportContext;
use super::manifest::write_manifest;
use super::pipeline::{ExportError, PipelineLimits, write_files};
use crate::clock;
use crate::failpoint;
use crate::lifecycle::Lifecycle;
use crate::postgres::{AttemptEnd, Attempts, ClaimedExport, ExportLimits, StoreError};
use crate::telemetry::names;

/// Interval at which a worker looks for an export that no request of this node announced.
const CLAIM_INTERVAL: Duration = Duration::from_secs(1);
/// Interval at which a worker looks while the store is unavailable.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Time until the lease of an export expires after its last extension.
const LEASE: Duration = Duration::from_secs(10);
/// Interval of extending the lease.
const LEASE_INTERVAL: Duration = Duration::from_secs(2);
/// Time after which an interrupted export is begun again.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Timeout of an attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3 * 3600);

/// How the work of an attempt ended.
enum AttemptOutcome {
    Ended(AttemptEnd),
    /// Another node has the export now, or it was deleted.
    LeaseLost,
}

/// Runs until the stop. An export that runs then is left to another node.
pub(crate) async fn run(context: ExportContext, owner: String, lifecycle: Lifecycle) {
    let soft = lifecycle.soft().clone();
    let limits = ExportLimits {
        running: context.settings.max_running,
        running_of_tenant: context.settings.max_running_of_tenant,
    };
    let (kept_in, retention) = (context.files.kept_in(), context.settings.retention);
    while !soft.is_cancelled() {
        let claimed = context.store.claim_export(&owner, LEASE, kept_in, limits, retention).await;
        let wait = match claimed {
            Ok(Some(claimed)) => {
                attempt(&context, &claimed, &lifecycle).await;
                continue;
            }
            Ok(None) => CLAIM_INTERVAL,
            Err(error) => {
                tracing::debug!(error = %error, "no export is claimed: {error}");
                RETRY_INTERVAL
            }
        };
        let woken = async {
            tokio::select! {
                () = context.requested.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        };
        soft.run_until_cancelled(woken).await;
    }
}

/// Runs an attempt, and stores how it ended.
async fn attempt(context: &ExportContext, claimed: &ClaimedExport, lifecycle: &Lifecycle) {
    let (id, number) = (claimed.id, claimed.attempt);
    tracing::info!(export.id = %id, export.attempt = number, "the export {id} is begun, attempt {number}");
    let progress = Arc::new(AtomicU64::new(0));
    let outcome = tokio::select! {
        outcome = write(context, claimed, Arc::clone(&progress)) => outcome,
        () = until_lease_lost(context, claimed, &progress) => AttemptOutcome::LeaseLost,
        () = lifecycle.soft().cancelled() => AttemptOutcome::Ended(AttemptEnd::Released),
    };
    let AttemptOutcome::Ended(end) = outcome else {
        log_end(claimed, None);
        remove_files(context, claimed).await;
        return;
    };
    let is_done = matches!(end, AttemptEnd::Done { .. });
    // Before the end is stored: the next attempt may have the number of this one.
    if !is_done {
        remove_files(context, claimed).await;
    }
    failpoint::reached("export-before-end");
    match context.store.end_export_attempt(claimed, &end, context.settings.retention).await {
        Ok(true) => log_end(claimed, Some(&end)),
        Ok(false) => {
            log_end(claimed, None);
            remove_files(context, claimed).await;
        }
        Err(StoreError::UnknownOutcome(error)) => {
            // It may be done, so its files stay. If it is not, the next attempt deletes them.
            tracing::warn!(export.id = %id, error = %error, "whether the export {id} ended is not known: {error}");
        }
        Err(error) => {
            tracing::warn!(export.id = %id, error = %error, "the end of the export {id} is not stored, and another attempt begins: {error}");
            remove_files(context, claimed).await;
        }
    }
}

/// Deletes what the attempt wrote.
async fn remove_files(context: &ExportContext, claimed: &ClaimedExport) {
    let (id, kept_in) = (claimed.id, context.files.kept_in());
    let attempts = Attempts::Only(claimed.attempt);
    if let Err(error) = context.files.remove((&claimed.tenant, id), kept_in, attempts).await {
        tracing::warn!(export.id = %id, error = %error, "files of an attempt at the export {id} are deleted later: {error}");
    }
}

/// Writes the files of an attempt.
async fn write(
    context: &ExportContext,
    claimed: &ClaimedExport,
    progress: Arc<AtomicU64>,
) -> AttemptOutcome {
    let writing = tokio::time::timeout(ATTEMPT_TIMEOUT, write_all(context, claimed, progress));
    AttemptOutcome::Ended(match writing.await {
        Ok(Ok(end)) => end,
        Ok(Err(ExportError::File(error))) if error.is_lease_lost() => {
            return AttemptOutcome::LeaseLost;
        }
        Ok(Err(error)) if error.is_transient() => {
            AttemptEnd::Interrupted { reason: error.to_string(), retry_after: RETRY_AFTER }
        }
        Ok(Err(error)) => AttemptEnd::Failed { reason: error.to_string() },
        Err(_) => {
            let hours = ATTEMPT_TIMEOUT.as_secs() / 3600;
            AttemptEnd::Failed { reason: format!("it was not done within {hours} hours") }
        }
    })
}

async fn write_all(
    context: &ExportContext,
    claimed: &ClaimedExport,
    progress: Arc<AtomicU64>,
) -> Result<AttemptEnd, ExportError> {
    let export = (&claimed.tenant, claimed.id);
    let kept_in = context.files.kept_in();
    context.files.remove(export, kept_in, Attempts::Others(claimed.attempt)).await?;
    let sink = context.files.sink(claimed);
    let snapshot = context.store.read_export(&claimed.tenant).await?;
    let limits =
        PipelineLimits { rows: context.settings.max_rows, file_rows: context.settings.file_rows };
    let written = write_files(snapshot, &claimed.request, &sink, limits, progress).await?;
    let complete_through = written.complete_through;
    let files = write_manifest(&sink, export, &claimed.request, written, clock::now()).await?;
    Ok(AttemptEnd::Done { complete_through, files })
}

/// Extends the lease until it is lost.
async fn until_lease_lost(context: &ExportContext, claimed: &ClaimedExport, progress: &AtomicU64) {
    let mut extended_at = Instant::now();
    loop {
        tokio::time::sleep(LEASE_INTERVAL).await;
        let began = Instant::now();
        let rows = progress.load(Ordering::Relaxed);
        match context.store.extend_export(claimed, LEASE, rows).await {
            Ok(true) => extended_at = began,
            Ok(false) => return,
            Err(error) if extended_at.elapsed() < LEASE => {
                tracing::debug!(export.id = %claimed.id, error = %error, "the lease of the export {} is not extended: {error}", claimed.id);
            }
            Err(_) => return,
        }
    }
}

/// Without an end, the attempt has lost its lease.
fn log_end(claimed: &ClaimedExport, end: Option<&AttemptEnd>) {
    let id = claimed.id;
    let outcome = match end {
        Some(AttemptEnd::Done { files, .. }) => {
            tracing::info!(export.id = %id, export.files = files.len(), "the export {id} is done");
            "done"
        }
        Some(AttemptEnd::Failed { reason }) => {
            tracing::warn!(export.id = %id, error = %reason, "the export {id} failed: {reason}");
            "failed"
        }
        Some(AttemptEnd::Interrupted { reason, .. }) => {
            tracing::warn!(export.id = %id, error = %reason, "an attempt at the export {id} was interrupted: {reason}");
            "interrupted"
        }
        Some(AttemptEnd::Released) => {
            tracing::info!(export.id = %id, "the export {id} is left to another node");
            "interrupted"
        }
        None => {
            tracing::info!(export.id = %id, "the export {id} was deleted, or another node runs it");
            "interrupted"
        }
    };
    counter!(names::EXPORT_ATTEMPTS, "outcome" => outcome).increment(1);
}
