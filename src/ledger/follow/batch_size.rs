//! Decides how many messages the next transaction of a follower may have.

use std::time::Duration;

/// Maximum time that the transaction of a batch should take, because its messages wait for each other.
const MAX_TRANSACTION_TIME: Duration = Duration::from_millis(600);
/// Minimum messages to which long transactions reduce the next ones: with fewer, a slow store would fall behind.
const MIN_BATCH: usize = 500;

/// Maximum messages of the next batch, after one of `messages` whose transaction took this long.
///
/// # Why
///
/// A batch with events of a very large call takes several times as long as others, and events of other
/// tenants are behind it. Smaller batches let them through in between.
pub(super) fn next_batch(max: usize, messages: usize, took: Duration, limit: usize) -> usize {
    if took <= MAX_TRANSACTION_TIME {
        // A small one says nothing about a large one. In small steps, because one that is too large delays others.
        return if 2 * messages >= max { (max + max / 4 + 1).min(limit) } else { max };
    }
    let share = MAX_TRANSACTION_TIME.as_secs_f64() / took.as_secs_f64();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a part of a small number"
    )]
    let fitting = (messages as f64 * share) as usize;
    fitting.max(MIN_BATCH).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_takes_long_is_followed_by_smaller_ones_until_they_are_short() {
        let long = MAX_TRANSACTION_TIME * 2;
        assert_eq!(next_batch(4_000, 4_000, long, 4_000), 2_000);
        assert_eq!(next_batch(2_000, 2_000, long * 10, 2_000), MIN_BATCH);
        // A single message may take long too.
        assert_eq!(next_batch(2_000, 1, long, 2_000), MIN_BATCH);
        assert_eq!(next_batch(100, 100, long, 2_000), 100);
        assert_eq!(next_batch(600, 600, MAX_TRANSACTION_TIME, 2_000), 751);
        assert_eq!(next_batch(1_800, 1_100, MAX_TRANSACTION_TIME, 2_000), 2_000);
        assert_eq!(next_batch(1_200, 10, MAX_TRANSACTION_TIME, 2_000), 1_200);
        assert_eq!(next_batch(1, 1, MAX_TRANSACTION_TIME, 2_000), 2);
    }
}
