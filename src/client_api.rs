//! The HTTP resources for client apps: their routes, and the state that each handler receives.
//!
//! The handlers are in [`crate::clients`] and [`crate::streams`]. Each takes only the part of
//! [`ClientApi`] that it needs: a field by its type (`State<LiveCalls>`), or a group of fields that
//! belong together.
//!
//! | part | for |
//! |---|---|
//! | [`ClientAccess`] | reports and acknowledgements: tokens, rate limit, stop of the node |
//! | [`SubscribeAccess`] | streams and indications: tokens and API keys |
//! | [`StreamContext`] | a stream: [`SubscribeAccess`], live state, notice facts, stop of the node |

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::routing::{get, post};

use crate::clients;
use crate::clients::client_access::ClientAccess;
use crate::http::auth::ApiKeyCache;
use crate::http::origin::Origins;
use crate::http::rate_limiter::RateLimiter;
use crate::http::subscriber_token::SubscriberTokens;
use crate::lifecycle::Lifecycle;
use crate::live::fanout::notice_fact_writer::NoticeFactWriter;
use crate::live::live_calls::LiveCalls;
use crate::live::resource_ids::ResourceIdsOf;
use crate::publish::DurablePublisher;
use crate::streams;
use crate::streams::stream_session::StreamContext;
use crate::streams::subscription::SubscribeAccess;

/// The state of all resources. `FromRef` gives each handler its part.
#[derive(Clone, FromRef)]
pub struct ClientApi {
    pub live_calls: LiveCalls,
    pub fact_writer: NoticeFactWriter,
    /// Limits what each client sends.
    pub rate_limiter: RateLimiter,
    pub tokens: SubscriberTokens,
    pub keys: ApiKeyCache,
    pub publisher: DurablePublisher,
    pub lifecycle: Lifecycle,
    /// The origins whose pages may open a WebSocket.
    pub origins: Origins,
    /// The resource ids of a tenant's sources: their users belong to the tenant's own app.
    pub resources: ResourceIdsOf,
}

impl FromRef<ClientApi> for ClientAccess {
    fn from_ref(api: &ClientApi) -> Self {
        Self {
            tokens: api.tokens.clone(),
            rate_limiter: api.rate_limiter.clone(),
            lifecycle: api.lifecycle.clone(),
        }
    }
}

impl FromRef<ClientApi> for SubscribeAccess {
    fn from_ref(api: &ClientApi) -> Self {
        Self {
            tokens: api.tokens.clone(),
            keys: api.keys.clone(),
        }
    }
}

impl FromRef<ClientApi> for StreamContext {
    fn from_ref(api: &ClientApi) -> Self {
        Self {
            access: SubscribeAccess::from_ref(api),
            live_calls: api.live_calls.clone(),
            fact_writer: api.fact_writer.clone(),
            lifecycle: api.lifecycle.clone(),
        }
    }
}

/// The routes for client apps, below `/v1`.
pub(crate) fn router(api: ClientApi) -> Router {
    Router::new()
        .route("/v1/subscriber-tokens", post(clients::token_mint::mint))
        .route("/v1/reports", post(clients::report::report))
        .route("/v1/notices/stream", get(streams::sse::stream))
        .route("/v1/notices/ws", get(streams::websocket::socket))
        .route("/v1/indications", get(streams::indications::indication))
        .layer(DefaultBodyLimit::max(256 * 1024))
        .route(
            "/v1/acknowledgements",
            post(clients::acknowledge::acknowledge)
                .layer(DefaultBodyLimit::max(clients::acknowledge::MAX_BODY_BYTES)),
        )
        .with_state(api)
}
