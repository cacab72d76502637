//! Subscriptions: creating and reading them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::event_name::{CHALLENGE, is_exception_kind};
use super::new_event::CHALLENGE_DELAY;
use super::secret::{NewSecret, insert_secret};
use crate::http::timestamp::{serialize_micros, serialize_optional_micros};
use crate::postgres::{Postgres, StoreError, TenantSnapshot, Tx};
use onrecord_evidence::event::ids::Tenant;

/// What the messages of a subscription have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[derive(strum::EnumString, strum::IntoStaticStr, strum::VariantNames, ToSchema)]
#[strum(serialize_all = "snake_case")]
pub enum WebhookContent {
    /// Ids and levels.
    #[default]
    Thin,
    /// What is known of the call or exception besides.
    Full,
}

/// What becomes of a notice that can no longer be announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[derive(strum::EnumString, strum::IntoStaticStr, strum::VariantNames, ToSchema)]
#[strum(serialize_all = "snake_case")]
pub enum StaleNotices {
    /// It is not sent.
    #[default]
    Drop,
    /// It is sent, with `stale: true`.
    Send,
}

/// How messages are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[derive(strum::EnumString, strum::IntoStaticStr, strum::VariantNames, ToSchema)]
#[strum(serialize_all = "snake_case")]
pub enum SignatureAlgorithm {
    /// HMAC-SHA256, by a shared secret.
    #[default]
    V1,
    /// Ed25519, by a private key of the service.
    V1a,
}

/// Which events a subscription wants; an absent list means all. A list concerns the events that have
/// such a property.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookFilter {
    /// Client apps of the call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub app: Vec<String>,
    /// Kinds of calls (`group`, `meeting`, `room`, `two_party`) and of exceptions (`NOT_SENT`, …).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kind: Vec<String>,
    /// Severities of exceptions: `critical`, `major`, `minor`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub severity: Vec<String>,
}

impl WebhookFilter {
    fn kinds(&self, of_exceptions: bool) -> Vec<&str> {
        let kinds = self.kind.iter().map(String::as_str);
        kinds.filter(|kind| is_exception_kind(kind) == of_exceptions).collect()
    }
}

/// What the owner of a subscription chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookOrder {
    pub url: String,
    pub description: String,
    pub events: Vec<String>,
    pub filter: WebhookFilter,
    pub content: WebhookContent,
    pub stale: StaleNotices,
    pub algorithm: SignatureAlgorithm,
    pub fallback_url: Option<String>,
    pub rate_limit: Option<i32>,
    pub concurrency: i32,
}

/// A new subscription.
pub(crate) struct NewWebhook<'a> {
    pub id: Uuid,
    pub tenant: &'a Tenant,
    pub order: &'a WebhookOrder,
    pub challenge: &'a str,
    pub secret: &'a NewSecret,
    /// The API key that creates it, and its name.
    pub created_by: (Option<Uuid>, &'a str),
}

/// The state of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum WebhookState {
    /// The receiver has not answered the challenge yet. Nothing else is sent.
    Pending {
        /// Why not. Absent: no attempt has failed yet.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Messages are sent.
    Active,
    /// Stopped by hand. Messages wait.
    Paused,
    /// Stopped by the service. Messages wait.
    Disabled {
        /// Why.
        reason: String,
    },
}

/// A subscription.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Webhook)]
pub struct StoredWebhook {
    /// The id of the subscription.
    pub id: Uuid,
    #[serde(flatten)]
    pub state: WebhookState,
    /// Since when it is in this state.
    #[serde(serialize_with = "serialize_micros")]
    pub changed_at: DateTime<Utc>,
    /// Where messages are posted.
    pub url: String,
    /// What it is for.
    pub description: String,
    /// The events, by name or pattern.
    pub events: Vec<String>,
    /// Which of them.
    pub filter: WebhookFilter,
    /// What the messages have.
    pub content: WebhookContent,
    /// What becomes of a notice that can no longer be announced.
    pub stale: StaleNotices,
    /// How messages are signed.
    pub algorithm: SignatureAlgorithm,
    /// Where it is told that it was disabled. Null: nowhere.
    #[schema(required = true)]
    pub fallback_url: Option<String>,
    /// Maximum attempts per second. Null: no limit.
    #[schema(required = true)]
    pub rate_limit: Option<i32>,
    /// Maximum attempts at a time.
    pub concurrency: i32,
    /// When it was created.
    #[serde(serialize_with = "serialize_micros")]
    pub created_at: DateTime<Utc>,
    /// The name of the API key that created it.
    pub created_by: String,
    /// Failed attempts since the last one that was delivered.
    pub consecutive_failures: i32,
    /// When the last attempt failed. Null: none did.
    #[serde(serialize_with = "serialize_optional_micros")]
    #[schema(required = true)]
    pub failed_at: Option<DateTime<Utc>>,
    /// Nothing is sent until then, because attempts failed. Null: the circuit is closed.
    #[serde(serialize_with = "serialize_optional_micros")]
    #[schema(required = true)]
    pub circuit_until: Option<DateTime<Utc>>,
    /// Since when the message that waits longest is due. Null: none is.
    #[serde(serialize_with = "serialize_optional_micros")]
    #[schema(required = true)]
    pub waiting_since: Option<DateTime<Utc>>,
}

