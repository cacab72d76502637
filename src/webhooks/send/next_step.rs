//! What becomes of a message after an attempt: the ladder of retries.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::LadderStep;
use crate::postgres::MessageStep;

/// Maximum time for which `Retry-After` delays a message.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// The part of a step by which it is longer or shorter.
const JITTER: f64 = 0.2;

/// What becomes of a message whose attempt failed. `step` is the number of failed attempts before;
/// `chance` is a random number from 0 to 1.
pub(crate) fn after_failure(
    ladder: &[LadderStep],
    step: usize,
    retry_after: Option<Duration>,
    now: DateTime<Utc>,
    chance: f64,
) -> MessageStep {
    let Some(LadderStep(wait)) = ladder.get(step) else {
        let attempts = ladder.len() + 1;
        return MessageStep::Exhausted { reason: format!("{attempts} attempts failed") };
    };
    let jittered = wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance.clamp(0.0, 1.0));
    let wait = jittered.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER));
    // Times of settings fit.
    let wait = TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
    MessageStep::Retrying { due_at: now.checked_add_signed(wait).unwrap_or(now) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(step: usize, retry_after: Option<u64>, chance: f64) -> Option<f64> {
        let ladder = [5, 30, 300].map(|seconds| LadderStep(Duration::from_secs(seconds)));
        let now = DateTime::UNIX_EPOCH;
        let retry_after = retry_after.map(Duration::from_secs);
        match after_failure(&ladder, step, retry_after, now, chance) {
            MessageStep::Retrying { due_at } => {
                Some((due_at - now).num_milliseconds() as f64 / 1000.0)
            }
            MessageStep::Exhausted { reason } => {
                assert_eq!(reason, "4 attempts failed");
                None
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_failed_attempt_waits_for_its_step_with_jitter_until_none_is_left() {
        assert_eq!(wait(0, None, 0.5), Some(5.0));
        assert_eq!(wait(0, None, 0.0), Some(4.0));
        assert_eq!(wait(0, None, 1.0), Some(6.0));
        assert_eq!(wait(1, None, 0.5), Some(30.0));
        assert_eq!(wait(2, None, 1.0), Some(360.0));
        assert_eq!(wait(3, None, 0.5), None);
    }

    #[test]
    fn retry_after_makes_a_step_longer_and_never_shorter_and_at_most_a_day() {
        assert_eq!(wait(0, Some(60), 0.5), Some(60.0));
        assert_eq!(wait(2, Some(60), 0.5), Some(300.0));
        assert_eq!(wait(0, Some(1_000_000_000), 0.5), Some(86_400.0));
        assert_eq!(wait(3, Some(60), 0.5), None);
    }
}
