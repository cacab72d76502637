//! An export into a folder of this machine, for the command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use uuid::Uuid;

use super::files::file_sink::FileSink;
use super::manifest::write_manifest;
use super::pipeline::{PipelineLimits, write_files};
use crate::clock;
use crate::config::ExportSettings;
use crate::postgres::{ExportRequest, Postgres, WrittenFile};
use onrecord_evidence::event::ids::Tenant;

/// A folder in which the files are written, until it gets its name. Dropped before, it is deleted.
struct UnfinishedFolder {
    path: Option<PathBuf>,
}

impl Drop for UnfinishedFolder {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && let Err(error) = fs::remove_dir_all(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(error = %error, "{} is not deleted: {error}", path.display());
        }
    }
}

/// Writes an export into a folder, which appears when it is complete.
///
/// # Errors
///
/// A sentence for the user of the command line; nothing is left then.
pub(crate) async fn export_to_folder(
    store: &Postgres,
    tenant: &Tenant,
    request: &ExportRequest,
    settings: &ExportSettings,
    folder: &Path,
) -> anyhow::Result<Vec<WrittenFile>> {
    request.check().map_err(|error| anyhow::anyhow!("{}: {error}", error.member()))?;
    let is_taken = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    ensure!(!is_taken, "{} is not empty; name another folder with --out", folder.display());
    let mut snapshot = store.read_export(tenant).await?;
    let estimated = snapshot.estimated_rows(request).await?;
    if estimated > settings.max_rows {
        bail!(
            "it would have about {estimated} rows, and an export has at most {} (exports.max_rows); choose a shorter period, fewer views or a filter",
            settings.max_rows
        );
    }
    let id = Uuid::now_v7();
    let name = folder.file_name().context("--out is the name of a folder")?;
    let beside = folder.with_file_name(format!(".{}.{id}", name.to_string_lossy()));
    let mut unfinished = UnfinishedFolder { path: Some(beside.clone()) };
    let sink = FileSink::Folder(beside.clone());
    let limits = PipelineLimits { rows: settings.max_rows, file_rows: settings.file_rows };
    let written = write_files(snapshot, request, &sink, limits, Arc::default()).await?;
    let files = write_manifest(&sink, (tenant, id), request, written, clock::now()).await?;
    fs::rename(&beside, folder)
        .with_context(|| format!("{} cannot be written", folder.display()))?;
    unfinished.path = None;
    Ok(files)
}
