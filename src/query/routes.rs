//! The routes of the query API.

use axum::Router;
use axum::routing::{get, post};

use super::calls::{evidence, list, one, person};
use super::context::{self, QueryContext};
use super::stats::answers;
use super::{access_log, events, exceptions, notice_texts, outages, quarantine};

/// The resources of the query API, below `/v1`.
pub(crate) fn router(api: QueryContext) -> Router {
    Router::new()
        .route("/v1/calls", get(list::list))
        .route("/v1/calls/{call}", get(one::one))
        .route("/v1/calls/{call}/timeline", get(one::timeline))
        .route("/v1/calls/{call}/evidence", get(evidence::evidence))
        .route("/v1/calls/{call}/facts", get(evidence::facts))
        .route("/v1/participants/{raw_id}", get(person::person))
        .route("/v1/events", get(events::list))
        .route("/v1/events/{id}", get(events::one))
        .route("/v1/exceptions", get(exceptions::list))
        .route("/v1/exceptions/{id}", get(exceptions::one))
        .route("/v1/exceptions/{id}/close", post(exceptions::close))
        .route("/v1/outages", get(outages::list))
        .route("/v1/quarantine", get(quarantine::list))
        .route("/v1/stats/calls", get(answers::calls))
        .route("/v1/stats/notices", get(answers::notices))
        .route("/v1/stats/captures", get(answers::captures))
        .route("/v1/stats/exceptions", get(answers::exceptions))
        .route("/v1/access-log", get(access_log::list))
        .route("/v1/notice-texts", get(notice_texts::list))
        .route("/v1/notice-texts/{version}", get(notice_texts::one).put(notice_texts::register))
        .layer(axum::middleware::from_fn(context::limit_time))
        .with_state(api)
}
