//! The routes of the query API.

use axum::Router;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::calls::{evidence, list, one, person};
use super::context::{self, QueryContext};
use super::stats::answers;
use super::{access_log, events, exceptions, notice_texts, outages, quarantine};

/// The resources of the query API, below `/v1`, with the state of their handlers.
pub(crate) fn router(api: QueryContext) -> Router {
    Router::from(routes()).layer(axum::middleware::from_fn(context::limit_time)).with_state(api)
}

/// The resources of the query API.
pub(crate) fn routes() -> OpenApiRouter<QueryContext> {
    OpenApiRouter::default()
        .routes(routes!(list::list))
        .routes(routes!(one::one))
        .routes(routes!(one::timeline))
        .routes(routes!(evidence::evidence))
        .routes(routes!(evidence::facts))
        .routes(routes!(person::person))
        .routes(routes!(events::list))
        .routes(routes!(events::one))
        .routes(routes!(exceptions::list))
        .routes(routes!(exceptions::one))
        .routes(routes!(exceptions::close))
        .routes(routes!(outages::list))
        .routes(routes!(quarantine::list))
        .routes(routes!(answers::calls))
        .routes(routes!(answers::notices))
        .routes(routes!(answers::captures))
        .routes(routes!(answers::exceptions))
        .routes(routes!(access_log::list))
        .routes(routes!(notice_texts::list))
        .routes(routes!(notice_texts::one, notice_texts::register))
}
