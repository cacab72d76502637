//! What every task of the ledger needs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::kafka::KafkaClientConfig;
use crate::ledger::follow::commit_gate::CommitGate;
use crate::lifecycle::Lifecycle;
use crate::postgres::{Postgres, StoreError};
use crate::publish::DurablePublisher;
use crate::telemetry::LogLimiter;

#[derive(Clone)]
pub(crate) struct LedgerContext {
    pub store: Postgres,
    pub connection: KafkaClientConfig,
    pub durable_publisher: DurablePublisher,
    pub lifecycle: Lifecycle,
    /// The holder of this process's leases.
    pub owner: Arc<str>,
    /// Maximum messages of a batch.
    pub batch: usize,
    pub commit_gate: CommitGate,
    /// Minimum time for which deduplication keys are kept.
    pub dedup_retention: Duration,
    /// Minimum time for which revocations of tokens are kept.
    pub revocation_retention: Duration,
    /// Minimum time without activity after which the end of a call is presumed.
    pub presume_end_after: Duration,
    /// Maximum time without a delivery until a source is silent.
    pub silent_source_after: Duration,
    pub maintenance_log: Arc<LogLimiter<&'static str>>,
}

/// Interval between two log lines of one step of the maintenance that fails.
pub(crate) const MAINTENANCE_LOG_INTERVAL: Duration = Duration::from_secs(60);

impl LedgerContext {
    /// Whether a failure of this part of the maintenance may be logged now.
    pub(crate) fn may_warn_of(&self, part: &'static str) -> bool {
        self.maintenance_log.allows(part, Instant::now())
    }

    /// Logs that a step of the maintenance failed; it is tried again.
    pub(crate) fn warn_of_failed(&self, step: &'static str, error: &StoreError) {
        if self.may_warn_of(step) {
            tracing::warn!(error = %error, maintenance.step = step, "maintenance: {step} failed, and is tried again: {error}");
        }
    }
}

/// Whether an action with this interval is due; one that never ran is.
pub(crate) fn is_due(last: Option<Instant>, interval: Duration) -> bool {
    last.is_none_or(|last| last.elapsed() >= interval)
}
