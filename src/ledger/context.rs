//! What every task of the ledger needs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::kafka::KafkaClientConfig;
use crate::ledger::follow::commit_gate::CommitGate;
use crate::lifecycle::Lifecycle;
use crate::postgres::Postgres;
use crate::publish::DurablePublisher;

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
}

/// Whether an action with this interval is due; one that never ran is.
pub(crate) fn is_due(last: Option<Instant>, interval: Duration) -> bool {
    last.is_none_or(|last| last.elapsed() >= interval)
}
