//! The routes of webhooks.

use axum::Router;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{actions, messages, subscriptions};
use crate::webhooks::context::WebhookRoutesContext;

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
