//! Deletes what is kept no longer.

use std::time::Duration;

use crate::postgres::{Postgres, StoreError};

/// Maximum number of messages that one transaction deletes.
const MAX_BATCH: i64 = 2_000;

impl Postgres {
    /// Deletes a batch of messages that ended, or were made and never sent, this long ago. Returns whether
    /// there may be more.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn delete_old_webhook_messages(
        &self,
        retention: Duration,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query_scalar(DELETE_FINISHED_MESSAGES).bind(retention).bind(MAX_BATCH);
        let finished: i64 = query.fetch_one(&self.webhooks).await?;
        Ok(finished == MAX_BATCH)
    }

    /// Deletes a batch of messages of subscriptions that were deleted, and then these. Returns whether
    /// there may be more.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn delete_messages_of_deleted_webhooks(&self) -> Result<bool, StoreError> {
        let query = sqlx::query_scalar(DELETE_MESSAGES_OF_DELETED).bind(MAX_BATCH);
        let messages: i64 = query.fetch_one(&self.webhooks).await?;
        if messages == 0 {
            sqlx::query(DELETE_DELETED_WEBHOOKS).execute(&self.webhooks).await?;
        }
        Ok(messages == MAX_BATCH)
    }

    /// Drops a batch of messages that have waited this long. Returns whether there may be more.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn drop_old_webhook_messages(
        &self,
        retention: Duration,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(DROP_OLD_MESSAGES).bind(retention).bind(MAX_BATCH);
        let dropped = query.execute(&self.webhooks).await?.rows_affected();
        Ok(dropped == MAX_BATCH as u64)
    }
}

statements! {
    const DELETE_FINISHED_MESSAGES: &str =
        "with old as (
             delete from webhook_message where ctid = any(array(
                 select ctid from webhook_message where finished_at < now() - $1::interval order by finished_at limit $2 for update skip locked))
             returning tenant, id),
         attempts as (
             delete from webhook_attempt as attempt using old where attempt.tenant = old.tenant and attempt.message = old.id)
         select count(*) from old";

    const DELETE_MESSAGES_OF_DELETED: &str =
        "with old as (
             delete from webhook_message where ctid = any(array(
                 select message.ctid from webhook_subscription as subscription
                 cross join lateral (
                     select ctid from webhook_message where subscription = subscription.id limit $1 for update skip locked) as message
                 where subscription.state = 'deleted' limit $1))
             returning tenant, id),
         attempts as (
             delete from webhook_attempt as attempt using old where attempt.tenant = old.tenant and attempt.message = old.id)
         select count(*) from old";

    const DELETE_DELETED_WEBHOOKS: &str =
        "delete from webhook_subscription as subscription where state = 'deleted'
             and not exists (select from webhook_message as message where message.subscription = subscription.id)";

    /// The index of waiting messages is by subscription, so each is asked for its oldest.
    const DROP_OLD_MESSAGES: &str =
        "update webhook_message set state = 'dropped', due_at = null, finished_at = now(), reason = 'it waited longer than messages are kept'
         where ctid = any(array(
             select message.ctid from webhook_subscription as subscription
             cross join lateral (
                 select ctid from webhook_message as waiting
                 where waiting.subscription = subscription.id and waiting.target = 'url' and waiting.state in ('due', 'retrying')
                     and waiting.due_at < now() - $1::interval and waiting.created_at < now() - $1::interval
                 order by waiting.due_at limit $2 for update skip locked) as message
             limit $2))";
}
