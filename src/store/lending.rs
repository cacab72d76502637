//! Connections, each lent for one use that ends well or costs the connection.
//!
//! # Why
//!
//! A Postgres that is stopped, or behind a network that swallows packets, keeps its connections
//! open and never answers. The server's own timeouts do not help against it, and sqlx awaits an
//! answer for ever, also when it takes a connection back. So every use has a limit on our side, and
//! a connection whose use did not come to its end is closed, never used again.

use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{TryFutureExt as _, TryStreamExt as _};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPool, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Connection as _, Describe, Either, Execute, Executor, PgConnection, Postgres, SqlStr};

use super::StoreError;

/// COMMIT waits for the disk, and for a synchronous standby, but for nothing else.
const END_LIMIT: Duration = Duration::from_secs(3);

/// A connection that is given back answers within this.
const RETURN_LIMIT: Duration = Duration::from_millis(500);

/// A pool whose every statement has a limit.
#[derive(Clone)]
pub(super) struct Lending {
    pool: PgPool,
    limit: Duration,
}

impl fmt::Debug for Lending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lending")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl Lending {
    /// Lends the pool's connections; one statement, or the work of one transaction, may take
    /// `limit`.
    pub fn new(pool: PgPool, limit: Duration) -> Self {
        Self { pool, limit }
    }

    /// The pool itself, for what has limits of its own.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Begins a transaction with this statement.
    pub async fn begin(&self, statement: &'static str) -> Result<Transaction, sqlx::Error> {
        let mut lent = Lent::of(&self.pool).await?;
        self.within(sqlx::raw_sql(statement).execute(&mut *lent))
            .await?;
        Ok(Transaction { lent: Some(lent) })
    }

    /// The outcome of something, if it comes within the limit.
    pub async fn within<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E>
    where
        E: From<sqlx::Error>,
    {
        within(self.limit, work).await
    }
}

async fn within<T, E>(limit: Duration, work: impl Future<Output = Result<T, E>>) -> Result<T, E>
where
    E: From<sqlx::Error>,
{
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(E::from(sqlx::Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("nothing came within {} s", limit.as_secs()),
        )))),
    }
}

/// A connection that is closed when it is dropped before [`Lent::give_back`].
struct Lent {
    connection: Option<PoolConnection<Postgres>>,
}

impl Lent {
    async fn of(pool: &PgPool) -> Result<Self, sqlx::Error> {
        Ok(Self {
            connection: Some(pool.acquire().await?),
        })
    }

    /// Ends the transaction that goes on here, and gives the connection back if that is answered.
    async fn end(mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        within(END_LIMIT, sqlx::raw_sql(statement).execute(&mut *self)).await?;
        self.give_back();
        Ok(())
    }

    /// Gives it back, if the server answered; what it refused is an answer too.
    fn give_back_after<T>(self, answer: &Result<T, sqlx::Error>) {
        if matches!(answer, Ok(_) | Err(sqlx::Error::Database(_))) {
            self.give_back();
        }
    }

    /// Its use came to an end: others may have it.
    fn give_back(mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        // A batch of the ledger makes them as large as itself, for each connection of the pool.
        connection.shrink_buffers();
        // The pool asks it once more whether it is well, without a limit of its own.
        let returned = connection.return_to_pool();
        tokio::spawn(async move {
            if tokio::time::timeout(RETURN_LIMIT, returned).await.is_err() {
                tracing::debug!("a connection is closed, it did not answer when it was given back");
            }
        });
    }
}

#[expect(
    clippy::expect_used,
    reason = "only give_back and drop take the connection out, and both end the value"
)]
impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("it is lent")
    }
}

#[expect(
    clippy::expect_used,
    reason = "only give_back and drop take the connection out, and both end the value"
)]
impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("it is lent")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // Detached, its socket closes at once, and the server rolls back what was not
            // committed; given back, the pool would first wait for it.
            drop(connection.detach());
        }
    }
}

/// A transaction that is going on; dropped, it is rolled back, and its connection closed if the
/// server does not answer to that.
pub(super) struct Transaction {
    lent: Option<Lent>,
}

impl Transaction {
    /// Commits.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownOutcome`] if no answer came.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        if let Some(lent) = self.lent.take() {
            lent.end("commit").await.map_err(StoreError::of_commit)?;
        }
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(lent) = self.lent.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                if let Err(error) = lent.end("rollback").await {
                    tracing::debug!(error = %error, "a connection is closed, its rollback had no answer: {error}");
                }
            });
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "only commit and drop take the connection out, and both end the value"
)]
impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.lent.as_ref().expect("it is going on")
    }
}

#[expect(
    clippy::expect_used,
    reason = "only commit and drop take the connection out, and both end the value"
)]
impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.lent.as_mut().expect("it is going on")
    }
}

impl<'p> Executor<'p> for &'p Lending {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let whole = async move {
            let mut lent = Lent::of(&self.pool).await?;
            let answers = self.within(lent.fetch_many(query).try_collect::<Vec<_>>());
            let answers = answers.await;
            lent.give_back_after(&answers);
            Ok::<_, sqlx::Error>(stream::iter(answers?.into_iter().map(Ok)))
        };
        Box::pin(whole.try_flatten_stream())
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(async move {
            let mut lent = Lent::of(&self.pool).await?;
            let answer = self.within(lent.fetch_optional(query)).await;
            lent.give_back_after(&answer);
            answer
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut lent = Lent::of(&self.pool).await?;
            let answer = self.within(lent.prepare_with(sql, parameters)).await;
            lent.give_back_after(&answer);
            answer
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'p: 'e,
    {
        Box::pin(async move {
            let mut lent = Lent::of(&self.pool).await?;
            let answer = self.within(lent.describe(sql)).await;
            lent.give_back_after(&answer);
            answer
        })
    }
}
