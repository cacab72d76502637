//! The reading room: call history by HTTP. One resource, one file.
//!
//! Every answer is of one instant of the store and says `complete_through`: all that reached us
//! before that instant is in it.

mod calls;
mod events;
mod evidence;
mod exceptions;
mod notice_texts;
mod outages;
mod quarantine;
mod reader;

use axum::Router;
use axum::routing::{get, post};

pub use reader::Api;

/// The room's resources, below `/v1`.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/calls", get(calls::list))
        .route("/v1/calls/{call}", get(calls::one))
        .route("/v1/calls/{call}/timeline", get(calls::timeline))
        .route("/v1/calls/{call}/evidence", get(evidence::evidence))
        .route("/v1/calls/{call}/facts", get(evidence::facts))
        .route("/v1/events", get(events::list))
        .route("/v1/events/{id}", get(events::one))
        .route("/v1/exceptions", get(exceptions::list))
        .route("/v1/exceptions/{id}", get(exceptions::one))
        .route("/v1/exceptions/{id}/close", post(exceptions::close))
        .route("/v1/outages", get(outages::list))
        .route("/v1/quarantine", get(quarantine::list))
        .route("/v1/notice-texts", get(notice_texts::list))
        .route(
            "/v1/notice-texts/{version}",
            get(notice_texts::one).put(notice_texts::register),
        )
        .layer(axum::middleware::from_fn(reader::in_time))
        .with_state(api)
}
