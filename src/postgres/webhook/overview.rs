//! What metrics and the doctor state of outbound webhooks.

use uuid::Uuid;

use crate::postgres::{Postgres, StoreError};

/// The state of one subscription, for metrics.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub(crate) struct WebhookLag {
    pub id: Uuid,
    pub tenant: String,
    pub state: String,
    /// The age of the message that is due for longest, in seconds; 0: none is.
    pub lag_seconds: f64,
    pub is_circuit_open: bool,
}

impl Postgres {
    /// The state of each subscription.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn webhook_lags(&self) -> Result<Vec<WebhookLag>, StoreError> {
        Ok(sqlx::query_as(SELECT_LAGS).fetch_all(&self.webhooks).await?)
    }
}

statements! {
    const SELECT_LAGS: &str =
        "select subscription.id, subscription.tenant, subscription.state,
             coalesce(extract(epoch from now() - waiting.due_at), 0)::double precision as lag_seconds,
             coalesce(subscription.circuit_until > now(), false) as is_circuit_open
         from webhook_subscription as subscription
         left join lateral (
             select min(message.due_at) as due_at from webhook_message as message
             where message.subscription = subscription.id and message.target = 'url'
                 and message.state in ('due', 'retrying') and message.due_at <= now()) as waiting on true
         where subscription.state <> 'deleted'
         order by subscription.id";
}
