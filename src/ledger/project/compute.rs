//! Runs computations that are too long for an async worker.

use crate::postgres::StoreError;

/// Maximum facts that are projected on an async worker.
const MAX_FACTS_ON_WORKER: usize = 100;

/// Computes something from this number of facts, on a blocking thread if they are many. A panic
/// becomes an error, so that one call does not end the ledger.
///
/// # Errors
///
/// The computation panicked.
pub(crate) async fn run_blocking_if_large<T: Send + 'static>(
    facts: usize,
    compute: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    if facts > MAX_FACTS_ON_WORKER {
        let computed = tokio::task::spawn_blocking(compute).await;
        return computed
            .map_err(|error| StoreError::Inconsistent(format!("a projection failed: {error}")));
    }
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(compute))
        .map_err(|_| StoreError::Inconsistent("a projection panicked".to_owned()))
}
