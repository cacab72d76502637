//! Connection pools, and transactions that are retried on conflicts.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use metrics::gauge;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use super::error::StoreError;
use super::timed_pool::{TimedPool, Tx};
use crate::postgres::query::snapshot::TenantSnapshot;
use crate::postgres::webhook::tenant_cache::TenantCache;
use crate::telemetry::names;
use onrecord_evidence::event::ids::Tenant;

/// Access to PostgreSQL. The ledger, the readers and the spool have a pool each, so that none waits for
/// connections of another.
#[derive(Clone)]
pub struct Postgres {
    pub(crate) pool: TimedPool,
    pub(crate) readers: TimedPool,
    /// Snapshots of exports, which take minutes.
    exports: TimedPool,
    /// The rows of flat records, which take seconds for a large call.
    flat_records: TimedPool,
    pub(crate) spool: TimedPool,
    /// Claims and results of outbound webhooks, and their subscriptions.
    pub(crate) webhooks: TimedPool,
    /// The tenants that have subscriptions of outbound webhooks.
    pub(crate) webhook_tenants: Arc<TenantCache>,
    /// Whether the last write to the spool failed.
    pub(crate) spool_write_failed: Arc<AtomicBool>,
    options: Arc<PgConnectOptions>,
}

/// Maximum number of attempts of a transaction that conflicts with others.
const MAX_ATTEMPTS: usize = 8;
/// Maximum time in which such a transaction is repeated at once. After a wait for a lock the caller waits.
const MAX_REPEAT_TIME: Duration = Duration::from_secs(5);
/// Maximum number of connections for everything but readers and the spool: three followers, drain,
/// maintenance, readiness checks, API keys and background writers, each of which needs one at times.
const LEDGER_CONNECTIONS: u32 = 8;
/// Maximum number of connections for the spool.
const SPOOL_CONNECTIONS: u32 = 4;
/// Maximum number of connections for outbound webhooks: claims, results, and their routes.
const WEBHOOK_CONNECTIONS: u32 = 4;
/// Maximum number of connections for exports.
pub(crate) const EXPORT_CONNECTIONS: u32 = 4;
/// Timeout of a statement that reads the rows of a view for an export. Its snapshot keeps dead rows from being
/// removed for as long.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(2 * 3600);
/// Timeout between two statements of an export: the rows of the first may still be on their way to its files.
const EXPORT_IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// Timeout of a statement that reads the rows of flat records, for one call at least.
const FLAT_RECORDS_TIMEOUT: Duration = Duration::from_secs(60);
/// Timeout for a connection out of the pool of the ledger or of the readers.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of a statement of the ledger or of readers, on the server.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(12);
/// The part of the timeout of a statement for which it may wait for a lock, in sixths. It is shorter: a table that
/// an operator has locked for a while says nothing about the statement that waits, and the error names the lock.
const LOCK_TIMEOUT_SIXTHS: u32 = 5;
/// Timeout for a connection out of the pool of the spool, for which a sender waits. Not shorter: on an
/// overloaded machine a new connection takes more than a second, and a connection that is abandoned
/// before it is established is not available to the next sender either.
const SPOOL_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of a statement on the spool, on the server.
const SPOOL_STATEMENT_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum idle time after which a connection is used again without a test.
const MAX_UNTESTED_IDLE: Duration = Duration::from_millis(100);
/// Timeout of the test of a connection. One that does not answer is closed, and the pool tries the next.
const PING_TIMEOUT: Duration = Duration::from_millis(500);

/// The options of each session of the service.
pub(crate) fn session_options(
    options: &PgConnectOptions,
    application: &str,
    statement: Duration,
) -> PgConnectOptions {
    options.clone().application_name(application).options([
        ("synchronous_commit", "on".to_owned()),
        ("statement_timeout", statement.as_millis().to_string()),
        ("lock_timeout", (statement * LOCK_TIMEOUT_SIXTHS / 6).as_millis().to_string()),
        // The locks of a frozen node end by themselves.
        ("idle_in_transaction_session_timeout", "5000".to_owned()),
        ("timezone", "UTC".to_owned()),
        // Every statement takes milliseconds. The planner often expects many more rows of a list of ids than
        // it has, and to compile the plan would take most of a second.
        ("jit", "off".to_owned()),
    ])
}

