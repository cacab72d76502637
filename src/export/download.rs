//! `GET /v1/exports/{id}/files/{name}`: a file of an export, or a part of it.

use std::ops::Range;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt as _, stream};
use uuid::Uuid;

use super::access::{ExportRoles, unknown_export};
use super::byte_range::{Selected, select};
use super::context::ExportContext;
use super::files::file_error::FileError;
use super::files::stored_file::StoredFile;
use crate::clock;
use crate::http::auth::{Authorized, Caller};
use crate::http::body::NoParameters;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::purpose::StatedPurpose;
use crate::openapi::problem_sets::{ApiKeyProblems, ConflictProblems, IdProblems, RangeProblems};
use crate::postgres::{AccessRow, ExportFileRow, ExportState};
use onrecord_evidence::event::ids::Digest;

/// Downloads a file of an export.
///
/// The file, or a range of its bytes. The read is logged.
#[utoipa::path(
    get,
    path = "/v1/exports/{id}/files/{name}",
    operation_id = "getExportFile",
    tag = "exports",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        ("id" = Uuid, Path, description = "The id of the export."),
        ("name" = String, Path, description = "The name of the file, for example `calls-1.parquet` or `manifest.json`."),
        ("range" = Option<String>, Header, description = "One range of bytes, for example `bytes=0-99`."),
        ("if-range" = Option<String>, Header, description = "The `etag` for which the range counts."),
        ("if-none-match" = Option<String>, Header, description = "The `etag` that the caller has."),
    ),
    responses(
        (
            status = 200,
            description = "The file.",
            headers(
                ("etag" = String, description = "The SHA-256 of the file in hexadecimal digits, in quotes."),
                ("repr-digest" = String, description = "The SHA-256 of the file in base64 (RFC 9530)."),
                ("accept-ranges" = String, description = "`bytes`."),
            ),
            content(
                ("application/json"),
                ("text/csv"),
                ("application/x-ndjson"),
                ("application/vnd.apache.parquet"),
            ),
        ),
        (
            status = 206,
            description = "The range of the file.",
            headers(
                ("etag" = String, description = "The SHA-256 of the file in hexadecimal digits, in quotes."),
                ("repr-digest" = String, description = "The SHA-256 of the file in base64 (RFC 9530)."),
                ("accept-ranges" = String, description = "`bytes`."),
            ),
            content(
                ("application/json"),
                ("text/csv"),
                ("application/x-ndjson"),
                ("application/vnd.apache.parquet"),
            ),
        ),
        (status = 304, description = "The caller has the file."),
        ApiKeyProblems,
        IdProblems,
        ConflictProblems,
        RangeProblems,
    ),
)]
pub(super) async fn file(
    State(context): State<ExportContext>,
    Authorized { caller, .. }: Authorized<ExportRoles>,
    method: Method,
    path: Result<Path<(Uuid, String)>, PathRejection>,
    _: NoParameters,
    StatedPurpose(purpose): StatedPurpose,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path((id, name)) = path.map_err(|_| unknown_export())?;
    let route = "GET /v1/exports/{id}/files/{name}";
    let request = DownloadRequest { caller, route, purpose, method, headers, id, name };
    download(&context, request).await
}

/// Who asks for which file of an export, and how.
pub(crate) struct DownloadRequest<'a> {
    pub caller: Caller,
    /// Method and path of the resource without its ids, for the access log.
    pub route: &'a str,
    /// The purpose that the caller states.
    pub purpose: Option<String>,
    pub method: Method,
    pub headers: HeaderMap,
    pub id: Uuid,
    pub name: String,
}

