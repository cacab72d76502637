//! Publish, else spool.

use chrono::{DateTime, Utc};
use metrics::counter;

use crate::failpoint;
use crate::lifecycle::Lifecycle;
use crate::store::Store;
use crate::stream::{Publication, Publisher, Way, WireMessage};
use crate::telemetry::names;

/// Neither store has it: the sender must try again.
#[derive(Debug, thiserror::Error)]
#[error("neither kafka nor postgres took the messages")]
pub struct NeitherStore;

/// Publishes, else spools.
#[derive(Clone)]
pub struct Road {
    publisher: Publisher,
    store: Store,
    lifecycle: Lifecycle,
}

impl Road {
    /// Lays the road.
    #[must_use]
    pub fn new(publisher: Publisher, store: Store, lifecycle: Lifecycle) -> Self {
        Self {
            publisher,
            store,
            lifecycle,
        }
    }

    /// Makes all messages durable. Runs to its end even if the caller is dropped meanwhile.
    ///
    /// # Errors
    ///
    /// [`NeitherStore`]; some of the messages may be stored all the same.
    pub async fn take(
        &self,
        messages: Vec<WireMessage>,
        now: DateTime<Utc>,
    ) -> Result<(), NeitherStore> {
        let road = self.clone();
        let taken = self
            .lifecycle
            .finish(async move { road.carry(messages, now).await });
        taken.await.unwrap_or(Err(NeitherStore))
    }

    /// The same for a caller that is not dropped meanwhile, because [`Lifecycle::finish`] runs it:
    /// a task for each delivery is enough.
    ///
    /// # Errors
    ///
    /// [`NeitherStore`]; some of the messages may be stored all the same.
    pub async fn carry(
        &self,
        messages: Vec<WireMessage>,
        now: DateTime<Utc>,
    ) -> Result<(), NeitherStore> {
        if messages.is_empty() {
            return Ok(());
        }
        match self.publisher.way() {
            Way::Kafka => {
                let rest = self.publish(messages).await;
                failpoint::reached("road-published");
                if rest.is_empty() {
                    return Ok(());
                }
                let spooled = self.spool(&rest, now).await;
                if spooled.is_err() {
                    refused(rest.len());
                }
                spooled
            }
            way @ (Way::Spool | Way::SpoolAndProbe) => {
                if way == Way::SpoolAndProbe {
                    self.probe(messages.first().cloned());
                }
                if self.spool(&messages, now).await.is_ok() {
                    return Ok(());
                }
                // The breaker may be wrong by now, and there is no other way left.
                let rest = self.publish(messages).await;
                if rest.is_empty() {
                    return Ok(());
                }
                refused(rest.len());
                Err(NeitherStore)
            }
        }
    }

    /// Tries Kafka with a message that goes to the spool as well; nobody waits for it.
    fn probe(&self, message: Option<WireMessage>) {
        let publisher = self.publisher.clone();
        self.lifecycle.finish(async move {
            let _known_to_the_breaker = publisher.publish(message.as_slice()).await;
        });
    }

    /// Returns what Kafka did not confirm.
    async fn publish(&self, messages: Vec<WireMessage>) -> Vec<WireMessage> {
        let publications = self.publisher.publish(&messages).await;
        let all = messages.len();
        let rest: Vec<WireMessage> = messages
            .into_iter()
            .zip(publications)
            .filter_map(|(message, publication)| {
                (publication != Publication::Confirmed).then_some(message)
            })
            .collect();
        counter!(names::ROAD, "way" => "kafka").increment((all - rest.len()) as u64);
        rest
    }

    async fn spool(
        &self,
        messages: &[WireMessage],
        now: DateTime<Utc>,
    ) -> Result<(), NeitherStore> {
        let mut rows = Vec::with_capacity(messages.len());
        for message in messages {
            let body = serde_json::to_vec(message).map_err(|_| NeitherStore)?;
            rows.push((
                message.header("ce_tenant").unwrap_or_default().to_owned(),
                body,
            ));
        }
        // It is rare and large: by itself, so that not each delivery has room for it.
        match Box::pin(self.store.spool(&rows, now)).await {
            Ok(()) => {
                failpoint::reached("road-spooled");
                counter!(names::ROAD, "way" => "spool").increment(messages.len() as u64);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(error = %error, "the spool does not take messages: {error}");
                Err(NeitherStore)
            }
        }
    }
}

fn refused(messages: usize) {
    counter!(names::ROAD, "way" => "neither").increment(messages as u64);
}
