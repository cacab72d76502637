//! The spool: durable storage for messages that Kafka did not confirm in time.

use std::sync::atomic::Ordering;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgListener;

use crate::postgres::{Postgres, StoreError};

const CHANNEL: &str = "onrecord_spool";

/// A message in the spool; `message` is its JSON.
#[derive(Debug, sqlx::FromRow)]
pub struct SpooledMessage {
    pub id: i64,
    pub message: Vec<u8>,
    pub stored_at: DateTime<Utc>,
}

/// Position of a reader that reads each spooled message once.
///
/// # Why
///
/// Ids are drawn before transactions commit, so a row may become visible after rows with higher ids were
/// read. The position is therefore the snapshot of the last complete pass: the rows that are visible in
/// it are exactly those that were read.
#[derive(Clone, Debug)]
pub struct SpoolTail {
    /// Snapshot of the last complete pass. The rows that are visible in it were read.
    read_through: String,
    /// The pass in progress, if it takes more than one page.
    pass: Option<TailPass>,
}

#[derive(Clone, Debug)]
struct TailPass {
    /// Snapshot of this pass. It reads the rows that are visible in it.
    snapshot: String,
    /// The last row of the previous page: its transaction and its id.
    transaction: String,
    id: i64,
}

impl Default for SpoolTail {
    /// Before the first message: no transaction has a number below 3.
    fn default() -> Self {
        Self { read_through: "3:3:".to_owned(), pass: None }
    }
}

/// A page of new messages in the spool.
#[derive(Debug)]
pub struct SpooledPage {
    pub messages: Vec<SpooledMessage>,
    /// Another page can be read at once.
    pub more: bool,
}

/// Size in bytes of the message that checks whether the spool can be written.
const CHECK_BYTES: i32 = 32;
/// Size in bytes of that message after a failed write.
const CHECK_BYTES_AFTER_FAILURE: i32 = 256 * 1024;

/// Maximum number of messages in a page.
const MAX_PAGE_MESSAGES: i64 = 500;
/// Maximum number of bytes in a page before its last message.
const MAX_PAGE_BYTES: i64 = 8 << 20;

#[derive(sqlx::FromRow)]
struct TailRow {
    #[sqlx(flatten)]
    spooled: SpooledMessage,
    transaction: String,
    /// Number of rows in the page before it was cut to [`MAX_PAGE_BYTES`].
    page: i64,
}

/// The first transaction that a snapshot `xmin:xmax:…` does not include.
fn next_transaction(snapshot: &str) -> Option<u64> {
    snapshot.split(':').nth(1)?.parse().ok()
}

/// Notifications of messages that any node spools.
pub struct SpoolListener(PgListener);

impl SpoolListener {
    /// Waits until a node spools a message.
    ///
    /// # Errors
    ///
    /// The connection is lost: open another listener.
    pub async fn spooled(&mut self) -> Result<(), StoreError> {
        self.0.recv().await?;
        Ok(())
    }
}

