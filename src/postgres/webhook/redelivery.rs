//! Sends messages again: one, those that failed, or all of a period.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::event::ids::Tenant;

/// Maximum number of messages that one transaction makes due.
const MAX_BATCH: i64 = 1_000;

/// Which messages of a period are sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedeliveredMessages {
    /// Those that were exhausted or dropped.
    Failed,
    /// All that are finished.
    All,
}

impl Postgres {
    /// Makes a finished message due again. Returns whether there is such a message.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn redeliver_webhook_message(
        &self,
        tenant: &Tenant,
        subscription: Uuid,
        id: &str,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query_scalar(REDELIVER_ONE).bind(tenant.as_str()).bind(subscription);
        let found: Option<bool> = query.bind(id).fetch_optional(&self.webhooks).await?;
        Ok(found.is_some())
    }

    /// Makes the finished messages due again that were made in this period, in their order. Returns
    /// their number.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn redeliver_webhook_messages(
        &self,
        tenant: &Tenant,
        subscription: Uuid,
        period: (DateTime<Utc>, DateTime<Utc>),
        which: RedeliveredMessages,
    ) -> Result<u64, StoreError> {
        let (mut after, mut number) = (0_i64, 0_u64);
        loop {
            let batch: Vec<i64> = sqlx::query_scalar(REDELIVER_BATCH)
                .bind(tenant.as_str())
                .bind(subscription)
                .bind(period.0)
                .bind(period.1)
                .bind(which == RedeliveredMessages::All)
                .bind(after)
                .bind(MAX_BATCH)
                .fetch_all(&self.webhooks)
                .await?;
            number += batch.len() as u64;
            let Some(last) = batch.iter().max() else { return Ok(number) };
            after = *last;
        }
    }
}

statements! {
    /// A message that still waits is due at once.
    const REDELIVER_ONE: &str =
        "with again as (
             update webhook_message set state = 'due', due_at = now(), step = 0, finished_at = null, reason = null
             where tenant = $1 and subscription = $2 and id = $3 and state <> 'in_flight' and target = 'url'
             returning subscription)
         select true from again cross join lateral (select pg_notify('onrecord_webhooks', again.subscription::text)) as notified";

    const REDELIVER_BATCH: &str =
        "with again as (
             update webhook_message set state = 'due', due_at = now(), step = 0, finished_at = null, reason = null
             where (tenant, id) in (
                 select tenant, id from webhook_message
                 where tenant = $1 and subscription = $2 and position > $6 and created_at >= $3 and created_at < $4 and target = 'url'
                     and (state in ('exhausted', 'dropped') or $5 and state = 'delivered')
                 order by position limit $7 for update skip locked)
             returning subscription, position),
         notified as materialized (select pg_notify('onrecord_webhooks', subscription::text) from again limit 1)
         select position from again where (select count(*) from notified) >= 0";
}
