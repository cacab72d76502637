//! `GET /openapi.json`: the description; `GET /openapi`: the same as a page. Neither needs a credential.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::page;

/// How long a client may use the description again, as a header.
const CACHE_CONTROL: &str = "public, max-age=300";

/// The description, as text and as a page.
#[derive(Clone)]
pub(crate) struct Description {
    json: Arc<str>,
    page: Arc<str>,
    /// Which parts of the page a browser uses.
    policy: HeaderValue,
}

impl Description {
    fn of(document: &Value) -> Self {
        let (page, policy) = page::page(document);
        Self { json: format!("{document:#}\n").into(), page: page.into(), policy }
    }
}

/// The routes of the description.
pub(crate) fn router(document: &Value) -> Router {
    Router::from(routes()).with_state(Description::of(document))
}

/// The routes of the description, without it.
pub(crate) fn routes() -> OpenApiRouter<Description> {
    OpenApiRouter::default().routes(routes!(openapi_json)).routes(routes!(openapi_page))
}

/// Reads this description.
///
/// OpenAPI 3.2, the same as `onrecord openapi` prints.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "getOpenApi",
    tag = "operations",
    security(()),
    responses((status = 200, description = "The description.", body = Object)),
)]
async fn openapi_json(State(description): State<Description>) -> impl IntoResponse {
    let headers =
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, CACHE_CONTROL)];
    (headers, description.json.to_string())
}

/// Reads this description as a page.
#[utoipa::path(
    get,
    path = "/openapi",
    operation_id = "getOpenApiPage",
    tag = "operations",
    security(()),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")),
)]
async fn openapi_page(State(description): State<Description>) -> impl IntoResponse {
    let Description { page, policy, .. } = description;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static(CACHE_CONTROL)),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, page.to_string())
}
