//! The counts of an appended batch.

use crate::postgres::{DedupOutcome, ExceptionCounts};

/// Numbers of messages by their outcome, and the exceptions that they opened and closed.
#[derive(Clone, Default)]
pub(crate) struct AppendOutcome {
    pub new: u64,
    pub duplicate: u64,
    pub conflict: u64,
    pub quarantined: u64,
    pub exceptions: ExceptionCounts,
}

impl AppendOutcome {
    /// Counts one message.
    pub(crate) fn count(&mut self, outcome: DedupOutcome) {
        match outcome {
            DedupOutcome::New => self.new += 1,
            DedupOutcome::Duplicate => self.duplicate += 1,
            DedupOutcome::Conflict => self.conflict += 1,
        }
    }
}
