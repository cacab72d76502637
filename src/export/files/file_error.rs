//! A file of an export cannot be written, read or deleted.

use std::io;
use std::path::{Path, PathBuf};

use crate::postgres::StoreError;

/// A file of an export cannot be written, read or deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{} cannot be used: {source}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[cfg(feature = "object-storage")]
    #[error("the bucket cannot be used: {0}")]
    Bucket(#[from] object_store::Error),
    /// The attempt has lost its lease.
    #[error("another node runs the export, or it was deleted")]
    LeaseLost,
    #[error("the content of the file is not there any more")]
    Missing,
    /// The settings name another store than the one that has the file.
    #[error("the file is in a store that the settings do not name any more")]
    OtherStore,
    #[error("a thread that used the file panicked")]
    Panicked,
}

impl FileError {
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        |source| Self::Directory { path, source }
    }

    pub(crate) fn is_lease_lost(&self) -> bool {
        matches!(self, Self::LeaseLost)
    }

    /// Whether another attempt may succeed without anything being done.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => matches!(
                error,
                StoreError::Unavailable(_)
                    | StoreError::Contended(_)
                    | StoreError::UnknownOutcome(_)
            ),
            // The client of the bucket has repeated its requests already.
            _ => false,
        }
    }
}