impl Postgres {
    /// Whether the spool takes a message now: writes one and deletes it in the same transaction, so
    /// that no reader sees it. After a failed write it is large, so that it needs space of its own: on
    /// a full disk a small one may still find room in a page.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: for example a full disk, or a server that is read-only.
    pub async fn check_spool_write(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let after_failure = self.spool_write_failed.load(Ordering::Relaxed);
        let size = if after_failure { CHECK_BYTES_AFTER_FAILURE } else { CHECK_BYTES };
        let mut transaction = self.spool.begin("begin").await?;
        let insert = sqlx::query_scalar(INSERT_SPOOL_CHECK).bind(now).bind(size);
        let id: i64 = self.spool.with_timeout(insert.fetch_one(&mut *transaction)).await?;
        let delete = sqlx::query(DELETE_SPOOL_CHECK).bind(id).execute(&mut *transaction);
        self.spool.with_timeout(delete).await?;
        transaction.commit().await?;
        self.spool_write_failed.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Commits messages to the spool (`synchronous_commit=on`), all or none. Each is a tenant and the
    /// JSON of the message.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; after [`StoreError::UnknownOutcome`] they may be stored.
    pub async fn spool(
        &self,
        messages: &[(String, Vec<u8>)],
        stored_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let outcome = self.insert_into_spool(messages, stored_at).await;
        self.spool_write_failed.store(outcome.is_err(), Ordering::Relaxed);
        outcome
    }

    async fn insert_into_spool(
        &self,
        messages: &[(String, Vec<u8>)],
        stored_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (tenants, bodies): (Vec<&str>, Vec<&[u8]>) =
            messages.iter().map(|(tenant, body)| (tenant.as_str(), body.as_slice())).unzip();
        let mut transaction = self.spool.begin("begin").await?;
        let insert = sqlx::query(INSERT_SPOOL).bind(&tenants).bind(&bodies).bind(stored_at);
        self.spool.with_timeout(insert.execute(&mut *transaction)).await?;
        let notify = sqlx::query(NOTIFY_SPOOL).bind(CHANNEL).execute(&mut *transaction);
        self.spool.with_timeout(notify).await?;
        transaction.commit().await
    }

    /// Subscribes to new messages in the spool, on a separate connection: a dead one must not occupy a
    /// place in a pool.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn listen_to_spool(&self) -> Result<SpoolListener, StoreError> {
        let connected = async {
            let connection = self.single_connection("onrecord-listener").await?;
            let mut listener = PgListener::connect_with(&connection).await?;
            // A reconnect without an error would hide the messages spooled meanwhile.
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        Ok(SpoolListener(self.spool.with_timeout(connected).await?))
    }

    /// The next page of messages that were spooled since the last call with this tail, in the order of
    /// transactions.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the tail is unchanged.
    pub async fn spooled_since(&self, tail: &mut SpoolTail) -> Result<SpooledPage, StoreError> {
        let mut transaction =
            self.spool.begin("begin isolation level repeatable read read only").await?;
        let pass = match &tail.pass {
            Some(pass) => pass.clone(),
            None => {
                let snapshot = sqlx::query_scalar(SELECT_SNAPSHOT).fetch_one(&mut *transaction);
                let snapshot: String = self.spool.with_timeout(snapshot).await?;
                // The server was restored to an earlier state: its transaction numbers repeat.
                if next_transaction(&snapshot) < next_transaction(&tail.read_through) {
                    *tail = SpoolTail::default();
                }
                TailPass { snapshot, transaction: "0".to_owned(), id: 0 }
            }
        };
        let rows = sqlx::query_as(SELECT_NEWLY_SPOOLED)
            .bind(&tail.read_through)
            .bind(&pass.snapshot)
            .bind(&pass.transaction)
            .bind(pass.id)
            .bind(MAX_PAGE_MESSAGES)
            .bind(MAX_PAGE_BYTES)
            .fetch_all(&mut *transaction);
        let rows: Vec<TailRow> = self.spool.with_timeout(rows).await?;
        let page = rows.first().map_or(0, |row| row.page);
        let more = page == MAX_PAGE_MESSAGES || rows.len() as i64 != page;
        match rows.last() {
            Some(last) if more => {
                let transaction = last.transaction.clone();
                tail.pass = Some(TailPass { transaction, id: last.spooled.id, ..pass });
            }
            _ => {
                tail.read_through = pass.snapshot;
                tail.pass = None;
            }
        }
        Ok(SpooledPage { messages: rows.into_iter().map(|row| row.spooled).collect(), more })
    }

    /// The oldest messages with an id above `after`: at limit `limit` messages, of at limit `bytes` before
    /// the last one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn oldest_spooled(
        &self,
        after: i64,
        limit: i64,
        bytes: i64,
    ) -> Result<Vec<SpooledMessage>, StoreError> {
        let query = sqlx::query_as(SELECT_OLDEST_SPOOLED).bind(after).bind(limit).bind(bytes);
        Ok(query.fetch_all(&self.spool).await?)
    }

    /// The instant at which the oldest message was stored.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn oldest_in_spool(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        Ok(sqlx::query_scalar(SELECT_OLDEST_STORED_AT).fetch_one(&self.spool).await?)
    }

    /// Deletes messages that Kafka has confirmed.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the messages are then published a second time, which `ONCE` makes harmless.
    pub async fn delete_spooled(&self, ids: &[i64]) -> Result<(), StoreError> {
        sqlx::query(DELETE_SPOOLED).bind(ids).execute(&self.spool).await?;
        Ok(())
    }
}

statements! {
    const INSERT_SPOOL: &str = "insert into spool (tenant, message, stored_at) select tenant, message, $3 from unnest($1::text[], $2::bytea[]) as _ (tenant, message)";

    const INSERT_SPOOL_CHECK: &str = "insert into spool (tenant, message, stored_at)
         -- Digests, because other bytes would be compressed.
         select '', string_agg(sha256(int4send(n)), ''::bytea), $1 from generate_series(1, $2::int4 / 32) as n
         returning id";

    const DELETE_SPOOL_CHECK: &str = "delete from spool where id = $1";

    const NOTIFY_SPOOL: &str = "select pg_notify($1, '')";

    const SELECT_SNAPSHOT: &str = "select pg_current_snapshot()::text";

    const SELECT_NEWLY_SPOOLED: &str =
        "select id, message, stored_at, transaction, page from (
             select id, message, stored_at, xid, xid::text as transaction, count(*) over () as page,
                 sum(octet_length(message)) over (order by xid, id) - octet_length(message) as before
             from (
                 select id, message, stored_at, xid from spool
                 where xid >= pg_snapshot_xmin($1::text::pg_snapshot)
                     and not pg_visible_in_snapshot(xid, $1::text::pg_snapshot)
                     and pg_visible_in_snapshot(xid, $2::text::pg_snapshot)
                     and (xid, id) > ($3::text::xid8, $4)
                 order by xid, id limit $5) as page) as sized
         where before < $6 order by xid, id";

    const SELECT_OLDEST_SPOOLED: &str =
        "select id, message, stored_at from spool where id in (
             select id from (
                 select id, sum(size) over (order by id) - size as before
                 from (select id, octet_length(message) as size from spool where id > $1 order by id limit $2) as sized) as page
             where before < $3)
         order by id";

    const SELECT_OLDEST_STORED_AT: &str = "select min(stored_at) from spool";

    const DELETE_SPOOLED: &str = "delete from spool where id = any($1)";
}
