//! Why a step of a follower ended early.

use crate::kafka::ConsumerError;
use crate::postgres::StoreError;

/// A store that failed during a step.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    #[error(transparent)]
    Store(#[from] StoreError),
}
