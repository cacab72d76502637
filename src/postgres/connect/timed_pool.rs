//! A pool with a timeout on each statement. A connection whose statement was not answered is closed.
//!
//! # Why
//!
//! A frozen Postgres, or a network that drops packets, keeps connections open and never answers. The
//! timeouts of the server do not apply then, and sqlx waits without limit, also when it takes a
//! connection back into the pool. So the client side limits each use, and closes a connection whose
//! use did not end: it may still have a statement in progress.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{TryFutureExt as _, TryStreamExt as _};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPool, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Connection as _, Describe, Either, Execute, Executor, PgConnection, Postgres, SqlStr};

use crate::lifecycle::detached::spawn_detached;
use crate::postgres::StoreError;

/// Timeout of COMMIT and ROLLBACK. COMMIT waits for the disk, and for a synchronous standby, only.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// Timeout of the test by which the pool takes a connection back.
const CHECK_IN_TIMEOUT: Duration = Duration::from_millis(500);

/// A pool with a timeout on each statement.
#[derive(Clone)]
pub(crate) struct TimedPool {
    pool: PgPool,
    timeout: Duration,
}

impl fmt::Debug for TimedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedPool").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl TimedPool {
    /// `timeout` limits each statement, or the body of a transaction as a whole.
    pub(crate) fn new(pool: PgPool, timeout: Duration) -> Self {
        Self { pool, timeout }
    }

    /// The pool without timeouts.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The number of connections, and of those that are idle.
    pub(crate) fn connections(&self) -> (u32, u32) {
        (self.pool.size(), u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX))
    }

    /// Begins a transaction with this statement.
    pub(crate) async fn begin<'e>(&self, statement: &'static str) -> Result<Tx<'e>, sqlx::Error> {
        let mut connection = CheckedOut::from_pool(&self.pool).await?;
        self.with_timeout(sqlx::raw_sql(statement).execute(&mut *connection)).await?;
        Ok(Tx { connection, borrowed: PhantomData })
    }

    /// The result of `operation`, or an error after the timeout.
    pub(crate) async fn with_timeout<T, E>(
        &self,
        operation: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E>
    where
        E: From<sqlx::Error>,
    {
        with_timeout(self.timeout, operation).await
    }
}

async fn with_timeout<T, E>(
    timeout: Duration,
    operation: impl Future<Output = Result<T, E>>,
) -> Result<T, E>
where
    E: From<sqlx::Error>,
{
    match tokio::time::timeout(timeout, operation).await {
        Ok(outcome) => outcome,
        Err(_) => Err(E::from(sqlx::Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("postgres did not answer within {} s", timeout.as_secs()),
        )))),
    }
}

/// A connection out of the pool. Dropped before [`CheckedOut::check_in`], it is closed.
struct CheckedOut {
    connection: Option<PoolConnection<Postgres>>,
}

impl CheckedOut {
    async fn from_pool(pool: &PgPool) -> Result<Self, sqlx::Error> {
        Ok(Self { connection: Some(pool.acquire().await?) })
    }

    /// Ends the transaction in progress, and gives the connection back to the pool if the server answers.
    async fn end_transaction(mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        with_timeout(END_TIMEOUT, sqlx::raw_sql(statement).execute(&mut *self)).await?;
        self.check_in();
        Ok(())
    }

    /// Gives the connection back to the pool if the server answered. An error of the server is an answer.
    fn check_in_after<T>(self, answer: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        if matches!(answer, Ok(_) | Err(sqlx::Error::Database(_))) {
            self.check_in();
        }
        answer
    }

    /// The connection; this value has none afterwards, and its drop has no effect.
    fn take(&mut self) -> Self {
        Self { connection: self.connection.take() }
    }

    /// Gives the connection back to the pool.
    fn check_in(mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        // A batch of the ledger enlarges them to its own size, on each connection of the pool.
        connection.shrink_buffers();
        // The pool tests the connection, without a timeout of its own.
        let returned = connection.return_to_pool();
        let checking = async move {
            if tokio::time::timeout(CHECK_IN_TIMEOUT, returned).await.is_err() {
                tracing::debug!(
                    "a connection is closed: it did not answer to the test of the pool"
                );
            }
        };
        drop(spawn_detached(checking));
    }
}

#[expect(clippy::expect_used, reason = "only what ends the value removes the connection")]
impl Deref for CheckedOut {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("the connection is checked out")
    }
}

#[expect(clippy::expect_used, reason = "only what ends the value removes the connection")]
impl DerefMut for CheckedOut {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("the connection is checked out")
    }
}

impl Drop for CheckedOut {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // Detached, its socket closes at once, and the server rolls back. Given back, the pool
            // would first wait for an answer.
            drop(connection.detach());
        }
    }
}

/// A transaction in progress; `'e` is the lifetime of what its closure borrows. Dropped, it is rolled
/// back; its connection is closed if the server does not answer.
pub struct Tx<'e> {
    connection: CheckedOut,
    // `&'t mut Tx<'e>` tells the compiler that 'e outlives 't, so the future of the closure may hold
    // what the closure borrows.
    borrowed: PhantomData<&'e ()>,
}

impl Tx<'_> {
    /// Commits.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownOutcome`] without an answer.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        let committed = self.connection.take().end_transaction("commit").await;
        committed.map_err(StoreError::from_commit)
    }
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        let connection = self.connection.take();
        // Without a runtime the process ends, and the connection with it.
        if connection.connection.is_some() && tokio::runtime::Handle::try_current().is_ok() {
            drop(spawn_detached(async move {
                if let Err(error) = connection.end_transaction("rollback").await {
                    tracing::debug!(error = %error, "a connection is closed: its rollback was not answered: {error}");
                }
            }));
        }
    }
}

impl Deref for Tx<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Tx<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl<'p> Executor<'p> for &'p TimedPool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let answer = async move {
            let mut connection = CheckedOut::from_pool(&self.pool).await?;
            let rows = connection.fetch_many(query).try_collect::<Vec<_>>();
            let rows = self.with_timeout(rows).await;
            let rows = connection.check_in_after(rows)?;
            Ok::<_, sqlx::Error>(stream::iter(rows.into_iter().map(Ok)))
        };
        Box::pin(answer.try_flatten_stream())
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
            let mut connection = CheckedOut::from_pool(&self.pool).await?;
            let answer = self.with_timeout(connection.fetch_optional(query)).await;
            connection.check_in_after(answer)
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
        // The service prepares and describes no statement by itself, so it needs no timeout here.
        self.pool.prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'p: 'e,
    {
        self.pool.describe(sql)
    }
}
