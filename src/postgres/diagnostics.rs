//! The state of Postgres and of the tables, for `onrecord doctor`. Reads only.
//!
//! # Why
//!
//! The queries use a connection outside the pools: a pool retries until it can only report a timeout,
//! and `doctor` has to report the reason. Each query has a timeout. After the first query without an
//! answer no more are sent, and the remaining results state that.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{Connection as _, FromRow, PgConnection};
use tokio::time::error::Elapsed;

use crate::clock;
use crate::postgres::PostponedWork;
use crate::postgres::connect::pool::session_options;
use crate::postgres::connect::schema::{MIGRATOR, partition_months, partition_name};

/// Timeout of the connection, and of each query.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// Timeout of each query on the server. Tables that are too large for it are not counted.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3);

/// The result of a query, or the reason why there is none.
pub type TableCheck<T> = Result<T, String>;

/// The reason why Postgres cannot be queried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostgresUnreachable {
    /// `database_url` cannot be parsed.
    #[error("{0}")]
    Settings(String),
    /// Postgres does not answer, or rejects the connection.
    #[error("{0}")]
    Unreachable(String),
}

/// The state of Postgres and of the tables.
#[derive(Clone, Debug)]
pub struct PostgresDiagnostics {
    pub server: ServerDiagnostics,
    /// The clock of Postgres minus the clock of this machine.
    pub clock_ahead: TableCheck<TimeDelta>,
    pub schema: TableCheck<SchemaDiagnostics>,
    pub tables: TableCheck<Vec<TableDiagnostics>>,
    /// Partitions of `entry` that do not exist and should.
    pub missing_partitions: TableCheck<Vec<String>>,
    /// Number of rows in the default partition; at most 10,000 are counted.
    pub unplaced: TableCheck<i64>,
    pub spool: TableCheck<SpoolDiagnostics>,
    pub quarantine: TableCheck<QuarantineDiagnostics>,
    /// What is left to the maintenance of the ledger.
    pub postponed: TableCheck<PostponedWork>,
    /// Number of followers of the ledger, of all topics and nodes together.
    pub ledger_followers: TableCheck<i64>,
    /// Gaps of the last 30 days, newest first.
    pub gaps: TableCheck<Vec<GapDiagnostics>>,
    pub positions: TableCheck<Vec<PositionDiagnostics>>,
    pub uses: TableCheck<Vec<SourceUseDiagnostics>>,
    /// Rejected deliveries of the last 24 hours.
    pub rejections: TableCheck<Vec<RejectionDiagnostics>>,
    pub webhooks: TableCheck<WebhookDiagnostics>,
}

/// The server, and the rights of the user on it.
#[derive(Clone, Debug, FromRow)]
pub struct ServerDiagnostics {
    /// Its clock.
    pub now: DateTime<Utc>,
    pub version: String,
    /// 150013 is 15.13.
    pub version_number: i32,
    pub fsync: String,
    pub full_page_writes: String,
    /// The value in sessions of the service.
    pub synchronous_commit: String,
    pub max_locks_per_transaction: i32,
    /// The locks for which the lock table has room, of all transactions together.
    pub lock_slots: i64,
    pub read_only: bool,
    pub role: String,
    pub superuser: bool,
    pub bypasses_row_security: bool,
    /// `onrecord_reader`, the role of the query API.
    pub reader_exists: bool,
    pub reader_can_be_set: bool,
    /// Superuser, or with `bypassrls`.
    pub reader_bypasses_row_security: bool,
}

/// Migrations, by their version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaDiagnostics {
    /// This program has them, and they were not applied.
    pub missing: Vec<i64>,
    /// They were applied, and this program does not have them.
    pub unknown: Vec<i64>,
    /// They were applied with a different content.
    pub altered: Vec<i64>,
    /// They were begun and did not finish.
    pub failed: Vec<i64>,
}

/// One table, or a partition of one.
#[derive(Clone, Debug, FromRow)]
pub struct TableDiagnostics {
    pub name: String,
    pub owner: String,
    /// The user owns it, or has the rights of the owner.
    pub ours: bool,
    /// Readers have the rights of the owner.
    pub reader_owns: bool,
    pub readable: bool,
    pub row_security: bool,
    /// Number of policies that limit readers.
    pub policies: i64,
}

/// Messages that wait for Kafka.
#[derive(Clone, Debug, FromRow)]
pub struct SpoolDiagnostics {
    pub rows: i64,
    pub oldest: Option<DateTime<Utc>>,
}

