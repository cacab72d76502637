//! Deletes the files of exports that were deleted, have failed, or whose time is over, on one node at a time.

use std::time::Duration;

use super::context::ExportContext;
use super::files::file_error::FileError;
use crate::lifecycle::Lifecycle;
use crate::postgres::{self, Attempts};

/// Interval of looking for files to delete.
const RETENTION_INTERVAL: Duration = Duration::from_secs(5);
/// Time until the lease expires after its last renewal.
const LEASE: Duration = Duration::from_secs(60);
const LEASE_NAME: &str = "export retention";

/// Runs until the stop, then releases the lease.
pub(crate) async fn run(context: ExportContext, owner: String, lifecycle: Lifecycle) {
    let soft = lifecycle.soft().clone();
    while !soft.is_cancelled() {
        if let Err(error) = delete_expired(&context, &owner).await {
            tracing::debug!(error = %error, "the files of expired exports are deleted later: {error}");
        }
        soft.run_until_cancelled(tokio::time::sleep(RETENTION_INTERVAL)).await;
    }
    if let Err(error) = postgres::release(&context.store, LEASE_NAME, &owner).await {
        tracing::debug!(error = %error, "the lease of the export retention is not released and expires: {error}");
    }
}

async fn delete_expired(context: &ExportContext, owner: &str) -> Result<(), FileError> {
    if !postgres::hold(&context.store, LEASE_NAME, owner, LEASE).await? {
        return Ok(());
    }
    context.store.expire_exports().await?;
    for (tenant, id, kept_in) in context.store.exports_to_remove().await? {
        if let Some(kept_in) = kept_in {
            match context.files.remove((&tenant, id), kept_in, Attempts::All).await {
                Ok(()) => {}
                // Nothing here reaches them any more.
                Err(FileError::OtherStore) => {
                    tracing::warn!(export.id = %id, "the files of the export {id} stay where they are, because exports.store has changed; delete them by hand")
                }
                Err(error) => {
                    tracing::warn!(export.id = %id, error = %error, "the files of the export {id} are not deleted, and are tried again: {error}");
                    continue;
                }
            }
        }
        context.store.remove_export(&tenant, id).await?;
    }
    Ok(())
}
