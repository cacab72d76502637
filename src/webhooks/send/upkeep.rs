//! Lets messages of nodes that ended be claimed again, deletes what is kept no longer, and sets the gauges.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use metrics::gauge;
use uuid::Uuid;

use super::dispatcher::PendingLooks;
use crate::config::WebhookSettings;
use crate::lifecycle::Lifecycle;
use crate::postgres::{Postgres, StoreError, WebhookLag};
use crate::telemetry::names;

/// Interval of looking for expired leases, and of setting the gauges.
const INTERVAL: Duration = Duration::from_secs(5);
/// Interval of deleting what is kept no longer.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60);

/// Runs until the stop.
pub(crate) async fn run(
    store: Postgres,
    settings: WebhookSettings,
    looks: PendingLooks,
    lifecycle: Lifecycle,
) {
    let soft = lifecycle.soft().clone();
    let mut retained_at: Option<Instant> = None;
    let mut reported = BTreeSet::new();
    while !soft.is_cancelled() {
        let is_due = retained_at.is_none_or(|at| at.elapsed() >= RETENTION_INTERVAL);
        let step = step(&store, &settings, &looks, &mut reported, is_due);
        match soft.run_until_cancelled(step).await {
            Some(Ok(())) if is_due => retained_at = Some(Instant::now()),
            Some(Err(error)) => {
                tracing::debug!(error = %error, "the upkeep of webhooks is tried again: {error}");
            }
            _ => {}
        }
        soft.run_until_cancelled(tokio::time::sleep(INTERVAL)).await;
    }
}

async fn step(
    store: &Postgres,
    settings: &WebhookSettings,
    looks: &PendingLooks,
    reported: &mut BTreeSet<Uuid>,
    retains: bool,
) -> Result<(), StoreError> {
    looks.add(store.release_expired_webhook_messages().await?);
    report(&store.webhook_lags().await?, reported);
    if retains {
        while store.drop_old_webhook_messages(settings.retention).await? {}
        while store.delete_old_webhook_messages(settings.retention).await? {}
        while store.delete_messages_of_deleted_webhooks().await? {}
    }
    Ok(())
}

/// Of a thousand subscriptions only those that lagged have a series of their own, so that there are few.
fn report(lags: &[WebhookLag], reported: &mut BTreeSet<Uuid>) {
    let of_state = |state: &str| lags.iter().filter(|lag| lag.state == state).count() as f64;
    for state in ["pending", "active", "paused", "disabled"] {
        gauge!(names::WEBHOOK_SUBSCRIPTIONS, "state" => state).set(of_state(state));
    }
    let active = || lags.iter().filter(|lag| lag.state == "active");
    let open = active().filter(|lag| lag.is_circuit_open).count() as f64;
    gauge!(names::WEBHOOK_CIRCUITS_OPEN).set(open);
    let lagging: BTreeMap<Uuid, f64> =
        active().filter(|lag| lag.lag_seconds > 0.0).map(|lag| (lag.id, lag.lag_seconds)).collect();
    reported.extend(lagging.keys());
    for id in reported.iter() {
        let seconds = lagging.get(id).copied().unwrap_or_default();
        gauge!(names::WEBHOOK_LAG_SECONDS, "webhook" => id.to_string()).set(seconds);
    }
}
