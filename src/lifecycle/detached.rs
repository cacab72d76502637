//! Runs work that neither a request nor the stop waits for.

use std::future::Future;

use tokio::task::JoinHandle;

/// Runs work that ends by itself within a timeout, or that must go on until the end of the process:
/// signals. A stop does not wait for it. Everything else is run by [`Lifecycle`](super::Lifecycle).
pub(crate) fn spawn_detached<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(work)
}
