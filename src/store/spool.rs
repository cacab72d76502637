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

/// Where somebody is who reads everything that is spooled, once.
///
/// # Why
///
/// Ids are drawn before transactions commit, so a row may appear before others that were read. What
/// is new is told exactly by the snapshot of the last complete pass: everything that was visible in
/// it was read, and nothing else was. Nothing of what was read need be remembered, or read again.
#[derive(Clone, Debug)]
pub struct SpoolTail {
    /// All that is visible in this snapshot was read.
    seen: String,
    /// A pass that takes more than one page.
    pass: Option<Pass>,
}

#[derive(Clone, Debug)]
struct Pass {
    /// It reads what is visible in this snapshot.
    through: String,
    /// The last row of the page before.
    transaction: String,
    id: i64,
}

impl Default for SpoolTail {
    /// At the beginning: no transaction has a number below 3.
    fn default() -> Self {
        Self {
            seen: "3:3:".to_owned(),
            pass: None,
        }
    }
}

/// A part of what is new in the spool.
#[derive(Debug)]
pub struct SpooledPage {
    pub messages: Vec<SpooledMessage>,
    /// The next page can be asked for at once.
    pub more: bool,
}

/// A page has at most so many messages, and none more once they have so many bytes.
const MOST_IN_PAGE: i64 = 500;
const MOST_BYTES_IN_PAGE: i64 = 8 << 20;

#[derive(sqlx::FromRow)]
struct TailRow {
    id: i64,
    message: Vec<u8>,
    stored: DateTime<Utc>,
    transaction: String,
    /// Rows of the page before its bytes were counted.
    page: i64,
}

/// The number of the first transaction that a snapshot `xmin:xmax:…` knows nothing of.
fn next_transaction(snapshot: &str) -> Option<u64> {
    snapshot.split(':').nth(1)?.parse().ok()
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

    /// Subscribes to the arrival of messages in the spool, on a connection of its own: one that is
    /// dead must not hold a place in a pool.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn listen_to_spool(&self) -> Result<SpoolListener, StoreError> {
        let listening = async {
            let own = self.one_connection("onrecord-listener").await?;
            let mut listener = PgListener::connect_with(&own).await?;
            // A silent reconnect would hide what was spooled meanwhile.
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        Ok(SpoolListener(self.spool.within(listening).await?))
    }

    /// What was spooled since the tail was followed last: a page of it, in the order of
    /// transactions.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the tail is where it was.
    pub async fn spooled_since(&self, tail: &mut SpoolTail) -> Result<SpooledPage, StoreError> {
        let mut transaction = self
            .spool
            .begin("begin isolation level repeatable read read only")
            .await?;
        let pass = match &tail.pass {
            Some(pass) => pass.clone(),
            None => {
                let snapshot = sqlx::query_scalar("select pg_current_snapshot()::text")
                    .fetch_one(&mut *transaction);
                let through: String = self.spool.within(snapshot).await?;
                // A cluster that was set back counts its transactions anew.
                if next_transaction(&through) < next_transaction(&tail.seen) {
                    *tail = SpoolTail::default();
                }
                Pass {
                    through,
                    transaction: "0".to_owned(),
                    id: 0,
                }
            }
        };
        let rows = sqlx::query_as(
            "select id, message, stored, transaction, page from (
                 select id, message, stored, xid, xid::text as transaction, count(*) over () as page,
                     sum(octet_length(message)) over (order by xid, id) - octet_length(message) as before
                 from (
                     select id, message, stored, xid from spool
                     where xid >= pg_snapshot_xmin($1::text::pg_snapshot)
                         and not pg_visible_in_snapshot(xid, $1::text::pg_snapshot)
                         and pg_visible_in_snapshot(xid, $2::text::pg_snapshot)
                         and (xid, id) > ($3::text::xid8, $4)
                     order by xid, id limit $5) as page) as sized
             where before < $6 order by xid, id",
        )
        .bind(&tail.seen)
        .bind(&pass.through)
        .bind(&pass.transaction)
        .bind(pass.id)
        .bind(MOST_IN_PAGE)
        .bind(MOST_BYTES_IN_PAGE)
        .fetch_all(&mut *transaction);
        let rows: Vec<TailRow> = self.spool.within(rows).await?;
        let whole = rows.first().map_or(0, |row| row.page);
        let more = whole == MOST_IN_PAGE || rows.len() as i64 != whole;
        match rows.last() {
            Some(last) if more => {
                tail.pass = Some(Pass {
                    transaction: last.transaction.clone(),
                    id: last.id,
                    ..pass
                });
            }
            _ => {
                tail.seen = pass.through;
                tail.pass = None;
            }
        }
        let messages = rows.into_iter().map(|row| SpooledMessage {
            id: row.id,
            message: row.message,
            stored: row.stored,
        });
        Ok(SpooledPage {
            messages: messages.collect(),
            more,
        })
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