impl Postgres {
    /// Sets the gauges of the connections of each pool.
    pub(crate) fn report_connections(&self) {
        for (name, pool) in [
            ("ledger", &self.pool),
            ("readers", &self.readers),
            ("exports", &self.exports),
            ("flat_records", &self.flat_records),
            ("spool", &self.spool),
            ("webhooks", &self.webhooks),
        ] {
            let (size, idle) = pool.connections();
            let used = size.saturating_sub(idle);
            for (state, number) in [("idle", idle), ("used", used)] {
                gauge!(names::POSTGRES_CONNECTIONS, "pool" => name, "state" => state).set(number);
            }
        }
    }

    /// Prepares the pools, with at most `connections` for readers. Does not connect: Postgres may start
    /// later.
    ///
    /// # Errors
    ///
    /// The URL cannot be parsed.
    pub fn new(url: &str, connections: u32) -> Result<Self, StoreError> {
        let options: PgConnectOptions = url.parse()?;
        let pool = |options: PgConnectOptions, max: u32, acquire: Duration, statement: Duration| {
            let pool = PgPoolOptions::new()
                .max_connections(max)
                .acquire_timeout(acquire)
                .max_lifetime(Duration::from_secs(3600))
                // The test of sqlx has no timeout of its own: it would spend the caller's time on the
                // first of several connections that may all be dead.
                .test_before_acquire(false)
                .before_acquire(|connection, idle| {
                    Box::pin(async move {
                        if idle.idle_for < MAX_UNTESTED_IDLE {
                            return Ok(true);
                        }
                        match tokio::time::timeout(PING_TIMEOUT, connection.ping()).await {
                            Ok(answer) => answer.map(|()| true),
                            Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
                        }
                    })
                })
                .connect_lazy_with(options);
            // The timeout on the server comes first, if the server answers.
            TimedPool::new(pool, statement + Duration::from_secs(1))
        };
        let session =
            |application: &str, statement| session_options(&options, application, statement);
        // The last one of several options of a name counts.
        let exports = session("onrecord-exports", EXPORT_TIMEOUT).options([(
            "idle_in_transaction_session_timeout",
            EXPORT_IDLE_TIMEOUT.as_millis().to_string(),
        )]);
        Ok(Self {
            pool: pool(
                session("onrecord", STATEMENT_TIMEOUT),
                LEDGER_CONNECTIONS,
                ACQUIRE_TIMEOUT,
                STATEMENT_TIMEOUT,
            ),
            readers: pool(
                session("onrecord-readers", STATEMENT_TIMEOUT),
                connections,
                ACQUIRE_TIMEOUT,
                STATEMENT_TIMEOUT,
            ),
            exports: pool(exports, EXPORT_CONNECTIONS, ACQUIRE_TIMEOUT, EXPORT_TIMEOUT),
            flat_records: pool(
                session("onrecord-flat-records", FLAT_RECORDS_TIMEOUT),
                1,
                ACQUIRE_TIMEOUT,
                FLAT_RECORDS_TIMEOUT,
            ),
            spool: pool(
                session("onrecord-spool", SPOOL_STATEMENT_TIMEOUT),
                SPOOL_CONNECTIONS,
                SPOOL_ACQUIRE_TIMEOUT,
                SPOOL_STATEMENT_TIMEOUT,
            ),
            webhooks: pool(
                session("onrecord-webhooks", STATEMENT_TIMEOUT),
                WEBHOOK_CONNECTIONS,
                ACQUIRE_TIMEOUT,
                STATEMENT_TIMEOUT,
            ),
            webhook_tenants: Arc::default(),
            spool_write_failed: Arc::default(),
            options: Arc::new(options),
        })
    }

