//! The HTTP resources for client apps: their routes, and the state of their handlers.

use axum::Router;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clients::client_context::ClientContext;
use crate::clients::{acknowledge, report, token_mint, token_revocation};
use crate::streams::stream_session::StreamContext;
use crate::streams::{indications, sse, websocket};

/// The routes for client apps, below `/v1`.
pub(crate) fn router(clients: ClientContext, streams: StreamContext) -> Router {
    let clients = Router::from(client_routes()).with_state(clients);
    clients.merge(Router::from(stream_routes()).with_state(streams))
}

/// What clients and their backends send.
pub(crate) fn client_routes() -> OpenApiRouter<ClientContext> {
    OpenApiRouter::default()
        .routes(routes!(token_mint::mint))
        .routes(routes!(token_revocation::revoke))
        .routes(routes!(report::report))
        .routes(routes!(acknowledge::acknowledge))
}

/// What they are told.
pub(crate) fn stream_routes() -> OpenApiRouter<StreamContext> {
    OpenApiRouter::default()
        .routes(routes!(sse::stream))
        .routes(routes!(websocket::socket))
        .routes(routes!(indications::indication))
}
