//! Stores how attempts ended, in batches; opens and closes circuits, and disables subscriptions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::attempt::EndedAttempt;
use super::dispatcher::PendingLooks;
use crate::clock;
use crate::config::WebhookSettings;
use crate::failpoint;
use crate::lifecycle::Lifecycle;
use crate::postgres::{
    AttemptResult, CircuitPolicy, MessageStep, Postgres, ReceiverHealth, StoreError,
};
use crate::telemetry::{LogLimiter, names};
use onrecord_evidence::event::ids::Tenant;

/// Maximum results of one transaction.
const MAX_BATCH: usize = 512;
/// Interval between two log lines about results that cannot be stored.
pub(crate) const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Interval between two attempts to store results.
const RETRY_INTERVAL: Duration = Duration::from_millis(300);

/// Stores results.
pub(crate) struct Recorder {
    pub store: Postgres,
    pub settings: WebhookSettings,
    pub looks: PendingLooks,
    pub owner: String,
    pub lifecycle: Lifecycle,
    pub log: LogLimiter<&'static str>,
}

impl Recorder {
    /// Runs until the last attempt of the node has ended.
    pub(crate) async fn run(self, mut ended: mpsc::Receiver<EndedAttempt>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while ended.recv_many(&mut batch, MAX_BATCH).await > 0 {
            self.store_batch(&batch).await;
            batch.clear();
        }
        // A task goes on until the stop.
        self.lifecycle.soft().cancelled().await;
    }

