//! Claims messages that are due, and makes their attempts, at most `webhooks.max_in_flight` at a time.
//!
//! # Why
//!
//! Messages are claimed by subscription, so one that is slow or has very many waiting delays no other: it has as
//! many attempts at a time as its limit says, and one if the last attempt failed. A notification names the
//! subscriptions with new messages; what no notification announced (a retry, a lost connection) is found by
//! asking each second.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::attempt::{AttemptContext, EndedAttempt, attempt};
use super::endpoints::Endpoints;
use crate::lifecycle::Lifecycle;
use crate::postgres::{MAX_CLAIMED_SUBSCRIPTIONS, Postgres, StoreError, WebhookNotification};

/// Interval at which the store is asked for subscriptions with messages that are due.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Time after which a lost connection for notifications is opened again.
const LISTEN_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Time by which a lease is longer than the timeout of an attempt.
const LEASE_RESERVE: Duration = Duration::from_secs(20);
/// Maximum messages of one claim.
const MAX_CLAIM: usize = 512;

/// The subscriptions that may have messages that are due.
#[derive(Clone, Default)]
pub(crate) struct PendingLooks {
    subscriptions: Arc<Mutex<BTreeSet<Uuid>>>,
    added: Arc<Notify>,
}

impl PendingLooks {
    /// Adds subscriptions, and wakes the dispatcher.
    pub(crate) fn add(&self, ids: impl IntoIterator<Item = Uuid>) {
        let mut subscriptions = self.lock();
        let before = subscriptions.len();
        subscriptions.extend(ids);
        if subscriptions.len() > before {
            self.added.notify_one();
        }
    }

    /// Takes the next ones, after `last`, and then from the beginning, so that each has its turn.
    fn take(&self, last: Option<Uuid>, max: usize) -> Vec<Uuid> {
        let mut subscriptions = self.lock();
        let after = last.map_or(Uuid::nil(), |last| last);
        let mut taken: Vec<Uuid> = subscriptions.range(after..).take(max).copied().collect();
        let more = max - taken.len();
        taken.extend(subscriptions.range(..after).take(more).copied().collect::<Vec<_>>());
        for id in &taken {
            subscriptions.remove(id);
        }
        taken
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<Uuid>> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the notifications of new messages, until the stop.
pub(crate) async fn listen(store: Postgres, looks: PendingLooks, lifecycle: Lifecycle) {
    let soft = lifecycle.soft().clone();
    while !soft.is_cancelled() {
        if let Some(Err(error)) = soft.run_until_cancelled(listen_once(&store, &looks)).await {
            tracing::debug!(error = %error, "webhooks are not notified, and ask each second: {error}");
            soft.run_until_cancelled(tokio::time::sleep(LISTEN_RETRY_INTERVAL)).await;
        }
    }
}

async fn listen_once(store: &Postgres, looks: &PendingLooks) -> Result<(), StoreError> {
    let mut listener = store.listen_to_webhooks().await?;
    loop {
        match listener.notified().await? {
            WebhookNotification::Of(ids) => looks.add(ids),
            WebhookNotification::Any => looks.add(store.webhooks_with_due_messages().await?),
        }
    }
}

/// Claims messages and makes attempts.
pub(crate) struct Dispatcher {
    pub store: Postgres,
    pub context: Arc<AttemptContext>,
    pub endpoints: Endpoints,
    pub looks: PendingLooks,
    /// Takes how attempts ended.
    pub ended: mpsc::Sender<EndedAttempt>,
    /// The holder of the leases of this node.
    pub owner: String,
    pub lifecycle: Lifecycle,
}

impl Dispatcher {
    /// Runs until the stop, and then until the attempts in progress have ended.
    pub(crate) async fn run(mut self) {
        let soft = self.lifecycle.soft().clone();
        let mut attempts: JoinSet<()> = JoinSet::new();
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = None;
        loop {
            tokio::select! {
                () = soft.cancelled() => break,
                _ = look.tick() => match self.store.webhooks_with_due_messages().await {
                    Ok(due) => self.looks.add(due),
                    Err(error) => {
                        tracing::debug!(error = %error, "which webhooks are due is not known: {error}");
                    }
                },
                () = self.looks.added.notified() => {}
                Some(_) = attempts.join_next(), if !attempts.is_empty() => {}
            }
            while attempts.try_join_next().is_some() {}
            while let Some(free) =
                self.context.settings.max_in_flight.checked_sub(attempts.len()).filter(|it| *it > 0)
            {
                let taken = self.looks.take(last, MAX_CLAIMED_SUBSCRIPTIONS);
                let Some(newest) = taken.last() else { break };
                last = Some(*newest);
                if let Err(error) = self.claim(&taken, free, &mut attempts).await {
                    tracing::debug!(error = %error, "no message of a webhook is claimed: {error}");
                    break;
                }
            }
        }
        while attempts.join_next().await.is_some() {}
    }

    /// Claims messages of these subscriptions, and begins their attempts.
    async fn claim(
        &mut self,
        subscriptions: &[Uuid],
        free: usize,
        attempts: &mut JoinSet<()>,
    ) -> Result<(), StoreError> {
        let lease = self.context.settings.timeout + LEASE_RESERVE;
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let limit = number(free.min(MAX_CLAIM));
        let limit_of_each = number(limit_of_each(free, self.context.settings.max_in_flight));
        let claimed = self
            .store
            .claim_webhook_messages(subscriptions, &self.owner, lease, limit, limit_of_each)
            .await?;
        self.endpoints.read(&self.store, &claimed).await?;
        // The limit of the claim may have left some out.
        if claimed.len() == usize::try_from(limit).unwrap_or(usize::MAX) {
            self.looks.add(subscriptions.iter().copied());
        }
        for message in claimed {
            let endpoint = self.endpoints.get(message.subscription);
            let (context, ended) = (Arc::clone(&self.context), self.ended.clone());
            attempts.spawn(async move {
                let chance = rand::random::<f64>();
                let attempt = attempt(&context, message, endpoint, chance).await;
                // The recorder ends after the last sender.
                let _ = ended.send(attempt).await;
            });
        }
        Ok(())
    }
}

/// Maximum messages of one subscription in a claim. When few attempts are left, each subscription has one, so that
/// many receivers that hang leave some to the others until their circuits are open.
fn limit_of_each(free: usize, max_in_flight: usize) -> usize {
    if free > max_in_flight / 4 { MAX_CLAIM } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_few_attempts_are_left_each_subscription_has_one() {
        assert_eq!(limit_of_each(1_000, 1_000), MAX_CLAIM);
        assert_eq!(limit_of_each(251, 1_000), MAX_CLAIM);
        assert_eq!(limit_of_each(250, 1_000), 1);
        assert_eq!(limit_of_each(1, 1), MAX_CLAIM);
    }

    #[test]
    fn each_subscription_has_its_turn() {
        let looks = PendingLooks::default();
        let id = |number: u128| Uuid::from_u128(number);
        looks.add((1..=5).map(id));
        assert_eq!(looks.take(None, 2), [id(1), id(2)]);
        looks.add([id(1)]);
        assert_eq!(looks.take(Some(id(2)), 3), [id(3), id(4), id(5)]);
        assert_eq!(looks.take(Some(id(5)), 3), [id(1)]);
        assert!(looks.take(Some(id(1)), 3).is_empty());
    }
}
