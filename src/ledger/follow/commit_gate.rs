//! Limits the followers of a node to one transaction at a time while they keep up with the log.
//!
//! # Why
//!
//! Concurrent transactions help a ledger that catches up. While followers keep up with the log,
//! concurrent transactions only take processor time from ingest, and each appends fewer messages.
//! Sequential transactions halved the p99 of an answer under load, and the ledger was not later
//! (docs/performance.md).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum wait for the gate: the transaction that holds it may wait for a lock, or for Postgres.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The gate that the followers of a node share.
#[derive(Clone)]
pub(crate) struct CommitGate(Arc<Semaphore>);

impl CommitGate {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Waits until a batch may be appended, which lasts until the permit is dropped. A follower that
    /// lags does not wait, and needs no permit.
    pub(crate) async fn acquire(&self, is_lagging: bool) -> Option<OwnedSemaphorePermit> {
        if is_lagging {
            return None;
        }
        let permit = tokio::time::timeout(TIMEOUT, Arc::clone(&self.0).acquire_owned()).await;
        // A timeout opens the gate: it saves time, and no correctness depends on it. The semaphore is
        // never closed.
        permit.ok().and_then(Result::ok)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_follower_that_keeps_up_waits_for_the_gate_and_one_that_lags_does_not() {
        let gate = CommitGate::new();
        let first = gate.acquire(false).await;
        assert!(gate.acquire(true).now_or_never().is_some());
        assert!(gate.acquire(false).now_or_never().is_none());
        drop(first);
        assert!(gate.acquire(false).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_for_a_permit_that_is_not_released_ends_with_the_timeout() {
        let gate = CommitGate::new();
        let _stuck = gate.acquire(false).await;
        let began = tokio::time::Instant::now();
        let _permit = gate.acquire(false).await;
        assert_eq!(began.elapsed(), TIMEOUT);
    }
}
