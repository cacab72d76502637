//! Claims messages that are due, for attempts of this node.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::types::Json;
use uuid::Uuid;

use super::secret::SealedSecret;
use crate::postgres::{Postgres, StoreError};

/// Maximum number of subscriptions of one claim.
pub(crate) const MAX_CLAIMED_SUBSCRIPTIONS: usize = 256;

/// A message that this node sends, under a lease.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct ClaimedMessage {
    pub tenant: String,
    pub id: String,
    pub subscription: Uuid,
    pub event: String,
    #[sqlx(rename = "type")]
    pub name: String,
    pub call: Option<String>,
    pub occurred_at: DateTime<Utc>,
    pub decided_at: Option<DateTime<Utc>>,
    pub log_at: Option<DateTime<Utc>>,
    pub is_stale: bool,
    pub data: Json<Box<RawValue>>,
    pub target: String,
    /// Failed attempts since the message was made or sent again.
    pub step: i32,
    /// Number of this attempt, from 1.
    pub attempts: i32,
    pub created_at: DateTime<Utc>,
    /// Number of changes of its subscription.
    pub version: i32,
    /// Failed attempts of the subscription since the last one that was delivered.
    pub consecutive_failures: i32,
    /// Whether its call goes on. `None`: it has no call, or the call is part of another one now.
    pub is_call_open: Option<bool>,
}

/// What an attempt needs to know about a subscription.
#[derive(Clone, Debug)]
pub(crate) struct StoredEndpoint {
    pub id: Uuid,
    pub version: i32,
    pub url: String,
    pub fallback_url: Option<String>,
    pub stale: String,
    /// The newest first.
    pub secrets: Vec<SealedSecret>,
}

#[derive(sqlx::FromRow)]
struct EndpointRow {
    id: Uuid,
    version: i32,
    url: String,
    fallback_url: Option<String>,
    stale: String,
}

impl Postgres {
    /// Claims messages of these subscriptions that are due: of each at most as many as its limits permit,
    /// together at most `limit`, and `limit_of_each` of one. A subscription that another node claims from at this moment is left out.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn claim_webhook_messages(
        &self,
        subscriptions: &[Uuid],
        owner: &str,
        lease: Duration,
        limit: i64,
        limit_of_each: i64,
    ) -> Result<Vec<ClaimedMessage>, StoreError> {
        let query = sqlx::query_as(CLAIM_MESSAGES).bind(subscriptions).bind(owner);
        Ok(query.bind(lease).bind(limit).bind(limit_of_each).fetch_all(&self.webhooks).await?)
    }

    /// The subscriptions that have messages that are due.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn webhooks_with_due_messages(&self) -> Result<Vec<Uuid>, StoreError> {
        Ok(sqlx::query_scalar(SELECT_DUE_SUBSCRIPTIONS).fetch_all(&self.webhooks).await?)
    }

    /// What attempts need to know about these subscriptions.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn webhook_endpoints(
        &self,
        subscriptions: &[Uuid],
    ) -> Result<Vec<StoredEndpoint>, StoreError> {
        // The version first: a change in between is read again with the next message.
        let query = sqlx::query_as(SELECT_ENDPOINTS).bind(subscriptions);
        let rows: Vec<EndpointRow> = query.fetch_all(&self.webhooks).await?;
        let query = sqlx::query_as(SELECT_SECRETS).bind(subscriptions);
        let secrets: Vec<SealedSecret> = query.fetch_all(&self.webhooks).await?;
        let endpoints = rows.into_iter().map(|row| StoredEndpoint {
            secrets: secrets.iter().filter(|it| it.subscription == row.id).cloned().collect(),
            id: row.id,
            version: row.version,
            url: row.url,
            fallback_url: row.fallback_url,
            stale: row.stale,
        });
        Ok(endpoints.collect())
    }

    /// Lets messages be claimed again whose nodes have ended.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn release_expired_webhook_messages(&self) -> Result<Vec<Uuid>, StoreError> {
        Ok(sqlx::query_scalar(RELEASE_EXPIRED_MESSAGES).fetch_all(&self.webhooks).await?)
    }
}

statements! {
    /// `now()`, not `clock_timestamp()`: a volatile function is no condition of an index.
    const CLAIM_MESSAGES: &str =
        "with wanted as materialized (
             select id, version, concurrency, consecutive_failures, circuit_until, rate_limit,
                 case state when 'disabled' then 'fallback' when 'pending' then 'challenge' else 'url' end as target,
                 least(rate_limit, rate_level + rate_limit * extract(epoch from now() - rate_at))::double precision as level
             from webhook_subscription
             where id = any($1) and state in ('active', 'pending', 'disabled')
                 and coalesce(circuit_until <= now(), true) and cluster_is_adopted()
             for no key update skip locked),
         places as materialized (
             select wanted.*, greatest(0, least(
                 $4::bigint, $5::bigint,
                 case when wanted.consecutive_failures > 0 then 1 else wanted.concurrency end - running.number,
                 floor(wanted.level)::bigint)) as free
             from wanted
             cross join lateral (
                 select count(*) as number from webhook_message where subscription = wanted.id and state = 'in_flight') as running),
         picked as materialized (
             select waiting.tenant, waiting.id, places.id as subscription, places.version, places.consecutive_failures
             from places
             cross join lateral (
                 select message.tenant, message.id from webhook_message as message
                 where message.subscription = places.id and message.target = places.target
                     and message.state in ('due', 'retrying') and message.due_at <= now()
                 order by message.due_at, message.position
                 limit places.free
                 for update skip locked) as waiting
             limit $4),
         taken as (select subscription, count(*) as number from picked group by subscription),
         limited as (
             update webhook_subscription as subscription set rate_level = places.level - taken.number, rate_at = now()
             from places join taken on taken.subscription = places.id
             where places.id = subscription.id and places.rate_limit is not null)
         update webhook_message as message
         set state = 'in_flight', due_at = null, owner = $2, lease_until = now() + $3, attempts = message.attempts + 1
         from picked
         where message.tenant = picked.tenant and message.id = picked.id
         returning message.tenant, message.id, message.subscription, message.event, message.type, message.call, message.occurred_at,
             message.decided_at, message.log_at, message.is_stale, message.data, message.target, message.step, message.attempts,
             message.created_at, picked.version, picked.consecutive_failures,
             case when message.decided_at is not null then (
                 select call.ended_at is null from call where call.tenant = message.tenant and call.call = message.call) end as is_call_open";

    const SELECT_DUE_SUBSCRIPTIONS: &str =
        "select subscription.id from webhook_subscription as subscription
         where subscription.state in ('active', 'pending', 'disabled') and coalesce(subscription.circuit_until <= now(), true)
             and exists (
                 select from webhook_message as message
                 where message.subscription = subscription.id
                     and message.target = case subscription.state when 'disabled' then 'fallback' when 'pending' then 'challenge' else 'url' end
                     and message.state in ('due', 'retrying') and message.due_at <= now())";

    const SELECT_ENDPOINTS: &str =
        "select id, version, url, fallback_url, stale from webhook_subscription where id = any($1)";

    const SELECT_SECRETS: &str =
        "select id, subscription, sealed, expires_at from webhook_secret
         where subscription = any($1) and coalesce(expires_at > now(), true) order by created_at desc, id desc";

    const RELEASE_EXPIRED_MESSAGES: &str =
        "update webhook_message set state = 'retrying', due_at = now(), owner = null, lease_until = null
         where state = 'in_flight' and lease_until < now() returning subscription";
}
