//! The files of exports, wherever they are kept.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use tokio::sync::Semaphore;
use uuid::Uuid;

#[cfg(feature = "object-storage")]
use super::bucket::Bucket;
use super::directory;
use super::file_error::FileError;
use super::file_sink::FileSink;
use super::postgres_file;
use super::stored_file::StoredFile;
use crate::config::{ExportSettings, ExportStore};
use crate::postgres::{Attempts, ClaimedExport, KeptIn, Postgres};
use onrecord_evidence::event::ids::Tenant;

/// The files of exports. New ones are kept where the settings say; those in PostgreSQL are always found.
#[derive(Clone)]
pub(crate) struct ExportFiles {
    store: Postgres,
    place: FilePlace,
}

#[derive(Clone)]
enum FilePlace {
    Postgres,
    Directory(PathBuf),
    #[cfg(feature = "object-storage")]
    Bucket(Bucket),
}

impl ExportFiles {
    /// # Errors
    ///
    /// The settings of a bucket cannot be used.
    pub(crate) fn new(store: &Postgres, settings: &ExportSettings) -> anyhow::Result<Self> {
        let place = match &settings.store {
            ExportStore::Postgres => FilePlace::Postgres,
            ExportStore::Directory(path) => FilePlace::Directory(path.clone()),
            #[cfg(feature = "object-storage")]
            ExportStore::Bucket { bucket, prefix } => {
                FilePlace::Bucket(Bucket::new(bucket, prefix, &settings.s3)?)
            }
            #[cfg(not(feature = "object-storage"))]
            ExportStore::Bucket { .. } => {
                anyhow::bail!(
                    "exports.store names a bucket, which this build of onrecord cannot use"
                )
            }
        };
        Ok(Self { store: store.clone(), place })
    }

    /// Where new files are kept.
    pub(crate) fn kept_in(&self) -> KeptIn {
        match self.place {
            FilePlace::Postgres => KeptIn::Postgres,
            FilePlace::Directory(_) => KeptIn::Directory,
            #[cfg(feature = "object-storage")]
            FilePlace::Bucket(_) => KeptIn::Bucket,
        }
    }

    /// Where an attempt writes its files.
    pub(crate) fn sink(&self, claimed: &ClaimedExport) -> FileSink {
        match &self.place {
            FilePlace::Postgres => {
                FileSink::Postgres { store: self.store.clone(), claimed: Box::new(claimed.clone()) }
            }
            FilePlace::Directory(path) => {
                let folder = directory::folder(path, &claimed.tenant, claimed.id);
                FileSink::Folder(folder.join(claimed.attempt.to_string()))
            }
            #[cfg(feature = "object-storage")]
            FilePlace::Bucket(bucket) => {
                FileSink::Bucket(bucket.folder(&claimed.tenant, claimed.id, claimed.attempt))
            }
        }
    }

    /// The bytes of a part of a file, which is within it and not empty.
    pub(crate) async fn read(
        &self,
        reads: &Arc<Semaphore>,
        file: StoredFile,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, FileError>>, FileError> {
        match (file.kept_in, &self.place) {
            (KeptIn::Postgres, _) => {
                Ok(postgres_file::read(self.store.clone(), Arc::clone(reads), file, range))
            }
            (KeptIn::Directory, FilePlace::Directory(path)) => {
                let folder = directory::folder(path, &file.tenant, file.export);
                let path = folder.join(file.attempt.to_string()).join(&file.name);
                Ok(directory::read(path, range))
            }
            #[cfg(feature = "object-storage")]
            (KeptIn::Bucket, FilePlace::Bucket(bucket)) => bucket.read(&file, range).await,
            _ => Err(FileError::OtherStore),
        }
    }

    /// Deletes the files of some attempts at an export.
    pub(crate) async fn remove(
        &self,
        (tenant, export): (&Tenant, Uuid),
        kept_in: KeptIn,
        attempts: Attempts,
    ) -> Result<(), FileError> {
        match (kept_in, &self.place) {
            (KeptIn::Postgres, _) => {
                Ok(self.store.delete_export_chunks(tenant, export, attempts).await?)
            }
            (KeptIn::Directory, FilePlace::Directory(path)) => {
                directory::remove(directory::folder(path, tenant, export), attempts).await
            }
            #[cfg(feature = "object-storage")]
            (KeptIn::Bucket, FilePlace::Bucket(bucket)) => {
                bucket.remove(tenant, export, attempts).await
            }
            _ => Err(FileError::OtherStore),
        }
    }
}
