//! The HTTP resources for client apps: their routes, and the state of their handlers.

use axum::Router;
use axum::routing::{get, post};

use crate::clients::client_context::ClientContext;
use crate::clients::{acknowledge, report, token_mint, token_revocation};
use crate::streams::stream_session::StreamContext;
use crate::streams::{indications, sse, websocket};

/// The routes for client apps, below `/v1`.
pub(crate) fn router(clients: ClientContext, streams: StreamContext) -> Router {
    let streams = Router::new()
        .route("/v1/notices/stream", get(sse::stream))
        .route("/v1/notices/ws", get(websocket::socket))
        .route("/v1/indications", get(indications::indication))
        .with_state(streams);
    Router::new()
        .route("/v1/subscriber-tokens", post(token_mint::mint))
        .route("/v1/token-revocations", post(token_revocation::revoke))
        .route("/v1/reports", post(report::report))
        .route("/v1/acknowledgements", post(acknowledge::acknowledge))
        .with_state(clients)
        .merge(streams)
}