#[derive(sqlx::FromRow)]
struct WebhookRow {
    id: Uuid,
    url: String,
    description: String,
    events: Vec<String>,
    apps: Vec<String>,
    call_kinds: Vec<String>,
    exception_kinds: Vec<String>,
    severities: Vec<String>,
    content: String,
    stale: String,
    algorithm: String,
    fallback_url: Option<String>,
    rate_limit: Option<i32>,
    concurrency: i32,
    state: String,
    reason: Option<String>,
    changed_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    created_by_name: String,
    consecutive_failures: i32,
    failed_at: Option<DateTime<Utc>>,
    circuit_until: Option<DateTime<Utc>>,
    waiting_since: Option<DateTime<Utc>>,
}

impl WebhookRow {
    fn parse(self) -> Result<StoredWebhook, StoreError> {
        let id = self.id;
        let unknown = |what: &str| {
            StoreError::Inconsistent(format!(
                "the webhook {id} has a {what} of no version known here"
            ))
        };
        let state = match self.state.as_str() {
            "pending" => WebhookState::Pending { reason: self.reason },
            "active" => WebhookState::Active,
            "paused" => WebhookState::Paused,
            "disabled" => WebhookState::Disabled { reason: self.reason.unwrap_or_default() },
            _ => return Err(unknown("state")),
        };
        let kind = [self.call_kinds, self.exception_kinds].concat();
        Ok(StoredWebhook {
            id,
            state,
            changed_at: self.changed_at,
            url: self.url,
            description: self.description,
            events: self.events,
            filter: WebhookFilter { app: self.apps, kind, severity: self.severities },
            content: self.content.parse().map_err(|_| unknown("content"))?,
            stale: self.stale.parse().map_err(|_| unknown("treatment of stale notices"))?,
            algorithm: self.algorithm.parse().map_err(|_| unknown("signature"))?,
            fallback_url: self.fallback_url,
            rate_limit: self.rate_limit,
            concurrency: self.concurrency,
            created_at: self.created_at,
            created_by: self.created_by_name,
            consecutive_failures: self.consecutive_failures,
            failed_at: self.failed_at,
            circuit_until: self.circuit_until,
            waiting_since: self.waiting_since,
        })
    }
}

impl TenantSnapshot {
    /// Subscriptions of the tenant, last created first.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn webhooks(
        &mut self,
        after: Option<(DateTime<Utc>, Uuid)>,
        limit: i64,
    ) -> Result<Vec<StoredWebhook>, StoreError> {
        let (after_created, after_id) = after.unzip();
        let rows: Vec<WebhookRow> = sqlx::query_as(SELECT_WEBHOOKS)
            .bind(self.tenant.as_str())
            .bind(after_created)
            .bind(after_id)
            .bind(limit)
            .fetch_all(&mut *self.transaction)
            .await?;
        rows.into_iter().map(WebhookRow::parse).collect()
    }

    /// A subscription of the tenant.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn webhook(&mut self, id: Uuid) -> Result<Option<StoredWebhook>, StoreError> {
        let query = sqlx::query_as(SELECT_WEBHOOK).bind(self.tenant.as_str()).bind(id);
        let row: Option<WebhookRow> = query.fetch_optional(&mut *self.transaction).await?;
        row.map(WebhookRow::parse).transpose()
    }
}