    /// A single connection outside the pools and without a statement timeout, for migrations and for
    /// the listener of the spool.
    pub(crate) async fn single_connection(&self, application: &str) -> Result<PgPool, sqlx::Error> {
        let options = PgConnectOptions::clone(&self.options).application_name(application);
        let one = PgPoolOptions::new().max_connections(1);
        one.acquire_timeout(ACQUIRE_TIMEOUT).connect_with(options).await
    }

    /// The options of a connection without the timeouts of the service. What it commits may be lost in a crash
    /// of the server: what is generated can be generated again.
    #[cfg(feature = "demo")]
    pub(crate) fn untimed_options(&self, application: &str) -> PgConnectOptions {
        let options = PgConnectOptions::clone(&self.options).application_name(application);
        options.options([("timezone", "UTC"), ("synchronous_commit", "off")])
    }

    /// Runs one transaction, named `name` in the log. When it conflicts with another transaction, `body`
    /// runs again in a new one.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; nothing was stored then, except perhaps after [`StoreError::UnknownOutcome`].
    pub async fn run_tx<'e, T, F>(&self, name: &'static str, mut body: F) -> Result<T, StoreError>
    where
        T: Send,
        F: for<'t> FnMut(&'t mut Tx<'e>) -> BoxFuture<'t, Result<T, StoreError>> + Send,
    {
        let began = Instant::now();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let outcome = self.attempt(&mut body).await;
            let may_repeat = attempts < MAX_ATTEMPTS && began.elapsed() < MAX_REPEAT_TIME;
            match outcome {
                Err(StoreError::Contended(error)) if may_repeat => {
                    tracing::debug!(transaction.name = name, transaction.attempts = attempts, error = %error, "the transaction {name} runs again after a conflict");
                }
                outcome => return outcome,
            }
        }
    }

    async fn attempt<'e, T, F>(&self, body: &mut F) -> Result<T, StoreError>
    where
        T: Send,
        F: for<'t> FnMut(&'t mut Tx<'e>) -> BoxFuture<'t, Result<T, StoreError>> + Send,
    {
        let mut tx = self.pool.begin("begin").await?;
        let outcome = self.pool.with_timeout(body(&mut tx)).await?;
        tx.commit().await?;
        Ok(outcome)
    }

    /// Begins a read-only transaction for a tenant, under the role `onrecord_reader` and with one snapshot
    /// for all statements.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn read(&self, tenant: &Tenant) -> Result<TenantSnapshot, StoreError> {
        Self::snapshot_in(&self.readers, tenant).await
    }

    /// The same for an export, whose statements may take minutes.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn read_export(&self, tenant: &Tenant) -> Result<TenantSnapshot, StoreError> {
        Self::snapshot_in(&self.exports, tenant).await
    }

    /// Begins a read-only transaction for the rows of flat records, of all tenants.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn read_flat_records(&self) -> Result<Tx<'static>, StoreError> {
        Ok(self.flat_records.begin("begin isolation level repeatable read read only").await?)
    }

    async fn snapshot_in(pool: &TimedPool, tenant: &Tenant) -> Result<TenantSnapshot, StoreError> {
        let mut transaction = pool.begin("begin isolation level repeatable read read only").await?;
        sqlx::query(SET_READER).bind(tenant.as_str()).execute(&mut *transaction).await?;
        Ok(TenantSnapshot { transaction, tenant: tenant.clone() })
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.pool().close().await;
        self.readers.pool().close().await;
        self.exports.pool().close().await;
        self.flat_records.pool().close().await;
        self.spool.pool().close().await;
        self.webhooks.pool().close().await;
    }
}

statements! {
    const SET_READER: &str = "select set_config('role', 'onrecord_reader', true), set_config('onrecord.tenant', $1, true)";
}
