//! What readers do with exports: request one, download a file, delete one.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::export_page::parsed;
use super::export_words::PATH;
use super::list_page::shown;
use super::new_export::NewExportFields;
use crate::console::context::ConsoleContext;
use crate::console::form::FormBody;
use crate::console::visit::PageVisit;
use crate::export::access::unknown_export;
use crate::export::download::{DownloadRequest, download};
use crate::export::requests::request_export;
use crate::http::auth::ReaderRole;
use crate::http::body::CallerBody;
use crate::http::problem::{Problem, ProblemKind};

/// The body of a form of a reader.
type ReaderForm = CallerBody<PageVisit<ReaderRole>, FormBody>;

/// Requests an export. What cannot be requested is shown again with the reason.
pub(in crate::console) async fn create(
    State(context): State<ConsoleContext>,
    form: ReaderForm,
) -> Result<Response, Problem> {
    let CallerBody { caller: page, value, .. } = form;
    let PageVisit { visit, signed_in, reader, .. } = page;
    let fields: NewExportFields = value.checked(&signed_in.form_token)?;
    let requested = match fields.request(visit.zone()) {
        Ok(request) => {
            let _turn = reader.snapshot_turn().await?;
            request_export(&context.exports, &signed_in.caller, &request).await
        }
        Err(problem) => Err(problem),
    };
    let problem = match requested {
        Ok(id) => return Ok(Redirect::to(&format!("{PATH}/{id}")).into_response()),
        Err(problem) => problem,
    };
    let status = match problem.kind() {
        ProblemKind::InvalidRequest => StatusCode::BAD_REQUEST,
        ProblemKind::AnswerTooLarge => StatusCode::UNPROCESSABLE_ENTITY,
        ProblemKind::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        _ => return Err(problem),
    };
    shown(&visit, &reader, fields.typed(), Some((status, problem))).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteFields {}

/// Stops an export that runs, and deletes the files of one that is done.
pub(in crate::console) async fn delete(
    State(context): State<ConsoleContext>,
    id: Result<Path<String>, PathRejection>,
    form: ReaderForm,
) -> Result<Response, Problem> {
    let CallerBody { caller: page, value, .. } = form;
    let _: DeleteFields = value.checked(&page.signed_in.form_token)?;
    let (id, tenant) = (parsed(id)?, &page.signed_in.caller.tenant);
    if !context.exports.store.delete_export(tenant, id).await? {
        return Err(unknown_export());
    }
    Ok(Redirect::to(PATH).into_response())
}

/// A file of an export.
pub(in crate::console) async fn file(
    State(context): State<ConsoleContext>,
    page: PageVisit<ReaderRole>,
    method: Method,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path((id, name)) = path.map_err(|_| unknown_export())?;
    let id = parsed(Ok(Path(id)))?;
    let (caller, route) = (page.signed_in.caller, page.visit.route.as_str());
    let purpose = page.reader.purpose;
    let request = DownloadRequest { caller, route, purpose, method, headers, id, name };
    download(&context.exports, request).await
}
