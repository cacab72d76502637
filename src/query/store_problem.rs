//! The problem that the query API answers when the database fails.

use std::time::Duration;

use crate::http::problem::{Problem, ProblemKind};
use crate::postgres::StoreError;

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_)
            | StoreError::Contended(_)
            | StoreError::Exhausted(_)
            | StoreError::UnknownOutcome(_)
            | StoreError::Fenced => {
                tracing::warn!(error = %error, "the store did not answer: {error}");
                Self::try_again("the store does not answer now", Duration::from_secs(5))
            }
            // A read stores nothing: the content that Postgres rejects is a parameter.
            StoreError::Content(error) => {
                tracing::debug!(error = %error, "postgres rejects a parameter: {error}");
                Self::new(
                    ProblemKind::InvalidRequest,
                    "a parameter cannot be looked up: it has a NUL, or is too long for an index",
                )
            }
            StoreError::Fault(_)
            | StoreError::TooLarge
            | StoreError::Inconsistent(_)
            | StoreError::Schema(_) => {
                tracing::error!(error = %error, "the store failed: {error}");
                Self::new(ProblemKind::Internal, "the server's log says more")
            }
        }
    }
}
