//! The spool: durable rest for messages that Kafka did not confirm in time.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgListener;

use super::{Store, StoreError};

const CHANNEL: &str = "onrecord_spool";

/// A message at rest; `message` is the JSON of its wire form.
#[derive(Debug, sqlx::FromRow)]
pub struct SpooledMessage {
    pub id: i64,
    pub message: Vec<u8>,
    pub stored: DateTime<Utc>,
}

/// Wakes when something was spooled on any node.
pub struct SpoolListener(PgListener);

impl SpoolListener {
    /// Waits for the next message to be spooled.
    ///
    /// # Errors
    ///
    /// The connection is gone: open another listener.
    pub async fn woken(&mut self) -> Result<(), StoreError> {
        self.0.recv().await?;
        Ok(())
    }
}

impl Store {
    /// Commits messages to the spool (`synchronous_commit=on`), all or none. Each is a tenant and
    /// the JSON of the wire form.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; after [`StoreError::UnknownOutcome`] they are possibly stored.
    pub async fn spool(
        &self,
        messages: &[(String, Vec<u8>)],
        stored: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (tenants, bodies): (Vec<&str>, Vec<&[u8]>) = messages
            .iter()
            .map(|(tenant, body)| (tenant.as_str(), body.as_slice()))
            .unzip();
        let mut transaction = self.spool.begin("begin").await?;
        let insert = sqlx::query("insert into spool (tenant, message, stored) select tenant, message, $3 from unnest($1::text[], $2::bytea[]) as _ (tenant, message)")
            .bind(&tenants)
            .bind(&bodies)
            .bind(stored)
            .execute(&mut *transaction);
        self.spool.within(insert).await?;
        let notify = sqlx::query("select pg_notify($1, '')")
            .bind(CHANNEL)
            .execute(&mut *transaction);
        self.spool.within(notify).await?;
        transaction.commit().await
    }

    /// Subscribes to the arrival of messages in the spool.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn listen_to_spool(&self) -> Result<SpoolListener, StoreError> {
        let mut listener = PgListener::connect_with(self.spool.pool()).await?;
        // A silent reconnect would hide what was spooled meanwhile.
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(SpoolListener(listener))
    }

    /// What was spooled by transactions from `since` on, and from where to ask next time. Rows of
    /// a transaction that commits late are seen by a later call, because it asks from the oldest
    /// transaction that was still going on.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn spooled_since(
        &self,
        since: i64,
    ) -> Result<(Vec<SpooledMessage>, i64), StoreError> {
        let mut transaction = self
            .spool
            .begin("begin isolation level repeatable read read only")
            .await?;
        let next =
            sqlx::query_scalar("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
                .fetch_one(&mut *transaction);
        let next: i64 = self.spool.within(next).await?;
        let rows = sqlx::query_as(
            "select id, message, stored from spool where xid >= $1::text::xid8 order by id",
        )
        .bind(since.to_string())
        .fetch_all(&mut *transaction);
        let rows = self.spool.within(rows).await?;
        Ok((rows, next))
    }

    /// The oldest messages at rest with an id above `after`: at most `most`, and none more once
    /// they have `bytes`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn oldest_spooled(
        &self,
        after: i64,
        most: i64,
        bytes: i64,
    ) -> Result<Vec<SpooledMessage>, StoreError> {
        Ok(sqlx::query_as(
            "select id, message, stored from spool where id in (
                 select id from (
                     select id, sum(size) over (order by id) - size as before
                     from (select id, octet_length(message) as size from spool where id > $1 order by id limit $2) as sized) as page
                 where before < $3)
             order by id",
        )
        .bind(after)
        .bind(most)
        .bind(bytes)
        .fetch_all(&self.spool)
        .await?)
    }

    /// When the oldest message at rest was stored.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn oldest_in_spool(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        Ok(sqlx::query_scalar("select min(stored) from spool")
            .fetch_one(&self.spool)
            .await?)
    }

    /// Removes messages that Kafka has confirmed.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; they will be published once more then, which law 4 makes harmless.
    pub async fn unspool(&self, ids: &[i64]) -> Result<(), StoreError> {
        sqlx::query("delete from spool where id = any($1)")
            .bind(ids)
            .execute(&self.spool)
            .await?;
        Ok(())
    }
}
