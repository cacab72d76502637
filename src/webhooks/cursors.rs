//! The cursors of notices: those of a stream of everything, so that a receiver may go on with a stream.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::http::subscriber_token::SubscriberTokens;
use crate::kafka::{KafkaClientConfig, Publisher, Topic, log_incarnation};
use crate::lifecycle::Lifecycle;
use crate::live::fanout::subscriber::SubscriptionScope;
use crate::streams::cursor::CursorCodec;
use onrecord_evidence::event::ids::Tenant;

/// Interval at which the incarnation of the log is read until it is known.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Interval at which it is read again.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);

/// Writes cursors.
#[derive(Clone)]
pub(crate) struct Cursors {
    tokens: SubscriberTokens,
    incarnation: Arc<RwLock<Option<String>>>,
}

impl Cursors {
    /// Without the incarnation of the log, messages have no cursor.
    pub(crate) fn new(tokens: &SubscriberTokens) -> Self {
        Self { tokens: tokens.clone(), incarnation: Arc::default() }
    }

    /// Reads the incarnation of the log, until the stop.
    pub(crate) fn follow_log(
        &self,
        connection: &KafkaClientConfig,
        publisher: &Publisher,
        lifecycle: &Lifecycle,
    ) {
        let (publisher, cursors) = (publisher.clone(), self.clone());
        let topic = connection.topic(Topic::Events);
        let soft = lifecycle.soft().clone();
        lifecycle.run("webhook cursors", async move {
            while !soft.is_cancelled() {
                let interval = match publisher.cluster_id().await {
                    Some(cluster) => {
                        let incarnation = log_incarnation(&topic, &cluster);
                        let mut kept =
                            cursors.incarnation.write().unwrap_or_else(PoisonError::into_inner);
                        *kept = Some(incarnation);
                        REFRESH_INTERVAL
                    }
                    None => RETRY_INTERVAL,
                };
                soft.run_until_cancelled(tokio::time::sleep(interval)).await;
            }
        });
    }

    /// The cursor at an instant of the log; `None` while the log is not known.
    pub(crate) fn cursor(&self, tenant: &str, at: DateTime<Utc>) -> Option<String> {
        let incarnation =
            self.incarnation.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        let tenant = Tenant::parse(tenant).ok()?;
        let scope = SubscriptionScope::Everything;
        let codec = CursorCodec::new(&self.tokens, &incarnation, &tenant, &scope);
        Some(codec.write(at.timestamp_millis(), None))
    }
}
