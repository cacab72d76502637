//! Decides how a batch is tried again that PostgreSQL refuses or cannot complete, so that one message or
//! one call delays the others for a few transactions only.

use crate::ledger::append::append_batch::AppendMode;
use crate::ledger::append::refusal::RefusalReason;

/// Maximum attempts to append a single message without a projection.
const MAX_SINGLE_ATTEMPTS: u32 = 3;

/// Why the transaction of a batch failed, other than by an outage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BatchFailure {
    /// Postgres cannot store the content of one of its messages.
    Content(String),
    /// Postgres has not enough locks, memory or time for it.
    Exhausted(String),
}

/// How a batch is appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BatchAttempt {
    pub mode: AppendMode,
    /// Failed attempts of a single message.
    failed: u32,
}

/// What follows a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NextAttempt {
    /// The same batch again.
    Whole(BatchAttempt),
    /// Its halves, one after the other.
    Halves(BatchAttempt),
}

impl BatchAttempt {
    pub(super) fn first() -> Self {
        Self::with(AppendMode::Projected)
    }

    fn with(mode: AppendMode) -> Self {
        Self { mode, failed: 0 }
    }

    /// What follows when this attempt at a batch of this number of messages fails.
    ///
    /// * Refused content: halves, and in the end quarantine for the message itself.
    /// * Exhausted: the most expensive part of a transaction is the projection, so it is left to the
    ///   maintenance first; then halves, and in the end quarantine for the message itself.
    ///
    /// `None`: not even the quarantine can store it; the batch waits, as in an outage.
    pub(super) fn after(&self, failure: BatchFailure, messages: usize) -> Option<NextAttempt> {
        use NextAttempt::{Halves, Whole};
        let quarantine = |reason| Whole(Self::with(AppendMode::Quarantined(reason)));
        Some(match (&self.mode, failure) {
            (AppendMode::Quarantined(_), _) => return None,
            (_, BatchFailure::Content(_)) if messages > 1 => Halves(self.clone()),
            (_, BatchFailure::Content(reason)) => quarantine(RefusalReason::Content(reason)),
            (AppendMode::Projected, BatchFailure::Exhausted(_)) => {
                Whole(Self::with(AppendMode::Postponed))
            }
            (AppendMode::Postponed, BatchFailure::Exhausted(_)) if messages > 1 => {
                Halves(self.clone())
            }
            (AppendMode::Postponed, BatchFailure::Exhausted(reason)) => {
                let failed = self.failed + 1;
                if failed < MAX_SINGLE_ATTEMPTS {
                    Whole(Self { mode: AppendMode::Postponed, failed })
                } else {
                    quarantine(RefusalReason::Exhausted(reason))
                }
            }
        })
    }
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

    fn mode(next: Option<NextAttempt>) -> AppendMode {
        let Some(NextAttempt::Whole(attempt)) = next else { panic!("{next:?}") };
        attempt.mode
    }

    #[test]
    fn refused_content_is_isolated_by_halves_and_goes_to_quarantine() {
        let first = BatchAttempt::first();
        assert_eq!(first.after(content(), 2_000), Some(NextAttempt::Halves(first.clone())));
        let refused = RefusalReason::Content("NUL".to_owned());
        assert_eq!(mode(first.after(content(), 1)), AppendMode::Quarantined(refused));
    }

    #[test]
    fn a_batch_that_exhausts_the_store_is_appended_without_projections_first() {
        let first = BatchAttempt::first();
        assert_eq!(mode(first.after(exhausted(), 2_000)), AppendMode::Postponed);
        let postponed = BatchAttempt::with(AppendMode::Postponed);
        assert_eq!(postponed.after(exhausted(), 2), Some(NextAttempt::Halves(postponed.clone())));
    }

    #[test]
    fn every_batch_ends_after_a_limited_number_of_attempts() {
        for failure in [content(), exhausted()] {
            let (mut attempt, mut messages, mut attempts) = (BatchAttempt::first(), 2_000, 0);
            while let Some(next) = attempt.after(failure.clone(), messages) {
                attempts += 1;
                match next {
                    NextAttempt::Whole(next) => attempt = next,
                    NextAttempt::Halves(next) => (attempt, messages) = (next, messages.div_ceil(2)),
                }
            }
            assert!(matches!(attempt.mode, AppendMode::Quarantined(_)));
            assert!(attempts < 20, "{attempts}");
        }
    }
}
