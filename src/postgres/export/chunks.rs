//! The content of files of exports that PostgreSQL keeps, in chunks of one size.

use uuid::Uuid;

use super::job_claims::ClaimedExport;
use crate::postgres::{Postgres, StoreError, TenantSnapshot};
use onrecord_evidence::event::ids::Tenant;

/// The size of a chunk, in bytes; the last one of a file is smaller.
pub(crate) const CHUNK_BYTES: u64 = 1 << 20;
/// Maximum number of chunks that one statement deletes.
const MAX_DELETED_CHUNKS: i64 = 64;

/// Some attempts at an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempts {
    All,
    Only(i32),
    /// All but this one.
    Others(i32),
}

/// A chunk of a file of an export.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkPlace<'a> {
    pub export: Uuid,
    pub attempt: i32,
    pub file: &'a str,
    pub number: i32,
}

impl Postgres {
    /// Stores a chunk. Returns whether the attempt still has the lease; otherwise nothing is stored.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn insert_export_chunk(
        &self,
        claimed: &ClaimedExport,
        file: &str,
        number: i32,
        bytes: &[u8],
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(INSERT_CHUNK)
            .bind(claimed.tenant.as_str())
            .bind(claimed.id)
            .bind(&claimed.owner)
            .bind(claimed.attempt)
            .bind(file)
            .bind(number)
            .bind(bytes);
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }

    /// Deletes the chunks of some attempts at an export.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn delete_export_chunks(
        &self,
        tenant: &Tenant,
        export: Uuid,
        attempts: Attempts,
    ) -> Result<(), StoreError> {
        let (only, kept) = match attempts {
            Attempts::All => (None, None),
            Attempts::Only(attempt) => (Some(attempt), None),
            Attempts::Others(attempt) => (None, Some(attempt)),
        };
        loop {
            let query = sqlx::query(DELETE_CHUNKS)
                .bind(tenant.as_str())
                .bind(export)
                .bind(only)
                .bind(kept)
                .bind(MAX_DELETED_CHUNKS);
            if query.execute(&self.pool).await?.rows_affected() == 0 {
                return Ok(());
            }
        }
    }
}

impl TenantSnapshot {
    /// A chunk of a file. `None`: it was deleted.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn export_chunk(
        &mut self,
        chunk: &ChunkPlace<'_>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let query = sqlx::query_scalar(SELECT_CHUNK)
            .bind(self.tenant.as_str())
            .bind(chunk.export)
            .bind(chunk.attempt)
            .bind(chunk.file)
            .bind(chunk.number);
        Ok(query.fetch_optional(&mut *self.transaction).await?)
    }
}

statements! {
    const INSERT_CHUNK: &str =
        "insert into export_chunk (tenant, export, attempt, file, number, bytes)
         select tenant, id, attempts, $5, $6, $7 from export
         where tenant = $1 and id = $2 and owner = $3 and attempts = $4 and state = 'running'";

    const DELETE_CHUNKS: &str =
        "delete from export_chunk where (tenant, export, attempt, file, number) in (
            select tenant, export, attempt, file, number from export_chunk
            where tenant = $1 and export = $2 and ($3::integer is null or attempt = $3) and attempt is distinct from $4 limit $5)";

    const SELECT_CHUNK: &str =
        "select bytes from export_chunk where tenant = $1 and export = $2 and attempt = $3 and file = $4 and number = $5";
}
