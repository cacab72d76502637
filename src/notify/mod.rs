//! The bell: who is told, and how.
//!
//! What comes in: the log and the spool (read by every node), and over HTTP the clients' reports,
//! acknowledgements and streams. What goes out: levels and changes to whoever listens, and facts
//! about them: what was dispatched, delivered, shown. What can fail: a client that
//! reads too slowly is dropped with `gap`; a store that is away only makes the board older, and
//! `/readyz` names it.

mod acknowledge;
mod audience;
mod board;
mod call;
mod clerk;
mod client_frame;
mod conversation;
mod course;
mod cursor;
mod desk;
mod follow;
mod gear;
mod indications;
mod listener;
mod listening;
mod message;
mod owners;
mod pace;
mod queue;
mod report;
mod report_body;
mod resources;
mod scribe;
mod shelf;
mod sse;
mod stated;
mod tail;
mod telling;
mod token;
mod token_mint;
mod websocket;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

pub use board::Board;
pub use clerk::Clerk;
pub use follow::start;
pub use pace::Pace;
pub use resources::resource_ids;
pub use token::{Subscriber, SubscriberTokens, TokenError};

use crate::domain::ids::Tenant;
use crate::http::access::KeyBook;
use crate::http::origin::Origins;
use crate::lifecycle::Lifecycle;
use crate::road::Road;

/// The resource ids of all sources of a tenant, as they are configured now.
pub type ResourceIdsOf = Arc<dyn Fn(&Tenant) -> Vec<String> + Send + Sync>;

/// What the room's resources need.
#[derive(Clone)]
pub struct Notify {
    pub board: Board,
    pub clerk: Clerk,
    /// How often each client may report.
    pub pace: Pace,
    pub tokens: SubscriberTokens,
    pub keys: KeyBook,
    pub road: Road,
    pub lifecycle: Lifecycle,
    /// Whose pages may open a WebSocket.
    pub origins: Origins,
    /// Whose users are ours, per tenant: the resource ids of its sources.
    pub resources: ResourceIdsOf,
}

/// The room's resources, below `/v1`.
pub fn router(notify: Notify) -> Router {
    Router::new()
        .route("/v1/subscriber-tokens", post(token_mint::mint))
        .route("/v1/reports", post(report::report))
        .route("/v1/notices/stream", get(sse::stream))
        .route("/v1/notices/ws", get(websocket::socket))
        .route("/v1/indications", get(indications::level))
        .layer(DefaultBodyLimit::max(256 * 1024))
        .route(
            "/v1/acknowledgements",
            post(acknowledge::acknowledge).layer(DefaultBodyLimit::max(acknowledge::LONGEST_BODY)),
        )
        .with_state(notify)
}