impl Postgres {
    /// Creates a subscription with its secret and its challenge, unless the tenant has `max` of them.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn create_webhook(
        &self,
        new: &NewWebhook<'_>,
        max: i64,
    ) -> Result<bool, StoreError> {
        self.run_tx("create webhook", |tx| {
            Box::pin(async move {
                let tenant = new.tenant.as_str();
                let order = new.order;
                let inserted = sqlx::query(INSERT_WEBHOOK)
                    .bind(new.id)
                    .bind(tenant)
                    .bind(&order.url)
                    .bind(&order.description)
                    .bind(&order.events)
                    .bind(&order.filter.app)
                    .bind(order.filter.kinds(false))
                    .bind(order.filter.kinds(true))
                    .bind(&order.filter.severity)
                    .bind(<&str>::from(order.content))
                    .bind(<&str>::from(order.stale))
                    .bind(<&str>::from(order.algorithm))
                    .bind(&order.fallback_url)
                    .bind(order.rate_limit)
                    .bind(order.concurrency)
                    .bind(new.challenge)
                    .bind(new.created_by.0)
                    .bind(new.created_by.1)
                    .bind(max)
                    .execute(&mut **tx)
                    .await?;
                if inserted.rows_affected() == 0 {
                    return Ok(false);
                }
                insert_secret(tx, new.tenant, new.id, new.secret).await?;
                insert_challenge(tx, new.tenant, new.id, new.challenge, true).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Replaces what the owner of a subscription chooses. With a challenge it is pending again. Returns
    /// whether there is such a subscription.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn change_webhook(
        &self,
        tenant: &Tenant,
        id: Uuid,
        order: &WebhookOrder,
        challenge: Option<&str>,
    ) -> Result<bool, StoreError> {
        self.run_tx("change webhook", |tx| {
            Box::pin(async move {
                let updated = sqlx::query(UPDATE_WEBHOOK)
                    .bind(id)
                    .bind(tenant.as_str())
                    .bind(&order.url)
                    .bind(&order.description)
                    .bind(&order.events)
                    .bind(&order.filter.app)
                    .bind(order.filter.kinds(false))
                    .bind(order.filter.kinds(true))
                    .bind(&order.filter.severity)
                    .bind(<&str>::from(order.content))
                    .bind(<&str>::from(order.stale))
                    .bind(&order.fallback_url)
                    .bind(order.rate_limit)
                    .bind(order.concurrency)
                    .bind(challenge)
                    .execute(&mut **tx)
                    .await?;
                if updated.rows_affected() == 0 {
                    return Ok(false);
                }
                if let Some(challenge) = challenge {
                    insert_challenge(tx, tenant, id, challenge, false).await?;
                }
                Ok(true)
            })
        })
        .await
    }
}

/// Makes the message of a challenge; those before it end. A new subscription waits until every node reads
/// the events of its tenant.
pub(super) async fn insert_challenge(
    tx: &mut Tx<'_>,
    tenant: &Tenant,
    id: Uuid,
    challenge: &str,
    is_new: bool,
) -> Result<(), StoreError> {
    if !is_new {
        sqlx::query(DROP_CHALLENGES).bind(tenant.as_str()).bind(id).execute(&mut **tx).await?;
    }
    sqlx::query(INSERT_MESSAGE_TO_RECEIVER)
        .bind(tenant.as_str())
        .bind(id)
        .bind(format!("challenge-{challenge}"))
        .bind(CHALLENGE)
        .bind("challenge")
        .bind(Json(json!({ "challenge": challenge })))
        .bind(if is_new { CHALLENGE_DELAY } else { std::time::Duration::ZERO })
        .execute(&mut **tx)
        .await?;
    Ok(())
}

macro_rules! webhook_columns {
    () => {
        "select id, url, description, events, apps, call_kinds, exception_kinds, severities, content, stale, algorithm, fallback_url,
             rate_limit, concurrency, state, reason, changed_at, created_at, created_by_name, consecutive_failures, failed_at,
             case when circuit_until > now() then circuit_until end as circuit_until,
             (select min(due_at) from webhook_message as message where message.subscription = webhook_subscription.id
                  and message.target = 'url' and message.state in ('due', 'retrying') and message.due_at <= now()) as waiting_since
         from webhook_subscription where tenant = $1 and state <> 'deleted'"
    };
}

statements! {
    const SELECT_WEBHOOKS: &str = concat!(
        webhook_columns!(),
        " and ($2::timestamptz is null or (created_at, id) < ($2, $3)) order by created_at desc, id desc limit $4"
    );

    const SELECT_WEBHOOK: &str = concat!(webhook_columns!(), " and id = $2");

    const INSERT_WEBHOOK: &str =
        "insert into webhook_subscription (id, tenant, url, description, events, apps, call_kinds, exception_kinds, severities, content, stale,
             algorithm, fallback_url, rate_limit, concurrency, challenge, created_by, created_by_name, rate_level)
         select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, coalesce($14, 0)
         where (select count(*) from webhook_subscription where tenant = $2 and state <> 'deleted') < $19";

    const UPDATE_WEBHOOK: &str =
        "update webhook_subscription
         set url = $3, description = $4, events = $5, apps = $6, call_kinds = $7, exception_kinds = $8, severities = $9, content = $10,
             stale = $11, fallback_url = $12, rate_limit = $13, concurrency = $14, version = version + 1,
             challenge = coalesce($15, challenge), state = case when $15 is null then state else 'pending' end,
             reason = case when $15 is null then reason end, changed_at = case when $15 is null then changed_at else now() end,
             circuit_until = case when $15 is null then circuit_until end,
             consecutive_failures = case when $15 is null then consecutive_failures else 0 end
         where id = $1 and tenant = $2 and state <> 'deleted'";

    const DROP_CHALLENGES: &str =
        "update webhook_message set state = 'dropped', due_at = null, owner = null, lease_until = null, finished_at = now(),
             reason = 'another challenge was made'
         where tenant = $1 and subscription = $2 and target = 'challenge' and state in ('due', 'retrying', 'in_flight')";

    /// With its notification.
    const INSERT_MESSAGE_TO_RECEIVER: &str =
        "with made as (
             insert into webhook_message (tenant, id, subscription, event, type, occurred_at, is_stale, data, target, due_at)
             values ($1, webhook_message_id($2, $3), $2, $3, $4, now(), false, $6, $5, now() + $7)
             on conflict do nothing returning subscription)
         select pg_notify('onrecord_webhooks', subscription::text) from made";
}
