//! Makes the messages of events, in the transaction that makes the events true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::postgres::{Postgres, StoreError};

/// Time after which a new subscription gets its challenge: longer than the tenants with subscriptions are
/// remembered, so that an active one misses no event.
pub(super) const CHALLENGE_DELAY: Duration = Duration::from_millis(1_500);

/// The tenants that have subscriptions.
#[derive(Clone, Debug)]
pub enum SubscribedTenants {
    Known(Arc<BTreeSet<String>>),
    /// The store did not answer.
    Unknown,
}

impl SubscribedTenants {
    /// Whether a tenant may have a subscription.
    #[must_use]
    pub fn may_have(&self, tenant: &str) -> bool {
        match self {
            Self::Known(tenants) => tenants.contains(tenant),
            Self::Unknown => true,
        }
    }
}

/// An event for the subscriptions of a tenant. The store decides which of them want it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NewWebhookEvent {
    /// Unique in its tenant.
    pub id: String,
    #[serde(rename = "type")]
    pub name: String,
    pub call: Option<String>,
    pub occurred_at: DateTime<Utc>,
    /// The instant of the fact that decided a notice; `None`: the event is no notice.
    pub decided_at: Option<DateTime<Utc>>,
    /// The instant of the log to which its cursor leads.
    pub log_at: Option<DateTime<Utc>>,
    /// The notice cannot be announced any more (`NO_STALE_CHANGE`).
    pub is_stale: bool,
    pub apps: Vec<String>,
    pub call_kind: Option<&'static str>,
    pub exception_kind: Option<&'static str>,
    pub severity: Option<&'static str>,
    /// Ids and levels.
    pub data: Value,
    /// What a subscription of full content gets besides.
    pub more: Value,
}

/// What is stored of a call before it is projected again.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct CallBefore {
    pub call: String,
    pub recording: String,
    pub recording_stale: bool,
    pub transcription: String,
    pub transcription_stale: bool,
    pub ended_at: Option<DateTime<Utc>>,
    pub next_evaluation_at: Option<DateTime<Utc>>,
    pub verdict: Option<String>,
}

impl Postgres {
    /// The tenants that have subscriptions, as read within the last second.
    pub async fn subscribed_tenants(&self) -> SubscribedTenants {
        if let Some(tenants) = self.webhook_tenants.get() {
            return SubscribedTenants::Known(tenants);
        }
        let read_at = Instant::now();
        let read: Result<Vec<String>, sqlx::Error> =
            sqlx::query_scalar(SELECT_SUBSCRIBED_TENANTS).fetch_all(&self.pool).await;
        match read {
            Ok(tenants) => {
                let tenants = Arc::new(tenants.into_iter().collect());
                self.webhook_tenants.set(read_at, Arc::clone(&tenants));
                SubscribedTenants::Known(tenants)
            }
            Err(error) => {
                tracing::debug!(error = %error, "which tenants have webhooks is not known: {error}");
                SubscribedTenants::Unknown
            }
        }
    }
}

/// What is stored of these calls, by call. A call that is new has nothing.
///
/// # Errors
///
/// [`StoreError`].
pub async fn calls_before(
    connection: &mut PgConnection,
    tenant: &str,
    calls: &[&str],
) -> Result<BTreeMap<String, CallBefore>, StoreError> {
    let query = sqlx::query_as(SELECT_CALLS_BEFORE).bind(tenant).bind(calls);
    let rows: Vec<CallBefore> = query.fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.call.clone(), row)).collect())
}

/// Makes a message of each event for each subscription that wants it. One that exists stays as it is.
///
/// # Errors
///
/// [`StoreError`].
pub async fn make_webhook_messages(
    connection: &mut PgConnection,
    tenant: &str,
    events: &[NewWebhookEvent],
) -> Result<(), StoreError> {
    if !events.is_empty() {
        sqlx::query(MAKE_MESSAGES).bind(tenant).bind(Json(events)).execute(connection).await?;
    }
    Ok(())
}

statements! {
    const SELECT_SUBSCRIBED_TENANTS: &str = "select distinct tenant from webhook_subscription where state <> 'deleted'";

    const SELECT_CALLS_BEFORE: &str =
        "select found.*, (
             select verdict.verdict from verdict where verdict.tenant = $1 and verdict.call = asked.call
             order by verdict.version desc limit 1) as verdict
         from unnest($2::text[]) as asked (call)
         cross join lateral (
             select call, recording, recording_stale, transcription, transcription_stale, ended_at, next_evaluation_at
             from call where call.tenant = $1 and call.call = asked.call offset 0) as found";

    const MAKE_MESSAGES: &str = "select make_webhook_messages($1, $2)";
}