/// The subscriptions of outbound webhooks.
#[derive(Clone, Debug, FromRow)]
pub struct WebhookDiagnostics {
    pub pending: i64,
    pub active: i64,
    pub paused: i64,
    pub disabled: i64,
    /// Active ones to which nothing is sent for a while, because attempts failed.
    pub circuits_open: i64,
    /// Since when the message of an active one is due that is due for longest.
    pub due_since: Option<DateTime<Utc>>,
}

/// The quarantine.
#[derive(Clone, Debug)]
pub struct QuarantineDiagnostics {
    pub rows: i64,
    pub oldest: Option<DateTime<Utc>>,
    /// Number of rows of the last 24 hours by reason, the most frequent reason first.
    pub recent: Vec<(String, i64)>,
}

/// A part of the log that was missing or read again.
#[derive(Clone, Debug, FromRow)]
pub struct GapDiagnostics {
    pub topic: String,
    pub partition: i32,
    pub expected_offset: i64,
    pub resumed_offset: i64,
    pub reason: String,
    pub noticed_at: DateTime<Utc>,
    /// Number of acknowledged messages that were never read.
    pub unread_messages: i64,
}

/// A position of the ledger.
#[derive(Clone, Debug, FromRow)]
pub struct PositionDiagnostics {
    pub topic: String,
    pub partition: i32,
    pub next_offset: i64,
    /// The offset behind the last message that is known to be acknowledged.
    pub log_end: i64,
    pub owner: Option<String>,
    pub lease_ends_at: Option<DateTime<Utc>>,
    pub complete_through: Option<DateTime<Utc>>,
}

/// When a source was last accepted, and by which credential.
#[derive(Clone, Debug, FromRow)]
pub struct SourceUseDiagnostics {
    pub tenant: String,
    pub source: String,
    pub credential: String,
    pub last_used_at: DateTime<Utc>,
}

/// Deliveries of a source that were rejected for their credential.
#[derive(Clone, Debug, FromRow)]
pub struct RejectionDiagnostics {
    pub tenant: String,
    pub source: String,
    pub reason: String,
    pub deliveries: i64,
    pub ended_at: DateTime<Utc>,
    /// The source delivered nothing else meanwhile.
    pub beside_silence: bool,
}

/// Queries the state of Postgres and of the tables.
///
/// # Errors
///
/// [`PostgresUnreachable`].
pub async fn diagnose_postgres(url: &str) -> Result<PostgresDiagnostics, PostgresUnreachable> {
    let options: PgConnectOptions = url
        .parse()
        .map_err(|error: sqlx::Error| PostgresUnreachable::Settings(error.to_string()))?;
    let options = session_options(&options, "onrecord-doctor", STATEMENT_TIMEOUT);
    let connecting = tokio::time::timeout(ANSWER_TIMEOUT, PgConnection::connect_with(&options));
    let connected = as_check(connecting.await).map_err(PostgresUnreachable::Unreachable)?;
    let mut connection = DiagnosticConnection(Ok(connected));
    let server: ServerDiagnostics =
        connection.one(SELECT_SERVER).await.map_err(PostgresUnreachable::Unreachable)?;
    let clock_ahead = connection.clock_ahead().await;
    let schema = connection.schema().await;
    // Queries on tables that do not exist would give misleading errors.
    if schema.as_ref().is_ok_and(|schema| !schema.missing.is_empty()) {
        connection.close("the schema is not migrated").await;
    }
    let diagnostics = PostgresDiagnostics {
        clock_ahead,
        tables: connection.all(SELECT_TABLES).await,
        missing_partitions: connection.missing_partitions(server.now).await,
        unplaced: connection.one(COUNT_UNPLACED).await.map(|(rows,)| rows),
        spool: connection.one(SELECT_SPOOL).await,
        quarantine: connection.quarantine().await,
        postponed: connection.one(PostponedWork::query()).await,
        ledger_followers: connection.one(COUNT_FOLLOWERS).await.map(|(followers,)| followers),
        gaps: connection.all(SELECT_GAPS).await,
        positions: connection.all(SELECT_POSITIONS).await,
        uses: connection.all(SELECT_USES).await,
        rejections: connection.all(SELECT_REJECTIONS).await,
        webhooks: connection.one(SELECT_WEBHOOKS).await,
        schema,
        server,
    };
    connection.close("all queries are answered").await;
    Ok(diagnostics)
}

/// A connection, or the reason why no more queries are sent.
struct DiagnosticConnection(Result<PgConnection, String>);

