//! `/v1/exports`: requests for exports, their list, and their deletion.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::access::{ExportRoles, unknown_export};
use super::context::ExportContext;
use super::download;
use super::request_body::ExportBody;
use super::requests::request_export;
use crate::http::auth::Authorized;
use crate::http::body::{CallerBody, NoParameters, QueryParameters};
use crate::http::paging::{self, ListBinding, PageQuery};
use crate::http::problem::Problem;
use crate::openapi::problem_sets::{ApiKeyProblems, BodyProblems, IdProblems, SizeProblems};
use crate::postgres::{ExportFileRow, StoredExport};
use onrecord_evidence::event::ids::Tenant;

/// The resources of exports, with the state of their handlers.
pub(crate) fn router(context: ExportContext) -> Router {
    Router::from(routes()).with_state(context)
}

/// The resources of exports.
pub(crate) fn routes() -> OpenApiRouter<ExportContext> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(one, delete))
        .routes(routes!(download::file))
}

/// One export with its files.
#[derive(Serialize, ToSchema)]
#[schema(as = ExportDetail)]
struct ExportView {
    #[serde(flatten)]
    export: StoredExport,
    /// Its files, the manifest among them. Empty until it is done.
    files: Vec<ExportFileRow>,
}

/// Exports.
#[derive(Serialize, ToSchema)]
#[schema(as = ExportList)]
struct ExportListView {
    /// The exports, last requested first.
    exports: Vec<StoredExport>,
    /// Pass it as `cursor`, with the same parameters, for the following rows. Absent: there are
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Requests an export.
///
/// Rows of views of the schema `reading` as files. The answer comes at once; a job writes the
/// files.
#[utoipa::path(
    post,
    path = "/v1/exports",
    operation_id = "createExport",
    tag = "exports",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    request_body(content = ExportBody, description = "What the export has."),
    responses(
        (status = 202, description = "The export is queued.", body = ExportView, headers(("location" = String, description = "The path of the export."))),
        ApiKeyProblems,
        BodyProblems,
        SizeProblems,
    ),
)]
async fn create(
    State(context): State<ExportContext>,
    body: CallerBody<Authorized<ExportRoles>, ExportBody>,
) -> Result<impl IntoResponse, Problem> {
    let caller = body.caller.caller;
    let request = body.value.parse()?;
    let id = request_export(&context, &caller, &request).await?;
    let view = read(&context, &caller.tenant, id).await?;
    let location = [(header::LOCATION, format!("/v1/exports/{id}"))];
    Ok((StatusCode::ACCEPTED, location, Json(view)))
}

/// Lists exports.
///
/// Last requested first.
#[utoipa::path(
    get,
    path = "/v1/exports",
    operation_id = "listExports",
    tag = "exports",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        PageQuery,
    ),
    responses(
        (status = 200, description = "The exports.", body = ExportListView),
        ApiKeyProblems,
    ),
)]
async fn list(
    State(context): State<ExportContext>,
    Authorized { caller, .. }: Authorized<ExportRoles>,
    QueryParameters(query): QueryParameters<PageQuery>,
) -> Result<Json<ExportListView>, Problem> {
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let binding = ListBinding::of("exports", &())?;
    let after = binding.parse_cursor::<(DateTime<Utc>, Uuid)>(query.cursor.as_deref())?;
    let exports = context.store.read(&caller.tenant).await?.exports(after, limit).await?;
    let next = binding.next_cursor(&exports, limit, |last| (last.requested_at, last.id));
    Ok(Json(ExportListView { exports, next }))
}

/// Reads one export with its files.
#[utoipa::path(
    get,
    path = "/v1/exports/{id}",
    operation_id = "getExport",
    tag = "exports",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        ("id" = Uuid, Path, description = "The id of the export."),
    ),
    responses(
        (status = 200, description = "The export.", body = ExportView),
        ApiKeyProblems,
        IdProblems,
    ),
)]
async fn one(
    State(context): State<ExportContext>,
    Authorized { caller, .. }: Authorized<ExportRoles>,
    id: Result<Path<Uuid>, PathRejection>,
    _: NoParameters,
) -> Result<Json<ExportView>, Problem> {
    let Path(id) = id.map_err(|_| unknown_export())?;
    Ok(Json(read(&context, &caller.tenant, id).await?))
}

/// Deletes an export.
///
/// It is stopped, and its files are deleted.
#[utoipa::path(
    delete,
    path = "/v1/exports/{id}",
    operation_id = "deleteExport",
    tag = "exports",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        ("id" = Uuid, Path, description = "The id of the export."),
    ),
    responses(
        (status = 204, description = "It is deleted."),
        ApiKeyProblems,
        IdProblems,
    ),
)]
async fn delete(
    State(context): State<ExportContext>,
    Authorized { caller, .. }: Authorized<ExportRoles>,
    id: Result<Path<Uuid>, PathRejection>,
    _: NoParameters,
) -> Result<StatusCode, Problem> {
    let Path(id) = id.map_err(|_| unknown_export())?;
    if context.store.delete_export(&caller.tenant, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(unknown_export())
    }
}

async fn read(context: &ExportContext, tenant: &Tenant, id: Uuid) -> Result<ExportView, Problem> {
    let found = context.store.read(tenant).await?.export(id).await?;
    let (export, files) = found.ok_or_else(unknown_export)?;
    Ok(ExportView { export, files })
}
