//! What the routes, the command line and the tasks of webhooks need.

use std::sync::Arc;

use axum::extract::FromRef;

use super::cursors::Cursors;
use super::guard::destination_rules::DestinationRules;
use super::signature::secret_seal::SecretSeal;
use crate::config::WebhookSettings;
use crate::http::auth::ApiKeyCache;
use crate::http::body::BodyCapacity;
use crate::postgres::Postgres;

/// What is needed to create and change subscriptions.
#[derive(Clone)]
pub(crate) struct WebhookManager {
    pub store: Postgres,
    pub settings: Arc<WebhookSettings>,
    pub rules: Arc<DestinationRules>,
    pub seal: Arc<SecretSeal>,
}

impl WebhookManager {
    pub(crate) fn new(store: &Postgres, settings: &WebhookSettings) -> Self {
        Self {
            store: store.clone(),
            rules: Arc::new(DestinationRules::new(settings)),
            seal: Arc::new(SecretSeal::new(&settings.keys)),
            settings: Arc::new(settings.clone()),
        }
    }
}

/// The state of the routes.
#[derive(Clone, FromRef)]
pub(crate) struct WebhookRoutesContext {
    pub store: Postgres,
    pub keys: ApiKeyCache,
    pub bodies: BodyCapacity,
    pub manager: WebhookManager,
}

impl WebhookRoutesContext {
    pub(crate) fn new(
        store: &Postgres,
        keys: &ApiKeyCache,
        bodies: &BodyCapacity,
        settings: &WebhookSettings,
    ) -> Self {
        Self {
            store: store.clone(),
            keys: keys.clone(),
            bodies: bodies.clone(),
            manager: WebhookManager::new(store, settings),
        }
    }
}

/// What the tasks need.
pub(crate) struct SendingContext {
    pub store: Postgres,
    pub settings: WebhookSettings,
    pub cursors: Cursors,
}
