//! Notifications of new messages.

use sqlx::postgres::PgListener;
use uuid::Uuid;

use crate::postgres::{Postgres, StoreError};

const CHANNEL: &str = "onrecord_webhooks";

/// Which subscriptions have new messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WebhookNotification {
    Of(Vec<Uuid>),
    /// Any of them may.
    Any,
}

/// Notifications of messages that any node makes.
pub(crate) struct WebhookListener(PgListener);

impl WebhookListener {
    /// Waits for the next notification.
    ///
    /// # Errors
    ///
    /// The connection is lost: open another listener.
    pub(crate) async fn notified(&mut self) -> Result<WebhookNotification, StoreError> {
        let notification = self.0.recv().await?;
        Ok(parse(notification.payload()))
    }
}

fn parse(payload: &str) -> WebhookNotification {
    let ids: Result<Vec<Uuid>, _> = payload.split_whitespace().map(Uuid::try_parse).collect();
    match ids {
        Ok(ids) if !ids.is_empty() => WebhookNotification::Of(ids),
        _ => WebhookNotification::Any,
    }
}

impl Postgres {
    /// Listens to notifications of new messages.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn listen_to_webhooks(&self) -> Result<WebhookListener, StoreError> {
        let connected = async {
            let connection = self.single_connection("onrecord-webhooks").await?;
            let mut listener = PgListener::connect_with(&connection).await?;
            // A reconnect without an error would hide the messages made meanwhile.
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        Ok(WebhookListener(self.pool.with_timeout(connected).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_without_ids_stands_for_all_subscriptions() {
        let id = Uuid::now_v7();
        let both = format!("{id} {id}");
        assert_eq!(parse(&both), WebhookNotification::Of(vec![id, id]));
        for unnamed in ["", "x", &format!("{id} x")] {
            assert_eq!(parse(unnamed), WebhookNotification::Any, "{unnamed}");
        }
    }
}