    async fn store_batch(&self, batch: &[EndedAttempt]) {
        report(batch);
        let mut results: Vec<_> = batch.iter().map(|ended| ended.result.clone()).collect();
        failpoint::reached("webhook-before-result");
        // Until it succeeds: what is delivered and not stored is sent again by the next node.
        while let Err(error) = self.store.store_webhook_results(&self.owner, &results).await {
            if self.log.allows("results", Instant::now()) {
                tracing::warn!(error = %error, "results of webhooks are stored later: {error}");
            }
            if matches!(error, StoreError::Content(_)) {
                // A text of one receiver must not keep the results of the others.
                results.iter_mut().for_each(AttemptResult::drop_texts);
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        if let Err(error) = self.store_consequences(batch).await {
            // The next failure of the receiver has the same consequences.
            tracing::debug!(error = %error, "the circuit of a webhook stays as it was: {error}");
        }
        self.looks.add(batch.iter().map(|ended| ended.result.subscription));
    }

    async fn store_consequences(&self, batch: &[EndedAttempt]) -> Result<(), StoreError> {
        for ended in batch.iter().filter(|ended| ended.is_challenge) {
            let id = ended.result.subscription;
            match &ended.answered_challenge {
                Some(challenge) => {
                    if self.store.activate_webhook(id, challenge).await? {
                        tracing::info!(webhook.id = %id, "the webhook {id} answered its challenge, and is active");
                    }
                }
                None => {
                    let reason = ended.result.error.as_deref().unwrap_or_default();
                    self.store.note_pending_webhook(id, reason).await?;
                }
            }
        }
        for ended in batch.iter().filter(|ended| ended.is_of_url && ended.result.outcome == "gone")
        {
            self.disable(
                &ended.result.tenant,
                ended.result.subscription,
                "the receiver answered 410",
            )
            .await?;
        }
        let health = health(batch);
        if health.is_empty() {
            return Ok(());
        }
        let policy = CircuitPolicy {
            failures: self.settings.circuit_failures,
            min: self.settings.circuit_min,
            max: self.settings.circuit_max,
        };
        for counted in self.store.store_webhook_health(&health, policy).await? {
            if counted.consecutive_failures < self.settings.disable_after {
                continue;
            }
            let last = batch.iter().rfind(|ended| ended.result.subscription == counted.id);
            let Some(last) = last else { continue };
            let reason = format!(
                "{} attempts in succession failed, the last one: {}",
                counted.consecutive_failures,
                last.result.error.as_deref().unwrap_or("no answer")
            );
            self.disable(&last.result.tenant, counted.id, &reason).await?;
        }
        Ok(())
    }

    async fn disable(&self, tenant: &str, id: Uuid, reason: &str) -> Result<(), StoreError> {
        let tenant = Tenant::parse(tenant).map_err(|error| {
            StoreError::Inconsistent(format!("the webhook {id} has no tenant: {error}"))
        })?;
        let now = clock::now();
        let disabled = self.store.disable_webhook(&tenant, id, Uuid::now_v7(), reason, now).await?;
        if let Some(counts) = disabled {
            counts.report();
            tracing::warn!(webhook.id = %id, "the webhook {id} is disabled: {reason}");
        }
        Ok(())
    }
}

fn report(batch: &[EndedAttempt]) {
    for ended in batch {
        counter!(names::WEBHOOK_ATTEMPTS, "outcome" => ended.result.outcome).increment(1);
        if ended.result.number.is_some() {
            let seconds = f64::from(ended.result.duration_ms) / 1_000.0;
            histogram!(names::WEBHOOK_ATTEMPT_SECONDS).record(seconds);
        }
        if matches!(ended.result.outcome, "failed" | "gone") {
            let webhook = ended.result.subscription.to_string();
            counter!(names::WEBHOOK_FAILURES, "webhook" => webhook).increment(1);
        }
        if let Some(seconds) = ended.delay_seconds {
            histogram!(names::WEBHOOK_DELAY_SECONDS).record(seconds);
        }
        if matches!(ended.result.next, MessageStep::Exhausted { .. }) {
            counter!(names::WEBHOOKS_EXHAUSTED).increment(1);
        }
    }
}

/// What a batch says about each subscription. Nothing, if all was delivered and nothing had failed before.
fn health(batch: &[EndedAttempt]) -> Vec<ReceiverHealth> {
    let mut by_subscription: BTreeMap<Uuid, (ReceiverHealth, bool)> = BTreeMap::new();
    for ended in batch.iter().filter(|ended| ended.is_of_url) {
        let id = ended.result.subscription;
        let (health, matters) = by_subscription.entry(id).or_insert_with(|| {
            let unknown = ReceiverHealth {
                subscription: id,
                was_reached: false,
                failures: 0,
                not_before: None,
            };
            (unknown, false)
        });
        *matters |= ended.known_failures > 0;
        if ended.result.outcome == "delivered" {
            *health = ReceiverHealth { was_reached: true, failures: 0, ..health.clone() };
        } else {
            *matters = true;
            health.failures += 1;
        }
        health.not_before = health.not_before.max(ended.not_before);
    }
    let mattering = by_subscription.into_values().filter(|(_, matters)| *matters);
    mattering.map(|(health, _)| health).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(subscription: u128, outcome: &'static str, known_failures: i32) -> EndedAttempt {
        EndedAttempt {
            is_of_url: true,
            known_failures,
            not_before: None,
            answered_challenge: None,
            is_challenge: false,
            delay_seconds: None,
            result: AttemptResult {
                tenant: "contoso".to_owned(),
                message: "m".to_owned(),
                subscription: Uuid::from_u128(subscription),
                number: Some(1),
                at: clock::now(),
                duration_ms: 1,
                outcome,
                status: None,
                error: None,
                answer: None,
                next: MessageStep::Delivered,
            },
        }
    }

    fn summary(batch: &[EndedAttempt]) -> Vec<(u128, bool, i32)> {
        let health = health(batch).into_iter();
        health.map(|it| (it.subscription.as_u128(), it.was_reached, it.failures)).collect()
    }

    #[test]
    fn a_batch_counts_the_failures_after_the_last_delivery() {
        let batch = [
            ended(1, "failed", 0),
            ended(1, "delivered", 0),
            ended(1, "failed", 0),
            ended(2, "failed", 3),
            ended(2, "failed", 3),
            ended(3, "delivered", 2),
        ];
        assert_eq!(summary(&batch), [(1, true, 1), (2, false, 2), (3, true, 0)]);
    }

    #[test]
    fn a_receiver_that_works_costs_no_write() {
        assert_eq!(summary(&[ended(1, "delivered", 0), ended(1, "delivered", 0)]), []);
    }
}
