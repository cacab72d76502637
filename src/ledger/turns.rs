//! Who enters when.
//!
//! # Why
//!
//! Three transactions beside each other are for a book that catches up. Where followers keep up with
//! the log, they take the processors from the doors for a moment, and each enters less at a time:
//! one after the other, the p99 of an answer under load is half of that, and the book no later.

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

    /// Waits until a batch of so many messages may be entered, of which there might be so many `at
    /// most`. One that is full shows that its follower is behind: it does not wait.
    pub async fn take(&self, messages: usize, most: usize) -> Turn {
        let keeps_up = messages < most;
        let permit = if keeps_up {
            let turn = Arc::clone(&self.0).acquire_owned();
            tokio::time::timeout(PATIENCE, turn).await.ok()
        } else {
            None
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
        let first = turns.take(10, 2_000).await;
        assert!(turns.take(2_000, 2_000).now_or_never().is_some());
        assert!(turns.take(1_999, 2_000).now_or_never().is_none());
        drop(first);
        assert!(turns.take(10, 2_000).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_long_for_a_turn_that_does_not_end() {
        let turns = Turns::new();
        let _stuck = turns.take(1, 2_000).await;
        let began = tokio::time::Instant::now();
        let _turn = turns.take(1, 2_000).await;
        assert_eq!(began.elapsed(), PATIENCE);
    }
}