impl DiagnosticConnection {
    async fn all<T>(&mut self, statement: &'static str) -> TableCheck<Vec<T>>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let connection = self.0.as_mut().map_err(|reason| reason.clone())?;
        let rows = sqlx::query_as(statement).fetch_all(connection);
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, rows).await;
        // An error of the server is an answer too.
        if !matches!(answer, Ok(Ok(_) | Err(sqlx::Error::Database(_)))) {
            self.0 = Err("postgres stopped answering".to_owned());
        }
        as_check(answer)
    }

    async fn one<T>(&mut self, statement: &'static str) -> TableCheck<T>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let rows = self.all(statement).await?;
        rows.into_iter().next().ok_or_else(|| "postgres gave no row".to_owned())
    }

    /// The difference of the clocks, measured by the fastest of three queries.
    async fn clock_ahead(&mut self) -> TableCheck<TimeDelta> {
        let mut measured: Vec<(TimeDelta, TimeDelta)> = Vec::new();
        for _ in 0..3 {
            let before = clock::now();
            let (theirs,): (DateTime<Utc>,) = self.one(SELECT_CLOCK).await?;
            let took = clock::now() - before;
            measured.push((took, theirs - (before + took / 2)));
        }
        let best = measured.into_iter().min_by_key(|(took, _)| *took);
        best.map(|(_, ahead)| ahead).ok_or_else(|| "postgres gave no time".to_owned())
    }

    async fn schema(&mut self) -> TableCheck<SchemaDiagnostics> {
        let (has_migrations,): (bool,) = self.one(SELECT_HAS_MIGRATIONS).await?;
        let applied: Vec<(i64, bool, Vec<u8>)> =
            if has_migrations { self.all(SELECT_MIGRATIONS).await? } else { Vec::new() };
        let known = MIGRATOR.iter().map(|it| (it.version, it.checksum.as_ref()));
        Ok(compare(&known.collect::<Vec<_>>(), &applied))
    }

    async fn missing_partitions(&mut self, now: DateTime<Utc>) -> TableCheck<Vec<String>> {
        let existing: Vec<(String,)> = self.all(SELECT_ENTRY_PARTITIONS).await?;
        let wanted = partition_months(now).into_iter().map(partition_name);
        Ok(wanted.filter(|name| !existing.iter().any(|(existing,)| existing == name)).collect())
    }

    async fn quarantine(&mut self) -> TableCheck<QuarantineDiagnostics> {
        let (rows, oldest) = self.one(SELECT_QUARANTINE_SIZE).await?;
        let recent = self.all(SELECT_RECENT_REASONS).await?;
        Ok(QuarantineDiagnostics { rows, oldest, recent })
    }

    /// Closes the connection; later queries have this reason as their result.
    async fn close(&mut self, reason: &str) {
        if let Ok(connection) = std::mem::replace(&mut self.0, Err(reason.to_owned())) {
            // Dropped, the connection closes too.
            let _is_closed = tokio::time::timeout(ANSWER_TIMEOUT, connection.close()).await;
        }
    }
}

fn as_check<T>(answer: Result<Result<T, sqlx::Error>, Elapsed>) -> TableCheck<T> {
    match answer {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err(format!("postgres did not answer within {} s", ANSWER_TIMEOUT.as_secs())),
    }
}

fn compare(known: &[(i64, &[u8])], applied: &[(i64, bool, Vec<u8>)]) -> SchemaDiagnostics {
    let mut schema = SchemaDiagnostics::default();
    for (version, checksum) in known {
        match applied.iter().find(|(applied, ..)| applied == version) {
            None => schema.missing.push(*version),
            Some((_, false, _)) => schema.failed.push(*version),
            Some((_, true, theirs)) if theirs != checksum => schema.altered.push(*version),
            Some(_) => {}
        }
    }
    let unknown =
        applied.iter().filter(|(version, ..)| !known.iter().any(|(known, _)| known == version));
    schema.unknown = unknown.map(|(version, ..)| *version).collect();
    schema
}

