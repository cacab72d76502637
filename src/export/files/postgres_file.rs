//! Files in PostgreSQL, a chunk at a time.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::sync::Semaphore;

use super::file_error::FileError;
use super::stored_file::StoredFile;
use crate::postgres::{CHUNK_BYTES, ChunkPlace, ClaimedExport, Postgres};

/// A file that is being written.
pub(crate) struct PostgresFile {
    store: Postgres,
    claimed: Box<ClaimedExport>,
    name: String,
    number: i32,
    buffer: BytesMut,
}

impl PostgresFile {
    pub(super) fn new(store: Postgres, claimed: Box<ClaimedExport>, name: &str) -> Self {
        Self { store, claimed, name: name.to_owned(), number: 0, buffer: BytesMut::new() }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let chunk = usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX);
        self.buffer.extend_from_slice(bytes);
        while self.buffer.len() >= chunk {
            let full = self.buffer.split_to(chunk);
            self.insert(&full).await?;
        }
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<(), FileError> {
        let rest = self.buffer.split();
        if rest.is_empty() { Ok(()) } else { self.insert(&rest).await }
    }

    async fn insert(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let inserted =
            self.store.insert_export_chunk(&self.claimed, &self.name, self.number, bytes).await?;
        self.number += 1;
        if inserted { Ok(()) } else { Err(FileError::LeaseLost) }
    }
}

/// The bytes of a part of a file. Each chunk is read in a transaction of its own, so that a client that reads
/// slowly holds no connection.
pub(super) fn read(
    store: Postgres,
    reads: Arc<Semaphore>,
    file: StoredFile,
    range: Range<u64>,
) -> BoxStream<'static, Result<Bytes, FileError>> {
    let chunks = stream::try_unfold(range.start, move |at| {
        let (store, reads, file) = (store.clone(), Arc::clone(&reads), file.clone());
        async move {
            if at >= range.end {
                return Ok(None);
            }
            let number = i32::try_from(at / CHUNK_BYTES).map_err(|_| FileError::Missing)?;
            let place =
                ChunkPlace { export: file.export, attempt: file.attempt, file: &file.name, number };
            // The semaphore is never closed.
            let turn = reads.acquire_owned().await.map_err(|_| FileError::Missing)?;
            let chunk = store.read(&file.tenant).await?.export_chunk(&place).await?;
            drop(turn);
            let chunk = Bytes::from(chunk.ok_or(FileError::Missing)?);
            let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(chunk.len());
            let from = within(at % CHUNK_BYTES);
            let until = within(range.end - (at - at % CHUNK_BYTES));
            if from >= until {
                return Err(FileError::Missing);
            }
            let part = chunk.slice(from..until);
            let next = at + part.len() as u64;
            Ok(Some((part, next)))
        }
    });
    chunks.boxed()
}
