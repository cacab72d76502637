//! Authentication and rate limit of clients that report and acknowledge.

use std::time::{Duration, Instant};

use crate::clock;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::rate_limiter::RateLimiter;
use crate::http::subscriber_token::{SubscriberClaims, SubscriberTokens};
use crate::lifecycle::Lifecycle;

/// The state that decides whether a client may send.
#[derive(Clone)]
pub(crate) struct ClientAccess {
    pub tokens: SubscriberTokens,
    pub rate_limiter: RateLimiter,
    pub lifecycle: Lifecycle,
}

impl ClientAccess {
    /// The claims of the subscriber token of a request.
    pub(crate) fn authenticate(&self, token: Option<&str>) -> Result<SubscriberClaims, Problem> {
        let token = token.ok_or_else(|| Problem::new(ProblemKind::Unauthorized, "send a subscriber token: `Authorization: Bearer …`; the app's backend gets one from POST /v1/subscriber-tokens"))?;
        self.tokens
            .verify_token(token, clock::now_ms() / 1000)
            .map_err(|error| Problem::new(ProblemKind::Unauthorized, error.to_string()))
    }

    /// Rejects a request on a node that stops, and a request beyond the rate limit with the detail
    /// `too_often`.
    pub(crate) fn check_limits(
        &self,
        subscriber: &SubscriberClaims,
        too_often: &str,
    ) -> Result<(), Problem> {
        if self.lifecycle.is_stopping() {
            return Err(Problem::try_again(
                "this node is shutting down",
                Duration::from_secs(1),
            ));
        }
        self.rate_limiter
            .count(subscriber.tenant.as_str(), &subscriber.sub, Instant::now())
            .map_err(|after| Problem::too_many(too_often, after))
    }
}
