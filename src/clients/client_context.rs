//! The state of the handlers, of which each takes what it needs, and the authentication and rate
//! limit of clients that report and acknowledge.

use std::time::{Duration, Instant};

use axum::extract::{FromRef, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;

use crate::clock;
use crate::http::auth::{ApiKeyCache, bearer_token};
use crate::http::body::{BodyCapacity, BodySender};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::rate_limiter::RateLimiter;
use crate::http::shared_capacity::ShareHolder;
use crate::http::subscriber_token::{SubscriberClaims, SubscriberTokens};
use crate::lifecycle::Lifecycle;
use crate::live::call_access::CallAccess;
use crate::live::live_calls::LiveCalls;
use crate::live::resource_ids::ResourceIdsOf;
use crate::postgres::Postgres;
use crate::publish::DurablePublisher;

/// The detail of the problem of a client beyond its rate limit.
const TOO_OFTEN: &str = "this client sends too often; report on every change and every 30 s, and send several acknowledgements in one batch";

/// The state of the handlers.
#[derive(Clone, FromRef)]
pub(crate) struct ClientContext {
    pub access: ClientAccess,
    pub keys: ApiKeyCache,
    pub call_access: CallAccess,
    pub live_calls: LiveCalls,
    pub store: Postgres,
    pub publisher: DurablePublisher,
    /// The resource ids of a tenant's sources: their users belong to the tenant's own app.
    pub resources: ResourceIdsOf,
    pub bodies: BodyCapacity,
}

/// Decides whether a client may send.
#[derive(Clone)]
pub(crate) struct ClientAccess {
    pub tokens: SubscriberTokens,
    /// Limits what each client sends.
    pub rate_limiter: RateLimiter,
    pub lifecycle: Lifecycle,
}

impl ClientAccess {
    /// The claims of the subscriber token of a request.
    fn authenticate(&self, headers: &HeaderMap) -> Result<SubscriberClaims, Problem> {
        let token = bearer_token(headers).ok_or_else(|| Problem::new(ProblemKind::Unauthorized, "send a subscriber token: `Authorization: Bearer …`; the app's backend gets one from POST /v1/subscriber-tokens"))?;
        self.tokens.verify_token(token, clock::now_ms() / 1000).map_err(Problem::from)
    }

    /// Rejects a request on a node that stops, and a request beyond the rate limit.
    fn check_limits(&self, subscriber: &SubscriberClaims) -> Result<(), Problem> {
        if self.lifecycle.is_stopping() {
            return Err(Problem::try_again("this node is shutting down", Duration::from_secs(1)));
        }
        self.rate_limiter
            .count(subscriber.tenant.as_str(), &subscriber.subject.raw_id, Instant::now())
            .map_err(|after| Problem::too_many(TOO_OFTEN, after))
    }
}

/// The client that sent a request, by its subscriber token. It is within its rate limit.
pub(crate) struct Subscriber(pub SubscriberClaims);

impl FromRequestParts<ClientContext> for Subscriber {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &ClientContext,
    ) -> Result<Self, Problem> {
        let claims = context.access.authenticate(&parts.headers)?;
        context.access.check_limits(&claims)?;
        Ok(Self(claims))
    }
}

impl BodySender for Subscriber {
    fn share_holder(&self) -> ShareHolder {
        ShareHolder::participant(&self.0.tenant, &self.0.subject.raw_id)
    }
}
