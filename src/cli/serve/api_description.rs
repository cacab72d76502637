//! The description of all routes, whatever roles a process runs.

use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;

use crate::http::server;
use crate::openapi::{document, routes};
use crate::{client_api, export, ingest, query, webhooks};

/// The OpenAPI document of all routes.
///
/// # Errors
///
/// A part of it is no JSON; a test makes the document.
pub fn document() -> Result<Value, serde_json::Error> {
    let mut all = OpenApiRouter::into_openapi(ingest::routes());
    for routes in [
        client_api::client_routes().into_openapi(),
        client_api::stream_routes().into_openapi(),
        query::routes().into_openapi(),
        export::routes().into_openapi(),
        webhooks::resources().into_openapi(),
        server::operation_routes().into_openapi(),
        routes::routes().into_openapi(),
    ] {
        all.merge(routes);
    }
    document::document(&all)
}
