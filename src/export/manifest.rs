//! The manifest of an export: what its files contain, as JSON.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::encode::row_encode_error::RowEncodeError;
use super::files::file_error::FileError;
use super::files::file_sink::FileSink;
use super::pipeline::{ExportError, WrittenExport};
use crate::http::timestamp::{serialize_micros, serialize_optional_micros};
use crate::postgres::{ExportRequest, ExportedColumn, WrittenFile};
use onrecord_evidence::event::ids::{Digest, Tenant};

/// The name of the file.
pub(crate) const MANIFEST: &str = "manifest.json";

#[derive(Serialize)]
struct ManifestBody<'a> {
    export: Uuid,
    tenant: &'a str,
    /// The program that wrote it.
    written_by: &'static str,
    #[serde(serialize_with = "serialize_micros")]
    written_at: DateTime<Utc>,
    /// Every event that was received before this instant is in the files.
    #[serde(serialize_with = "serialize_optional_micros")]
    complete_through: Option<DateTime<Utc>>,
    #[serde(flatten)]
    request: &'a ExportRequest,
    views: Vec<ManifestView<'a>>,
    files: Vec<ManifestFile<'a>>,
}

#[derive(Serialize)]
struct ManifestView<'a> {
    view: &'static str,
    comment: &'a str,
    /// The period selects rows by this column, and they are sorted by it.
    time_column: &'static str,
    rows: u64,
    columns: &'a [ExportedColumn],
}

#[derive(Serialize)]
struct ManifestFile<'a> {
    name: &'a str,
    view: Option<&'static str>,
    rows: u64,
    bytes: u64,
    sha256: String,
}

/// Writes the manifest beside the files of an export. Returns all of them.
///
/// # Errors
///
/// [`ExportError`].
pub(crate) async fn write_manifest(
    sink: &FileSink,
    (tenant, export): (&Tenant, Uuid),
    request: &ExportRequest,
    written: WrittenExport,
    now: DateTime<Utc>,
) -> Result<Vec<WrittenFile>, ExportError> {
    let WrittenExport { complete_through, schemas, mut files } = written;
    let views = schemas.iter().map(|schema| {
        let name = schema.view.name();
        let of_view = files.iter().filter(|file| file.view == Some(name));
        ManifestView {
            view: name,
            comment: &schema.comment,
            time_column: schema.view.time_column(),
            rows: of_view.map(|file| file.rows).sum(),
            columns: &schema.columns,
        }
    });
    let listed = files.iter().map(|file| ManifestFile {
        name: &file.name,
        view: file.view,
        rows: file.rows,
        bytes: file.bytes,
        sha256: file.sha256.to_string(),
    });
    let body = ManifestBody {
        export,
        tenant: tenant.as_str(),
        written_by: concat!("onrecord ", env!("CARGO_PKG_VERSION")),
        written_at: now,
        complete_through,
        request,
        views: views.collect(),
        files: listed.collect(),
    };
    let mut text = serde_json::to_vec_pretty(&body).map_err(RowEncodeError::from)?;
    text.push(b'\n');
    let (bytes, sha256) = (text.len() as u64, Digest::of(&text));
    let file = sink.create(MANIFEST).await?;
    let file: Result<_, FileError> = file.write(Bytes::from(text)).await;
    file?.finish().await?;
    let name = MANIFEST.to_owned();
    files.push(WrittenFile { name, view: None, rows: 0, bytes, sha256 });
    Ok(files)
}
