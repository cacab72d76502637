//! The one door to Postgres.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, PgConnection};

use super::error::StoreError;
use super::lending::{Lending, Transaction};
use super::reading::ReadingRoom;
use crate::domain::ids::Tenant;

/// The store: a pool for the ledger, one for readers, and a small one for the spool, so that none
/// waits for another.
#[derive(Clone)]
pub struct Store {
    pub(super) pool: Lending,
    readers: Lending,
    pub(super) spool: Lending,
    options: Arc<PgConnectOptions>,
}

/// A transaction that is going on; `'e` is the life of what its work borrows.
pub struct Work<'e> {
    transaction: Transaction,
    // `&'t mut Work<'e>` tells the compiler that 'e outlives 't, so that the future of the work
    // may hold what it borrows.
    borrowed: PhantomData<&'e ()>,
}

impl Deref for Work<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for Work<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

/// Another transaction was in the way so often: something is wrong beyond bad luck.
const MOST_TRIES: usize = 8;
/// Three followers, drainer, sweeper, checks, keys and what is noted in the background; each needs one
/// now and then.
const LEDGER_CONNECTIONS: u32 = 8;
/// How long the ledger and readers wait for a connection, and for a statement.
const ACQUIRE: Duration = Duration::from_secs(3);
const STATEMENT: Duration = Duration::from_secs(12);
/// The same for the spool, for which a sender waits. Not shorter: on a machine that is overloaded
/// a new connection takes more than a second, and one that is given up before it stands is never
/// there for the next sender either.
const SPOOL_ACQUIRE: Duration = Duration::from_secs(3);
const SPOOL_STATEMENT: Duration = Duration::from_secs(3);
/// A connection that was used so recently is not tested before its next use.
const FRESH: Duration = Duration::from_millis(100);
/// One that does not answer within this is closed, and the next one is tried.
const PING: Duration = Duration::from_millis(500);

/// How every session of ours is set up.
pub(super) fn session(
    options: &PgConnectOptions,
    application: &str,
    statement: Duration,
) -> PgConnectOptions {
    options.clone().application_name(application).options([
        ("synchronous_commit", "on".to_owned()),
        ("statement_timeout", statement.as_millis().to_string()),
        // A frozen owner's lock ends by itself.
        ("idle_in_transaction_session_timeout", "5000".to_owned()),
        ("timezone", "UTC".to_owned()),
    ])
}

impl Store {
    /// Prepares the connections, so many for readers; Postgres need not be there yet.
    ///
    /// # Errors
    ///
    /// The URL cannot be read.
    pub fn new(url: &str, connections: u32) -> Result<Self, StoreError> {
        let options: PgConnectOptions = url.parse()?;
        let pool = |application: &str, most: u32, acquire: Duration, statement: Duration| {
            let pool = PgPoolOptions::new()
                .max_connections(most)
                .acquire_timeout(acquire)
                // Connections are made in advance of need by traffic, not held for ever.
                .max_lifetime(Duration::from_secs(3600))
                // sqlx's own test waits for an answer as long as the caller has time, for the first
                // of several connections that may all be dead.
                .test_before_acquire(false)
                .before_acquire(|connection, idle| {
                    Box::pin(async move {
                        if idle.idle_for < FRESH {
                            return Ok(true);
                        }
                        match tokio::time::timeout(PING, connection.ping()).await {
                            Ok(answer) => answer.map(|()| true),
                            Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
                        }
                    })
                })
                .connect_lazy_with(session(&options, application, statement));
            // The server's own limit comes first, where it answers at all.
            Lending::new(pool, statement + Duration::from_secs(1))
        };
        Ok(Self {
            pool: pool("onrecord", LEDGER_CONNECTIONS, ACQUIRE, STATEMENT),
            readers: pool("onrecord-readers", connections, ACQUIRE, STATEMENT),
            spool: pool("onrecord-spool", 4, SPOOL_ACQUIRE, SPOOL_STATEMENT),
            options: Arc::new(options),
        })
    }

    /// A connection of its own, without a limit: a migration takes as long as it takes, and a
    /// listener waits for ever.
    pub(super) async fn one_connection(&self, application: &str) -> Result<PgPool, sqlx::Error> {
        let options = PgConnectOptions::clone(&self.options).application_name(application);
        let one = PgPoolOptions::new().max_connections(1);
        one.acquire_timeout(ACQUIRE).connect_with(options).await
    }

    /// Runs one transaction; the name is its metric and log label. Runs it again when another
    /// transaction was in the way, so `work` must bear being called several times.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; nothing was stored then, except after [`StoreError::UnknownOutcome`].
    pub async fn run<'e, T, F>(&self, name: &'static str, mut work: F) -> Result<T, StoreError>
    where
        T: Send,
        F: for<'t> FnMut(&'t mut Work<'e>) -> BoxFuture<'t, Result<T, StoreError>> + Send,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            let outcome = self.attempt(&mut work).await;
            match outcome {
                Err(StoreError::Contended(error)) if tries < MOST_TRIES => {
                    tracing::debug!(transaction.name = name, transaction.tries = tries, error = %error, "{name} is tried again");
                }
                outcome => return outcome,
            }
        }
    }

    async fn attempt<'e, T, F>(&self, work: &mut F) -> Result<T, StoreError>
    where
        T: Send,
        F: for<'t> FnMut(&'t mut Work<'e>) -> BoxFuture<'t, Result<T, StoreError>> + Send,
    {
        let mut going_on = Work {
            transaction: self.pool.begin("begin").await?,
            borrowed: PhantomData,
        };
        let outcome = self.pool.within(work(&mut going_on)).await?;
        going_on.transaction.commit().await?;
        Ok(outcome)
    }

    /// Reads for a tenant: under the readers' role, and with one snapshot for all statements.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn read(&self, tenant: &Tenant) -> Result<ReadingRoom, StoreError> {
        let mut transaction = self
            .readers
            .begin("begin isolation level repeatable read read only")
            .await?;
        sqlx::query("select set_config('role', 'onrecord_reader', true), set_config('onrecord.tenant', $1, true)")
            .bind(tenant.as_str())
            .execute(&mut *transaction)
            .await?;
        Ok(ReadingRoom::new(transaction, tenant.clone()))
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.pool().close().await;
        self.readers.pool().close().await;
        self.spool.pool().close().await;
    }
}
