//! Decides how a batch is tried again that PostgreSQL refuses or cannot complete, so that one message or
//! one call delays the others for a few transactions only.

use crate::ledger::append::append_batch::AppendMode;
use crate::ledger::append::refusal::RefusalReason;

/// Why the transaction of a batch failed, other than by an outage or a conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BatchFailure {
    /// Postgres cannot store the content of one of its messages.
    Content(String),
    /// Postgres has not enough locks, memory or time for it.
    Exhausted(String),
    /// It concerns more ids or calls than one transaction may lock.
    TooLarge(String),
    /// A call cannot be projected: a stored fact cannot be read, or the projection panicked.
    Unprojectable,
}

/// What follows a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NextAttempt {
    /// The same batch again.
    Whole(AppendMode),
    /// Its halves, one after the other.
    Halves(AppendMode),
    /// The message later, for this reason; other partitions are read meanwhile.
    Later(String),
}

/// What follows when an attempt in this mode at a batch of this number of messages fails.
///
/// * Refused content: halves, and in the end quarantine for the message itself.
/// * Too large: halves.
/// * A call that cannot be projected: without projections; the maintenance finds the call.
/// * Exhausted: the most expensive part of a transaction is the projection, so it is left to the
///   maintenance first; then halves. A single message waits, because the store may be the cause.
///
/// `None`: the batch waits, as in an outage. Not even the quarantine can store it, for example.
pub(super) fn after(
    mode: &AppendMode,
    failure: BatchFailure,
    messages: usize,
) -> Option<NextAttempt> {
    use NextAttempt::{Halves, Later, Whole};
    Some(match (mode, failure) {
        (AppendMode::Quarantined(_), _) | (AppendMode::Postponed, BatchFailure::Unprojectable) => {
            return None;
        }
        (_, BatchFailure::Content(_) | BatchFailure::TooLarge(_)) if messages > 1 => {
            Halves(mode.clone())
        }
        (_, BatchFailure::Content(reason)) => {
            Whole(AppendMode::Quarantined(RefusalReason::Content(reason)))
        }
        (AppendMode::Projected, _) => Whole(AppendMode::Postponed),
        (AppendMode::Postponed, BatchFailure::Exhausted(_)) if messages > 1 => {
            Halves(AppendMode::Postponed)
        }
        (
            AppendMode::Postponed,
            BatchFailure::Exhausted(reason) | BatchFailure::TooLarge(reason),
        ) => Later(reason),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exhausted() -> BatchFailure {
        BatchFailure::Exhausted("out of shared memory".to_owned())
    }

    fn content() -> BatchFailure {
        BatchFailure::Content("NUL".to_owned())
    }

    #[test]
    fn refused_content_is_isolated_by_halves_and_goes_to_quarantine() {
        let projected = AppendMode::Projected;
        let halves = NextAttempt::Halves(AppendMode::Projected);
        assert_eq!(after(&projected, content(), 2_000), Some(halves));
        let refused = AppendMode::Quarantined(RefusalReason::Content("NUL".to_owned()));
        assert_eq!(after(&projected, content(), 1), Some(NextAttempt::Whole(refused.clone())));
        assert_eq!(after(&refused, exhausted(), 1), None);
    }

    #[test]
    fn a_batch_that_exhausts_the_store_is_appended_without_projections_first() {
        let whole = NextAttempt::Whole(AppendMode::Postponed);
        assert_eq!(after(&AppendMode::Projected, exhausted(), 2_000), Some(whole));
        let halves = NextAttempt::Halves(AppendMode::Postponed);
        assert_eq!(after(&AppendMode::Postponed, exhausted(), 2), Some(halves));
    }

    #[test]
    fn a_batch_with_a_call_that_cannot_be_projected_is_appended_without_projections() {
        let whole = NextAttempt::Whole(AppendMode::Postponed);
        let failure = BatchFailure::Unprojectable;
        assert_eq!(after(&AppendMode::Projected, failure.clone(), 1), Some(whole));
        assert_eq!(after(&AppendMode::Postponed, failure, 1), None);
    }

    #[test]
    fn a_batch_that_would_take_too_many_locks_is_halved_and_still_projected() {
        let halves = NextAttempt::Halves(AppendMode::Projected);
        let too_large = BatchFailure::TooLarge("400 ids".to_owned());
        assert_eq!(after(&AppendMode::Projected, too_large, 2), Some(halves));
    }

    #[test]
    fn every_batch_ends_after_a_limited_number_of_attempts() {
        for failure in [content(), exhausted()] {
            let (mut mode, mut messages, mut attempts) = (AppendMode::Projected, 2_000, 0);
            while let Some(next) = after(&mode, failure.clone(), messages) {
                attempts += 1;
                match next {
                    NextAttempt::Whole(next) => mode = next,
                    NextAttempt::Halves(next) => (mode, messages) = (next, messages.div_ceil(2)),
                    NextAttempt::Later(_) => break,
                }
            }
            assert_eq!(messages, 1);
            assert!(attempts < 20, "{attempts}");
        }
    }
}
