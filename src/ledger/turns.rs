//! Who enters when.
//!
//! # Why
//!
//! Transactions beside each other are for a book that catches up. While followers keep up with the
//! log they only take the processors from the doors for a moment, and each enters less at a time.
//! One after the other, the p99 of an answer under load was half of what it was beside each other,
//! and the book no later (docs/performance.md).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Somebody's transaction may wait for a lock, or for Postgres: nobody waits longer for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The turns of a node's followers.
#[derive(Clone)]
pub(super) struct Turns(Arc<Semaphore>);

/// Somebody's turn, until this is dropped.
pub(super) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Waits until a batch may be entered. Whoever is behind does not wait.
    pub async fn take(&self, is_behind: bool) -> Turn {
        let permit = if is_behind {
            None
        } else {
            let turn = Arc::clone(&self.0).acquire_owned();
            tokio::time::timeout(PATIENCE, turn).await.ok()
        };
        Turn {
            _permit: permit.and_then(Result::ok),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_keeps_up_waits_for_the_turn_of_another_and_who_is_behind_does_not() {
        let turns = Turns::new();
        let first = turns.take(false).await;
        assert!(turns.take(true).now_or_never().is_some());
        assert!(turns.take(false).now_or_never().is_none());
        drop(first);
        assert!(turns.take(false).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_long_for_a_turn_that_does_not_end() {
        let turns = Turns::new();
        let _stuck = turns.take(false).await;
        let began = tokio::time::Instant::now();
        let _turn = turns.take(false).await;
        assert_eq!(began.elapsed(), PATIENCE);
    }
}
