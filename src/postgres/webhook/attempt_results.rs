//! Stores how attempts ended, and what that means for their subscriptions.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::postgres::column::column;
use crate::postgres::{Postgres, StoreError};

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AttemptResult {
    pub tenant: String,
    pub message: String,
    pub subscription: Uuid,
    /// Number of the attempt, from 1. `None`: none was made, because the message is dropped.
    pub number: Option<i32>,
    pub at: DateTime<Utc>,
    pub duration_ms: i32,
    /// `delivered`, `failed` or `gone`.
    pub outcome: &'static str,
    pub status: Option<i32>,
    pub error: Option<String>,
    pub answer: Option<String>,
    pub next: MessageStep,
}

impl AttemptResult {
    /// Leaves out what the receiver and the network said, which the store refuses.
    pub(crate) fn drop_texts(&mut self) {
        self.answer = None;
        self.error = self.error.as_ref().map(|_| "its text cannot be stored".to_owned());
    }
}

/// What becomes of a message after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MessageStep {
    Delivered,
    Retrying { due_at: DateTime<Utc> },
    Exhausted { reason: String },
    Dropped { reason: String },
}

impl MessageStep {
    fn state(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retrying { .. } => "retrying",
            Self::Exhausted { .. } => "exhausted",
            Self::Dropped { .. } => "dropped",
        }
    }

    fn due_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Retrying { due_at } => Some(*due_at),
            _ => None,
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Exhausted { reason } | Self::Dropped { reason } => Some(reason),
            _ => None,
        }
    }
}

/// What attempts of a batch say about a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceiverHealth {
    pub subscription: Uuid,
    /// An attempt was delivered.
    pub was_reached: bool,
    /// Failed attempts since the last one that was delivered, of this batch.
    pub failures: i32,
    /// The receiver asked for nothing until then.
    pub not_before: Option<DateTime<Utc>>,
}

/// When the circuit of a subscription opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CircuitPolicy {
    /// Consecutive failures that open it.
    pub failures: i32,
    /// The first interval; it doubles with each further failure.
    pub min: Duration,
    pub max: Duration,
}

/// The failures of a subscription after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct FailureCount {
    pub id: Uuid,
    pub consecutive_failures: i32,
}

impl Postgres {
    /// Stores the results of attempts whose leases this node still holds. Every attempt is kept.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn store_webhook_results(
        &self,
        owner: &str,
        results: &[AttemptResult],
    ) -> Result<(), StoreError> {
        sqlx::query(STORE_RESULTS)
            .bind(owner)
            .bind(column(results, |it| it.tenant.as_str()))
            .bind(column(results, |it| it.message.as_str()))
            .bind(column(results, |it| it.number))
            .bind(column(results, |it| it.at))
            .bind(column(results, |it| it.duration_ms))
            .bind(column(results, |it| it.outcome))
            .bind(column(results, |it| it.status))
            .bind(column(results, |it| it.error.as_deref()))
            .bind(column(results, |it| it.answer.as_deref()))
            .bind(column(results, |it| it.next.state()))
            .bind(column(results, |it| it.next.due_at()))
            .bind(column(results, |it| it.next.reason()))
            .execute(&self.webhooks)
            .await?;
        Ok(())
    }

    /// Stores what attempts say about subscriptions: opens and closes circuits.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn store_webhook_health(
        &self,
        health: &[ReceiverHealth],
        circuit: CircuitPolicy,
    ) -> Result<Vec<FailureCount>, StoreError> {
        Ok(sqlx::query_as(UPDATE_HEALTH)
            .bind(column(health, |it| it.subscription))
            .bind(column(health, |it| it.was_reached))
            .bind(column(health, |it| it.failures))
            .bind(column(health, |it| it.not_before))
            .bind(circuit.failures)
            .bind(circuit.min)
            .bind(circuit.max)
            .fetch_all(&self.webhooks)
            .await?)
    }
}

statements! {
    const STORE_RESULTS: &str =
        "with result as materialized (
             select * from unnest($2::text[], $3::text[], $4::int[], $5::timestamptz[], $6::int[], $7::text[], $8::int[], $9::text[],
                 $10::text[], $11::text[], $12::timestamptz[], $13::text[])
                 as _ (tenant, message, number, at, duration_ms, outcome, status, error, answer, state, due_at, reason)),
         kept as (
             insert into webhook_attempt (tenant, message, number, at, duration_ms, outcome, status, error, answer)
             select tenant, message, number, at, duration_ms, outcome, status, error, answer from result where number is not null
             on conflict do nothing)
         update webhook_message as message
         set state = result.state, due_at = result.due_at, reason = result.reason, owner = null, lease_until = null,
             step = message.step + (result.outcome <> 'delivered')::int, attempts = message.attempts - (result.number is null)::int,
             finished_at = case when result.state <> 'retrying' then now() end
         from result
         where message.tenant = result.tenant and message.id = result.message and message.state = 'in_flight' and message.owner = $1";

    /// Rows are locked in the order of their ids, so that two nodes do not wait for each other.
    const UPDATE_HEALTH: &str =
        "with health as materialized (
             select * from unnest($1::uuid[], $2::boolean[], $3::int[], $4::timestamptz[]) as _ (id, was_reached, failures, not_before)),
         locked as materialized (
             select subscription.id, health.was_reached, health.not_before, health.failures as added,
                 case when health.was_reached then 0 else subscription.consecutive_failures end + health.failures as failures
             from webhook_subscription as subscription join health using (id)
             order by subscription.id
             for no key update of subscription)
         update webhook_subscription as subscription
         set consecutive_failures = locked.failures,
             failed_at = case when locked.added > 0 then now() else subscription.failed_at end,
             circuit_until = greatest(
                 case when locked.failures >= $5 then now() + least($7::interval, $6::interval * power(2, least(locked.failures - $5, 20))) end,
                 locked.not_before)
         from locked where subscription.id = locked.id
         returning subscription.id, subscription.consecutive_failures";
}