/// A file of an export, or a part of it. The read is logged.
///
/// # Errors
///
/// There is no such file, or the store failed.
pub(crate) async fn download(
    context: &ExportContext,
    request: DownloadRequest<'_>,
) -> Result<Response, Problem> {
    let DownloadRequest { caller, route, purpose, method, headers, id, name } = request;
    let found = context.store.read(&caller.tenant).await?.export(id).await?;
    let (export, files) = found.ok_or_else(unknown_export)?;
    let ExportState::Done { kept_in, .. } = export.state else {
        let detail = "the export is not done; GET /v1/exports/{id} has its state";
        return Err(Problem::new(ProblemKind::Conflict, detail));
    };
    let row = files.into_iter().find(|file| file.name == name).ok_or_else(|| {
        Problem::not_found("the export has no file of this name; GET /v1/exports/{id} lists them")
    })?;
    let size = u64::try_from(row.bytes).unwrap_or(0);
    let etag = format!("\"{}\"", row.sha256);
    let (status, range) = match select(&headers, size, &etag) {
        Selected::Whole => (StatusCode::OK, 0..size),
        Selected::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Selected::NotModified => {
            return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
        }
        Selected::Unsatisfiable => {
            let problem = Problem::new(
                ProblemKind::RangeNotSatisfiable,
                format!("the file has {size} bytes, and the range begins after its end"),
            );
            let range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return Ok((range, problem).into_response());
        }
    };
    let place = StoredFile {
        tenant: caller.tenant.clone(),
        export: id,
        attempt: row.attempt,
        name: row.name.clone(),
        kept_in,
    };
    let body = if method == Method::HEAD || range.is_empty() {
        Body::empty()
    } else {
        let body = body(context, place, range.clone()).await?;
        log_access(context, &caller, route, purpose, id).await?;
        body
    };
    Ok((status, head_of(&row, &etag, status, &range, size), body).into_response())
}

/// Appends the row of a download to the access log: without the row there is no answer.
async fn log_access(
    context: &ExportContext,
    caller: &Caller,
    route: &str,
    purpose: Option<String>,
    export: Uuid,
) -> Result<(), Problem> {
    let row = AccessRow {
        id: Uuid::now_v7(),
        at: clock::now(),
        actor: caller.kind.as_str().to_owned(),
        api_key: caller.id,
        key_name: caller.name.clone(),
        role: caller.role.as_str().to_owned(),
        what: "export".to_owned(),
        route: route.to_owned(),
        call: None,
        person: None,
        subject: Some(export.to_string()),
        purpose,
    };
    Ok(context.store.log_access(&caller.tenant, &row).await?)
}

/// The bytes. The first part is read before the answer begins, so that a file that is gone is a problem and no
/// broken connection.
async fn body(
    context: &ExportContext,
    file: StoredFile,
    range: Range<u64>,
) -> Result<Body, Problem> {
    let id = file.export;
    let mut parts = context.files.read(&context.reads, file, range).await?;
    let first = parts.next().await.unwrap_or(Err(FileError::Missing))?;
    let parts = stream::once(async { Ok(first) }).chain(parts);
    let parts = parts.inspect(move |part| {
        if let Err(error) = part {
            tracing::warn!(export.id = %id, error = %error, "a download of the export {id} is broken off: {error}");
        }
    });
    Ok(Body::from_stream(parts))
}

fn head_of(
    file: &ExportFileRow,
    etag: &str,
    status: StatusCode,
    range: &Range<u64>,
    size: u64,
) -> HeaderMap {
    let content_type = match file.name.rsplit('.').next() {
        Some("csv") => "text/csv; charset=utf-8; header=present",
        Some("ndjson") => "application/x-ndjson",
        Some("parquet") => "application/vnd.apache.parquet",
        _ => "application/json",
    };
    let mut texts = vec![
        (header::CONTENT_TYPE, content_type.to_owned()),
        (header::CONTENT_LENGTH, (range.end - range.start).to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", file.name)),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CACHE_CONTROL, "private, no-store, no-transform".to_owned()),
        (header::ETAG, etag.to_owned()),
    ];
    if let Some(sha256) = Digest::from_hex(&file.sha256) {
        let digest = format!("sha-256=:{}:", STANDARD.encode(sha256.as_bytes()));
        texts.push((header::HeaderName::from_static("repr-digest"), digest));
    }
    if status == StatusCode::PARTIAL_CONTENT {
        let last = range.end.saturating_sub(1);
        texts.push((header::CONTENT_RANGE, format!("bytes {}-{last}/{size}", range.start)));
    }
    let texts = texts.into_iter().filter_map(|(name, text)| {
        // All of them are ASCII: names of files are those of views.
        Some((name, text.parse().ok()?))
    });
    texts.collect()
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Store(error) => error.into(),
            FileError::Missing | FileError::LeaseLost => Self::not_found(
                "the content of the file is gone: the export was deleted or has expired; request it again",
            ),
            FileError::OtherStore => Self::new(
                ProblemKind::Conflict,
                "the file is in a store that the settings of the service do not name any more (exports.store); request the export again",
            ),
            error => {
                tracing::error!(error = %error, "a file of an export cannot be read: {error}");
                Self::new(ProblemKind::Internal, "the server's log says more")
            }
        }
    }
}
