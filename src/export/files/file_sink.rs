//! Where an attempt writes its files.

use std::path::PathBuf;

use bytes::Bytes;

#[cfg(feature = "object-storage")]
use super::bucket::{BucketFile, BucketFolder};
use super::directory::LocalFile;
use super::file_error::FileError;
use super::postgres_file::PostgresFile;
use crate::postgres::{ClaimedExport, Postgres};

/// Where an attempt writes its files.
pub(crate) enum FileSink {
    Postgres {
        store: Postgres,
        claimed: Box<ClaimedExport>,
    },
    Folder(PathBuf),
    #[cfg(feature = "object-storage")]
    Bucket(BucketFolder),
}

/// A file that is being written. Readers do not see it before the export is done.
pub(crate) enum OpenFile {
    Postgres(PostgresFile),
    Local(LocalFile),
    #[cfg(feature = "object-storage")]
    Bucket(BucketFile),
}

impl FileSink {
    /// Begins a file.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub(crate) async fn create(&self, name: &str) -> Result<OpenFile, FileError> {
        Ok(match self {
            Self::Postgres { store, claimed } => {
                OpenFile::Postgres(PostgresFile::new(store.clone(), claimed.clone(), name))
            }
            Self::Folder(folder) => OpenFile::Local(LocalFile::create(folder.clone(), name).await?),
            #[cfg(feature = "object-storage")]
            Self::Bucket(folder) => OpenFile::Bucket(folder.create(name).await?),
        })
    }
}

impl OpenFile {
    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// [`FileError`]; the file is not complete then.
    pub(crate) async fn write(self, bytes: Bytes) -> Result<Self, FileError> {
        Ok(match self {
            Self::Postgres(mut file) => {
                file.write(&bytes).await?;
                Self::Postgres(file)
            }
            Self::Local(file) => Self::Local(file.write(bytes).await?),
            #[cfg(feature = "object-storage")]
            Self::Bucket(mut file) => {
                file.write(bytes).await?;
                Self::Bucket(file)
            }
        })
    }

    /// Ends the file. It is durable when this returns.
    ///
    /// # Errors
    ///
    /// [`FileError`]; the file is not complete then.
    pub(crate) async fn finish(self) -> Result<(), FileError> {
        match self {
            Self::Postgres(file) => file.finish().await,
            Self::Local(file) => file.finish().await,
            #[cfg(feature = "object-storage")]
            Self::Bucket(file) => file.finish().await,
        }
    }
}
