//! Publishes messages to Kafka; writes what Kafka does not confirm to the spool.

use chrono::{DateTime, Utc};
use metrics::counter;

use crate::failpoint;
use crate::kafka::{Publication, PublishRoute, Publisher, WireMessage};
use crate::lifecycle::Lifecycle;
use crate::postgres::Postgres;
use crate::telemetry::names;

/// Neither store has the messages: the sender must try again.
#[derive(Debug, thiserror::Error)]
#[error("neither kafka nor postgres took the messages")]
pub struct NotDurable;

/// Makes messages durable: in Kafka, else in the spool.
#[derive(Clone)]
pub struct DurablePublisher {
    publisher: Publisher,
    store: Postgres,
    lifecycle: Lifecycle,
}

impl DurablePublisher {
    /// Combines the two stores.
    #[must_use]
    pub fn new(publisher: Publisher, store: Postgres, lifecycle: Lifecycle) -> Self {
        Self { publisher, store, lifecycle }
    }

    /// Makes all messages durable, in a task of its own that ends even if the caller is dropped.
    ///
    /// # Errors
    ///
    /// [`NotDurable`]; some of the messages may be stored all the same.
    pub async fn publish(
        &self,
        messages: Vec<WireMessage>,
        now: DateTime<Utc>,
    ) -> Result<(), NotDurable> {
        let publisher = self.clone();
        let published = self
            .lifecycle
            .run_to_completion(async move { publisher.publish_in_place(messages, now).await });
        published.await.unwrap_or(Err(NotDurable))
    }

    /// Makes all messages durable in the task of the caller, which must not be dropped meanwhile:
    /// [`Lifecycle::run_to_completion`] runs it.
    ///
    /// # Why
    ///
    /// A delivery has such a task already; a second one for each delivery costs time.
    ///
    /// # Errors
    ///
    /// [`NotDurable`]; some of the messages may be stored all the same.
    pub async fn publish_in_place(
        &self,
        messages: Vec<WireMessage>,
        now: DateTime<Utc>,
    ) -> Result<(), NotDurable> {
        if messages.is_empty() {
            return Ok(());
        }
        let unconfirmed = match self.publisher.next_route() {
            PublishRoute::Kafka => {
                let unconfirmed = self.publish_to_kafka(messages).await;
                failpoint::reached("publish-confirmed");
                if unconfirmed.is_empty() || self.spool(&unconfirmed, now).await.is_ok() {
                    return Ok(());
                }
                unconfirmed
            }
            route @ (PublishRoute::Spool | PublishRoute::SpoolAndProbe) => {
                if route == PublishRoute::SpoolAndProbe {
                    self.probe(messages.first().cloned());
                }
                if self.spool(&messages, now).await.is_ok() {
                    return Ok(());
                }
                // The spool failed, so Kafka is tried although the circuit breaker is open: its
                // state may be outdated.
                self.publish_to_kafka(messages).await
            }
        };
        if unconfirmed.is_empty() {
            return Ok(());
        }
        count_messages("none", unconfirmed.len());
        Err(NotDurable)
    }

    /// Tries Kafka in the background with a message that goes to the spool as well.
    fn probe(&self, message: Option<WireMessage>) {
        let publisher = self.publisher.clone();
        self.lifecycle.run_to_completion(async move {
            // The publisher reports the result to the circuit breaker, and the spool has the message.
            let _ = publisher.publish(message.as_slice()).await;
        });
    }

    /// Returns the messages that Kafka did not confirm.
    async fn publish_to_kafka(&self, messages: Vec<WireMessage>) -> Vec<WireMessage> {
        let publications = self.publisher.publish(&messages).await;
        let total = messages.len();
        let reported = messages.into_iter().zip(publications);
        let unconfirmed =
            reported.filter(|(_, publication)| *publication != Publication::Confirmed);
        let unconfirmed: Vec<WireMessage> = unconfirmed.map(|(message, _)| message).collect();
        count_messages("kafka", total - unconfirmed.len());
        unconfirmed
    }

    async fn spool(&self, messages: &[WireMessage], now: DateTime<Utc>) -> Result<(), NotDurable> {
        let mut rows = Vec::with_capacity(messages.len());
        for message in messages {
            let body = serde_json::to_vec(message).map_err(|_| NotDurable)?;
            // The tenant of a spool row is informative only: the message has its own header.
            let tenant = message.header("ce_tenant").unwrap_or_default().to_owned();
            rows.push((tenant, body));
        }
        // Boxed, because this future is large and rare: otherwise each delivery has room for it.
        Box::pin(self.store.spool(&rows, now)).await.map_err(|error| {
            tracing::warn!(error = %error, "the spool does not take messages: {error}");
            NotDurable
        })?;
        failpoint::reached("publish-spooled");
        count_messages("spool", messages.len());
        Ok(())
    }
}

fn count_messages(destination: &'static str, messages: usize) {
    counter!(names::PUBLISH_MESSAGES, "destination" => destination).increment(messages as u64);
}