statements! {
    /// The right to take a role is named SET since PostgreSQL 16; before, each member may take the role.
    const SELECT_SERVER: &str =
        "select clock_timestamp() as now,
             current_setting('server_version') as version,
             current_setting('server_version_num')::int as version_number,
             current_setting('fsync') as fsync,
             current_setting('full_page_writes') as full_page_writes,
             current_setting('synchronous_commit') as synchronous_commit,
             current_setting('max_locks_per_transaction')::int as max_locks_per_transaction,
             current_setting('max_locks_per_transaction')::bigint
                 * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint) as lock_slots,
             pg_is_in_recovery() or current_setting('default_transaction_read_only') = 'on' as read_only,
             me.rolname::text as role,
             me.rolsuper as superuser,
             me.rolbypassrls as bypasses_row_security,
             reader.oid is not null as reader_exists,
             coalesce(pg_has_role(me.oid, reader.oid,
                 case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end), false) as reader_can_be_set,
             coalesce(reader.rolsuper or reader.rolbypassrls, false) as reader_bypasses_row_security
         from pg_roles me left join pg_roles reader on reader.rolname = 'onrecord_reader'
         where me.rolname = current_user";

    /// The database is for the service only, so all tables in it should belong to its user.
    const SELECT_TABLES: &str =
        "select class.relname::text as name,
             pg_get_userbyid(class.relowner)::text as owner,
             pg_has_role(class.relowner, 'USAGE') as ours,
             coalesce(pg_has_role(reader.oid, class.relowner, 'USAGE'), false) as reader_owns,
             coalesce(has_table_privilege(reader.oid, class.oid, 'SELECT'), false) as readable,
             class.relrowsecurity as row_security,
             (select count(*) from pg_policy policy
                 where policy.polrelid = class.oid and reader.oid = any(policy.polroles)) as policies
         from pg_class class left join pg_roles reader on reader.rolname = 'onrecord_reader'
         where class.relnamespace = 'public'::regnamespace and class.relkind in ('r', 'p')
         order by class.relname";

    const COUNT_UNPLACED: &str = "select count(*) from (select from entry_default limit 10000) as counted";

    const SELECT_SPOOL: &str = "select count(*) as rows, min(stored_at) as oldest from spool";

    const COUNT_FOLLOWERS: &str = "select count(*) from ledger_follower where expires_at >= now()";

    const SELECT_GAPS: &str =
        "select topic, partition, expected_offset, resumed_offset, reason, noticed_at,
             coalesce(unread_messages, greatest(resumed_offset - expected_offset, 0)) as unread_messages from stream_gap
         where noticed_at > now() - interval '30 days' order by noticed_at desc, id desc limit 1000";

    /// In the table -infinity means: never leased, or no low watermark yet.
    const SELECT_POSITIONS: &str =
        "select topic, partition, position.next_offset, greatest(coalesce(log_end.next_offset, 0), coalesce(log_end.former_offset, 0)) as log_end, owner,
             nullif(lease_ends_at, '-infinity') as lease_ends_at,
             nullif(complete_through, '-infinity') as complete_through
         from stream_position as position left join log_end using (topic, partition)
         order by topic, partition limit 10000";

    const SELECT_USES: &str =
        "select tenant, source, credential, last_used_at from source_use order by last_used_at desc limit 10000";

    const SELECT_REJECTIONS: &str =
        "select tenant, source, reason, deliveries, ended_at, silent_from is not null as beside_silence
         from rejection where ended_at > now() - interval '24 hours' order by ended_at desc limit 10000";

    const SELECT_CLOCK: &str = "select clock_timestamp()";

    // A role that may not use the schema finds no table in it by name.
    const SELECT_HAS_MIGRATIONS: &str =
        "select exists (select from pg_class where relnamespace = 'public'::regnamespace and relname = '_sqlx_migrations')";

    const SELECT_MIGRATIONS: &str = "select version, success, checksum from public._sqlx_migrations order by version";

    const SELECT_ENTRY_PARTITIONS: &str =
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'entry'::regclass";

    const SELECT_WEBHOOKS: &str =
        "select count(*) filter (where state = 'pending') as pending, count(*) filter (where state = 'active') as active,
             count(*) filter (where state = 'paused') as paused, count(*) filter (where state = 'disabled') as disabled,
             count(*) filter (where state = 'active' and circuit_until > now()) as circuits_open,
             min((select min(message.due_at) from webhook_message as message
                  where message.subscription = webhook_subscription.id and message.target = 'url' and message.state in ('due', 'retrying')
                      and message.due_at <= now())) filter (where state = 'active') as due_since
         from webhook_subscription where state <> 'deleted'";

    const SELECT_QUARANTINE_SIZE: &str = "select count(*), min(received_at) from quarantine";

    const SELECT_RECENT_REASONS: &str =
        "select reason, count(*) from quarantine
         where received_at > now() - interval '24 hours' group by reason order by 2 desc, 1";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applied_migrations_are_compared_with_those_of_this_program() {
        let known = [(1, &b"one"[..]), (2, b"two"), (3, b"three"), (4, b"four")];
        let applied = [
            (1, true, b"one".to_vec()),
            (2, true, b"other".to_vec()),
            (3, false, b"three".to_vec()),
            (9, true, b"nine".to_vec()),
        ];
        let expected = SchemaDiagnostics {
            missing: vec![4],
            unknown: vec![9],
            altered: vec![2],
            failed: vec![3],
        };
        assert_eq!(compare(&known, &applied), expected);
        assert_eq!(compare(&known, &[]).missing, [1, 2, 3, 4]);
    }
}
