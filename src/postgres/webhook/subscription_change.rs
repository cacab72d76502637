//! Changes of the state of a subscription.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::types::Json;
use uuid::Uuid;

use super::event_name::{DISABLED, TEST};
use super::subscription::insert_challenge;
use crate::postgres::{ExceptionCounts, Postgres, StoreError, record_occurrences};
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::exception::{ExceptionKind, Occurrence};

/// What became of a request to change the state of a subscription.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookChange {
    Changed,
    /// Its state does not permit it.
    NotPermitted,
    Unknown,
}

impl Postgres {
    /// Pauses an active subscription.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn pause_webhook(
        &self,
        tenant: &Tenant,
        id: Uuid,
    ) -> Result<WebhookChange, StoreError> {
        let query = sqlx::query(PAUSE).bind(tenant.as_str()).bind(id);
        let changed = query.execute(&self.webhooks).await?.rows_affected() == 1;
        self.change(tenant, id, changed).await
    }

    /// Resumes a paused or disabled subscription; of a pending one, makes another challenge.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn resume_webhook(
        &self,
        tenant: &Tenant,
        id: Uuid,
        challenge: &str,
    ) -> Result<WebhookChange, StoreError> {
        let state: Option<String> = self
            .run_tx("resume webhook", |tx| {
                Box::pin(async move {
                    let query = sqlx::query_scalar(RESUME).bind(tenant.as_str()).bind(id);
                    let query = query.bind(challenge);
                    let state: Option<String> = query.fetch_optional(&mut **tx).await?;
                    if state.as_deref() == Some("pending") {
                        insert_challenge(tx, tenant, id, challenge, false).await?;
                    }
                    Ok(state)
                })
            })
            .await?;
        self.change(tenant, id, state.is_some()).await
    }

    /// Makes a test message for an active subscription.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn test_webhook(
        &self,
        tenant: &Tenant,
        id: Uuid,
        event: Uuid,
        by: &str,
    ) -> Result<WebhookChange, StoreError> {
        let made = sqlx::query(INSERT_TEST)
            .bind(tenant.as_str())
            .bind(id)
            .bind(format!("test-{event}"))
            .bind(TEST)
            .bind(Json(json!({ "requested_by": by })))
            .execute(&self.webhooks)
            .await?;
        self.change(tenant, id, made.rows_affected() == 1).await
    }

    /// Deletes a subscription with all that belongs to it. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn delete_webhook(&self, tenant: &Tenant, id: Uuid) -> Result<bool, StoreError> {
        let query = sqlx::query(DELETE).bind(tenant.as_str()).bind(id);
        Ok(query.execute(&self.webhooks).await?.rows_affected() == 1)
    }

    async fn change(
        &self,
        tenant: &Tenant,
        id: Uuid,
        changed: bool,
    ) -> Result<WebhookChange, StoreError> {
        if changed {
            return Ok(WebhookChange::Changed);
        }
        let query = sqlx::query_scalar(EXISTS).bind(tenant.as_str()).bind(id);
        let exists: bool = query.fetch_one(&self.webhooks).await?;
        Ok(if exists { WebhookChange::NotPermitted } else { WebhookChange::Unknown })
    }

    /// Activates a pending subscription whose receiver answered this challenge.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn activate_webhook(
        &self,
        id: Uuid,
        challenge: &str,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(ACTIVATE).bind(id).bind(challenge);
        Ok(query.execute(&self.webhooks).await?.rows_affected() == 1)
    }

    /// States why a pending subscription is not active yet.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn note_pending_webhook(
        &self,
        id: Uuid,
        reason: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(NOTE_PENDING).bind(id).bind(reason).execute(&self.webhooks).await?;
        Ok(())
    }

    /// Disables an active subscription, with an exception, and makes its last notice if it has a fallback
    /// address. Returns what was opened; `None`: it was disabled before.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn disable_webhook(
        &self,
        tenant: &Tenant,
        id: Uuid,
        event: Uuid,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<ExceptionCounts>, StoreError> {
        self.run_tx("disable webhook", |tx| {
            Box::pin(async move {
                let query = sqlx::query_as(DISABLE).bind(tenant.as_str()).bind(id).bind(reason);
                let disabled: Option<(String, bool)> = query.fetch_optional(&mut **tx).await?;
                let Some((url, has_fallback)) = disabled else { return Ok(None) };
                if has_fallback {
                    sqlx::query(INSERT_LAST_NOTICE)
                        .bind(tenant.as_str())
                        .bind(id)
                        .bind(format!("disabled-{event}"))
                        .bind(DISABLED)
                        .bind(Json(json!({ "webhook": id, "url": url, "reason": reason })))
                        .bind(Duration::ZERO)
                        .execute(&mut **tx)
                        .await?;
                }
                // A query may have a secret.
                let address = url.split('?').next().unwrap_or_default();
                let facts = json!({ "webhook": id, "url": address, "reason": reason });
                let occurrence = Occurrence::once(ExceptionKind::WebhookDisabled, facts, now);
                let occurred = [occurrence];
                Ok(Some(record_occurrences(tx, tenant.as_str(), &occurred, now).await?))
            })
        })
        .await
    }
}

statements! {
    const EXISTS: &str = "select exists (select from webhook_subscription where tenant = $1 and id = $2 and state <> 'deleted')";

    const PAUSE: &str =
        "update webhook_subscription set state = 'paused', reason = null, changed_at = now() where tenant = $1 and id = $2 and state = 'active'";

    /// The circuit is closed: who resumes expects an attempt.
    const RESUME: &str =
        "with resumed as (
             update webhook_subscription
             set state = case when state = 'pending' then 'pending' else 'active' end, reason = null, changed_at = now(),
                 challenge = case when state = 'pending' then $3 else challenge end, circuit_until = null, consecutive_failures = 0
             where tenant = $1 and id = $2 and state in ('pending', 'paused', 'disabled')
             returning id, state)
         select resumed.state from resumed cross join lateral (select pg_notify('onrecord_webhooks', resumed.id::text)) as notified";

    const INSERT_TEST: &str =
        "with made as (
             insert into webhook_message (tenant, id, subscription, event, type, occurred_at, is_stale, data, due_at)
             select tenant, webhook_message_id(id, $3), id, $3, $4, now(), false, $5, now()
             from webhook_subscription where tenant = $1 and id = $2 and state = 'active'
             on conflict do nothing returning subscription)
         select pg_notify('onrecord_webhooks', subscription::text) from made";

    const DELETE: &str =
        "update webhook_subscription set state = 'deleted', reason = null, changed_at = now() where tenant = $1 and id = $2 and state <> 'deleted'";

    const ACTIVATE: &str =
        "update webhook_subscription set state = 'active', reason = null, challenge = null, changed_at = now(), circuit_until = null, consecutive_failures = 0
         where id = $1 and state = 'pending' and challenge = $2";

    const NOTE_PENDING: &str = "update webhook_subscription set reason = $2 where id = $1 and state = 'pending'";

    const DISABLE: &str =
        "update webhook_subscription set state = 'disabled', reason = $3, changed_at = now(), circuit_until = null
         where tenant = $1 and id = $2 and state in ('active', 'paused')
         returning url, fallback_url is not null";

    const INSERT_LAST_NOTICE: &str =
        "with made as (
             insert into webhook_message (tenant, id, subscription, event, type, occurred_at, is_stale, data, target, due_at)
             values ($1, webhook_message_id($2, $3), $2, $3, $4, now(), false, $5, 'fallback', now() + $6)
             on conflict do nothing returning subscription)
         select pg_notify('onrecord_webhooks', subscription::text) from made";
}
