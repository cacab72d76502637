//! `/v1/webhooks`: subscriptions, their messages, and what is done with them.
//!
//! * [`subscription_body`]: what a request for a subscription says, and the rules that it obeys.
//! * [`manage`]: creates and changes subscriptions; also used by the command line.
//! * [`subscriptions`]: the resources of subscriptions; [`actions`]: what changes their state;
//!   [`messages`]: their messages and attempts.

pub(crate) mod access;
pub(crate) mod actions;
pub(crate) mod manage;
pub(crate) mod message_query;
pub(crate) mod messages;
pub(crate) mod subscription_body;
pub(crate) mod subscriptions;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::context::WebhookRoutesContext;

/// The resources of webhooks, with the state of their handlers.
pub(crate) fn router(context: WebhookRoutesContext) -> Router {
    Router::from(resources()).with_state(context)
}

/// The resources of webhooks.
pub(crate) fn resources() -> OpenApiRouter<WebhookRoutesContext> {
    OpenApiRouter::default()
        .routes(routes!(subscriptions::list, subscriptions::create))
        .routes(routes!(subscriptions::one, subscriptions::change, subscriptions::delete))
        .routes(routes!(actions::pause))
        .routes(routes!(actions::resume))
        .routes(routes!(actions::test))
        .routes(routes!(actions::rotate))
        .routes(routes!(actions::redeliver))
        .routes(routes!(messages::list))
        .routes(routes!(messages::one))
        .routes(routes!(messages::redeliver))
}
