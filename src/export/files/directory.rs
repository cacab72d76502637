//! Files in a directory, which all nodes with the role `query` must see. An attempt has a folder of its own.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use uuid::Uuid;

use super::file_error::FileError;
use crate::postgres::Attempts;
use onrecord_evidence::event::ids::Tenant;

/// Maximum number of bytes that are read at a time.
const MAX_READ_BYTES: u64 = 256 * 1024;

/// A file that is being written.
pub(crate) struct LocalFile {
    file: File,
    path: PathBuf,
}

/// The folder of an export below the directory of all.
pub(super) fn folder(directory: &Path, tenant: &Tenant, export: Uuid) -> PathBuf {
    directory.join(tenant.as_str()).join(export.to_string())
}

impl LocalFile {
    /// Creates a file that does not exist yet, and its folder.
    pub(super) async fn create(folder: PathBuf, name: &str) -> Result<Self, FileError> {
        let path = folder.join(name);
        blocking(move || {
            fs::create_dir_all(&folder).map_err(FileError::at(&folder))?;
            let file = File::create_new(&path).map_err(FileError::at(&path))?;
            Ok(Self { file, path })
        })
        .await
    }

    pub(super) async fn write(self, bytes: Bytes) -> Result<Self, FileError> {
        blocking(move || {
            let Self { mut file, path } = self;
            file.write_all(&bytes).map_err(FileError::at(&path))?;
            Ok(Self { file, path })
        })
        .await
    }

    /// Waits until the file is on the disk.
    pub(super) async fn finish(self) -> Result<(), FileError> {
        blocking(move || self.file.sync_all().map_err(FileError::at(&self.path))).await
    }
}

/// The bytes of a part of a file.
pub(super) fn read(
    path: PathBuf,
    range: Range<u64>,
) -> BoxStream<'static, Result<Bytes, FileError>> {
    let parts = stream::try_unfold(range.start, move |at| {
        let path = path.clone();
        let end = range.end;
        async move {
            if at >= end {
                return Ok(None);
            }
            let part = blocking(move || read_part(&path, at, MAX_READ_BYTES.min(end - at))).await?;
            let next = at + part.len() as u64;
            Ok(Some((part, next)))
        }
    });
    parts.boxed()
}

fn read_part(path: &Path, at: u64, length: u64) -> Result<Bytes, FileError> {
    let read = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(at))?;
        let mut part = Vec::new();
        file.take(length).read_to_end(&mut part)?;
        Ok(part)
    };
    match read() {
        Ok(part) if part.len() as u64 == length => Ok(part.into()),
        Ok(_) => Err(FileError::Missing),
        Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => Err(FileError::Missing),
        Err(error) => Err(FileError::at(path)(error)),
    }
}

/// Deletes the folders of some attempts at an export; that of the export too, if it is empty then.
pub(super) async fn remove(folder: PathBuf, attempts: Attempts) -> Result<(), FileError> {
    blocking(move || remove_attempts(&folder, attempts)).await
}

fn remove_attempts(folder: &Path, attempts: Attempts) -> Result<(), FileError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Below a file there is nothing either.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(());
        }
        Err(error) => return Err(FileError::at(folder)(error)),
    };
    for entry in entries {
        let path = entry.map_err(FileError::at(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_removed = match attempts {
            Attempts::All => true,
            Attempts::Only(attempt) => name == attempt.to_string(),
            Attempts::Others(attempt) => name != attempt.to_string(),
        };
        if is_removed {
            fs::remove_dir_all(&path).map_err(FileError::at(&path))?;
        }
    }
    match fs::remove_dir(folder) {
        // Another attempt has its files there.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::at(folder)(error)),
        _ => Ok(()),
    }
}

/// Runs what waits for the disk on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(FileError::Panicked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_read_in_parts_and_only_its_attempt_is_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let tenant = Tenant::parse("contoso").unwrap();
        let export = folder(directory.path(), &tenant, Uuid::nil());
        for attempt in ["1", "2"] {
            let file = LocalFile::create(export.join(attempt), "calls-1.csv").await.unwrap();
            let content = Bytes::from(vec![b'x'; 300_000]);
            file.write(content).await.unwrap().finish().await.unwrap();
        }
        let path = export.join("2/calls-1.csv");
        let parts: Vec<Bytes> =
            read(path.clone(), 1..299_999).map(|part| part.unwrap()).collect().await;
        assert_eq!(parts.iter().map(Bytes::len).collect::<Vec<_>>(), [262_144, 37_854]);
        remove(export.clone(), Attempts::Others(2)).await.unwrap();
        assert!(path.exists() && !export.join("1").exists());
        remove(export.clone(), Attempts::Only(2)).await.unwrap();
        assert!(!export.exists());
        remove(export.clone(), Attempts::All).await.unwrap();
        let missing = read(path, 0..1).next().await.unwrap();
        assert!(matches!(missing, Err(FileError::Missing)), "{missing:?}");
    }
}
