//! `/v1/exports`: requests for exports, their list, and their deletion.

use std::time::Duration;

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
use crate::http::auth::Authorized;
use crate::http::body::{CallerBody, QueryParameters};
use crate::http::paging::{self, ListBinding, PageQuery};
use crate::http::problem::{Problem, ProblemKind};
use crate::openapi::problem_sets::{ApiKeyProblems, BodyProblems, IdProblems, SizeProblems};
use crate::postgres::{ExportAdmission, ExportFileRow, ExportRequest, NewExport, StoredExport};
use onrecord_evidence::event::ids::Tenant;

/// Maximum number of exports of a tenant that are not finished.
const MAX_UNFINISHED: i64 = 20;
/// Time after which a tenant with too many exports should ask again.
const RETRY_AFTER: Duration = Duration::from_secs(30);

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
    let mut snapshot = context.store.read(&caller.tenant).await?;
    let estimated_rows = snapshot.estimated_rows(&request).await?;
    drop(snapshot);
    check_size(&request, estimated_rows, context.settings.max_rows)?;
    let id = Uuid::now_v7();
    let new = NewExport {
        id,
        tenant: &caller.tenant,
        request: &request,
        requested_by: (caller.id, &caller.name),
        estimated_rows,
    };
    match context.store.request_export(&new, MAX_UNFINISHED).await? {
        ExportAdmission::Queued => {}
        ExportAdmission::TooMany => {
            let detail = format!(
                "{MAX_UNFINISHED} exports of the tenant are not finished; wait for one, or delete it"
            );
            return Err(Problem::too_many(detail, RETRY_AFTER));
        }
    }
    context.requested.notify_one();
    let view = read(&context, &caller.tenant, id).await?;
    let location = [(header::LOCATION, format!("/v1/exports/{id}"))];
    Ok((StatusCode::ACCEPTED, location, Json(view)))
}

fn check_size(request: &ExportRequest, estimated: u64, max: u64) -> Result<(), Problem> {
    if estimated <= max {
        return Ok(());
    }
    let views: Vec<&str> = request.what.iter().map(|view| view.name()).collect();
    Err(Problem::new(
        ProblemKind::AnswerTooLarge,
        format!(
            "{} would have about {estimated} rows, and an export has at most {max}; choose a shorter period, fewer views or a filter",
            views.join(" and ")
        ),
    ))
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
