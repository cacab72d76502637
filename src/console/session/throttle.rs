//! Slows down attempts with unknown API keys.
//!
//! # Why
//!
//! A key has 256 random bits, so guessing is hopeless; but attempts cost look-ups, and a log full of them hides
//! others. An attempt with a key that this node has in memory does not pass here, so attempts with wrong ones
//! keep no reader out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::http::problem::Problem;

/// Minimum time of an attempt with an unknown key.
const ATTEMPT_TIME: Duration = Duration::from_secs(1);
/// Maximum number of such attempts at a time.
const MAX_ATTEMPTS: usize = 8;

/// The attempts that are in progress.
#[derive(Clone)]
pub(crate) struct SignInThrottle(Arc<Semaphore>);

impl Default for SignInThrottle {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_ATTEMPTS)))
    }
}

impl SignInThrottle {
    /// Runs an attempt, and ends after [`ATTEMPT_TIME`] at the earliest.
    ///
    /// # Errors
    ///
    /// Too many attempts are in progress.
    pub(in crate::console) async fn attempt<T>(
        &self,
        attempt: impl Future<Output = T>,
    ) -> Result<T, Problem> {
        let _place = self.0.try_acquire().map_err(|_| {
            Problem::too_many("too many attempts to sign in fail; wait a moment", ATTEMPT_TIME)
        })?;
        let (outcome, ()) = tokio::join!(attempt, tokio::time::sleep(ATTEMPT_TIME));
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn attempts_take_a_second_each_and_are_few_at_a_time() {
        let throttle = SignInThrottle::default();
        let began = Instant::now();
        let attempts = (0..MAX_ATTEMPTS + 1).map(|_| throttle.attempt(async {}));
        let outcomes = futures_util::future::join_all(attempts).await;
        assert_eq!(outcomes.iter().filter(|it| it.is_err()).count(), 1);
        assert!(began.elapsed() >= ATTEMPT_TIME && began.elapsed() < 2 * ATTEMPT_TIME);
        assert!(throttle.attempt(async {}).await.is_ok());
    }
}
