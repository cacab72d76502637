//! How Postgres and our tables are, for `onrecord doctor`. Looks, and changes nothing.
//!
//! # Why
//!
//! One connection of its own and not a pool: a pool tries again until it says no more than that
//! time is up, and the reason is what is wanted here. Each question has a limit; the first one
//! that has no answer in time ends the looking, and the rest says so.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{Connection as _, FromRow, PgConnection};

use super::door::session;
use super::schema::{MIGRATOR, months, partition_of};
use crate::clock;

/// For the connection, and for each question.
const PATIENCE: Duration = Duration::from_secs(4);
/// The server's own limit for each; a table that is that large is not counted.
const STATEMENT: Duration = Duration::from_secs(3);

/// What was seen, or why nothing was.
pub type Look<T> = Result<T, String>;

/// Why nothing can be said of Postgres.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostgresAway {
    /// `database_url` cannot be read.
    #[error("{0}")]
    Settings(String),
    /// It does not answer, or refuses us.
    #[error("{0}")]
    Unreachable(String),
}

/// What can be seen of Postgres.
#[derive(Clone, Debug)]
pub struct PostgresCondition {
    pub server: ServerCondition,
    /// Postgres's clock less that of this machine.
    pub clock_ahead: Look<TimeDelta>,
    pub schema: Look<SchemaCondition>,
    pub tables: Look<Vec<TableCondition>>,
    /// Months that have no partition of `entry`, of those that should.
    pub missing_partitions: Look<Vec<String>>,
    /// Rows that lie in the default partition; no more than 10,000 are counted.
    pub unplaced: Look<i64>,
    pub spool: Look<SpoolCondition>,
    pub quarantine: Look<QuarantineCondition>,
    /// Of the last 30 days, newest first.
    pub gaps: Look<Vec<GapCondition>>,
    pub positions: Look<Vec<PositionCondition>>,
    pub uses: Look<Vec<UseCondition>>,
}

/// The server, and who we are there.
#[derive(Clone, Debug, FromRow)]
pub struct ServerCondition {
    /// Its clock.
    pub now: DateTime<Utc>,
    pub version: String,
    /// 150013 is 15.13.
    pub version_number: i32,
    pub fsync: String,
    pub full_page_writes: String,
    /// As our own sessions have it.
    pub synchronous_commit: String,
    pub read_only: bool,
    pub role: String,
    pub superuser: bool,
    pub bypasses_row_security: bool,
    /// `onrecord_reader`, under which readers are answered.
    pub reader_exists: bool,
    pub reader_can_be_set: bool,
    /// Superuser, or with `bypassrls`.
    pub reader_bypasses_row_security: bool,
}

/// Migrations, by their version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaCondition {
    /// This program knows them, and they were not applied.
    pub missing: Vec<i64>,
    /// They were applied, and this program does not know them.
    pub unknown: Vec<i64>,
    /// They were applied with another content.
    pub altered: Vec<i64>,
    /// They were begun and not finished.
    pub failed: Vec<i64>,
}

/// One table, or a partition of one.
#[derive(Clone, Debug, FromRow)]
pub struct TableCondition {
    pub name: String,
    pub owner: String,
    /// We are its owner, or may do what the owner may.
    pub ours: bool,
    /// Readers may.
    pub reader_owns: bool,
    pub readable: bool,
    pub row_security: bool,
    /// How many policies limit readers.
    pub policies: i64,
}

/// Messages that wait for Kafka.
#[derive(Clone, Debug, FromRow)]
pub struct SpoolCondition {
    pub rows: i64,
    pub oldest: Option<DateTime<Utc>>,
}

/// What was not understood.
#[derive(Clone, Debug)]
pub struct QuarantineCondition {
    pub rows: i64,
    pub oldest: Option<DateTime<Utc>>,
    /// How many came in the last 24 hours, by reason, most first.
    pub recent: Vec<(String, i64)>,
}

/// A stretch of the log that was gone or read anew.
#[derive(Clone, Debug, FromRow)]
pub struct GapCondition {
    pub topic: String,
    pub partition: i32,
    pub wanted: i64,
    pub resumed: i64,
    pub reason: String,
    pub noticed: DateTime<Utc>,
}

/// Where the ledger is.
#[derive(Clone, Debug, FromRow)]
pub struct PositionCondition {
    pub topic: String,
    pub partition: i32,
    pub next_offset: i64,
    pub owner: Option<String>,
    pub lease_until: Option<DateTime<Utc>>,
    pub complete_through: Option<DateTime<Utc>>,
}

/// When a source was last believed, and by what.
#[derive(Clone, Debug, FromRow)]
pub struct UseCondition {
    pub source: String,
    pub credential: String,
    pub last_used: DateTime<Utc>,
}

/// Looks at everything.
///
/// # Errors
///
/// [`PostgresAway`].
pub async fn postgres_condition(url: &str) -> Result<PostgresCondition, PostgresAway> {
    let options: PgConnectOptions = url
        .parse()
        .map_err(|error: sqlx::Error| PostgresAway::Settings(error.to_string()))?;
    let options = session(&options, "onrecord-doctor", STATEMENT);
    let connected = within(PgConnection::connect_with(&options)).await;
    let mut asker = Asker {
        connection: Some(connected.map_err(PostgresAway::Unreachable)?),
    };
    let server: ServerCondition = asker.one(SERVER).await.map_err(PostgresAway::Unreachable)?;
    let clock_ahead = asker.clock_ahead().await;
    let schema = asker.schema().await;
    // Questions about tables that are not there would be answered with riddles.
    let is_ready = match &schema {
        Ok(schema) if !schema.missing.is_empty() => Err("the schema is not migrated".to_owned()),
        _ => Ok(()),
    };
    let condition = PostgresCondition {
        clock_ahead,
        tables: asker.rows(&is_ready, TABLES).await,
        missing_partitions: asker.missing_partitions(&is_ready, server.now).await,
        unplaced: asker.number(&is_ready, UNPLACED).await,
        spool: asker.row(&is_ready, SPOOL).await,
        quarantine: asker.quarantine(&is_ready).await,
        gaps: asker.rows(&is_ready, GAPS).await,
        positions: asker.rows(&is_ready, POSITIONS).await,
        uses: asker.rows(&is_ready, USES).await,
        schema,
        server,
    };
    asker.goodbye().await;
    Ok(condition)
}

/// `set` is asked for by name since 16; before, a member may always set its role.
const SERVER: &str = "
    select clock_timestamp() as now,
        current_setting('server_version') as version,
        current_setting('server_version_num')::int as version_number,
        current_setting('fsync') as fsync,
        current_setting('full_page_writes') as full_page_writes,
        current_setting('synchronous_commit') as synchronous_commit,
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

/// The database is ours alone: every table in it should be ours.
const TABLES: &str = "
    select class.relname::text as name,
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

const UNPLACED: &str = "select count(*) from (select from entry_default limit 10000) as counted";

const SPOOL: &str = "select count(*) as rows, min(stored) as oldest from spool";

const GAPS: &str = "
    select topic, partition, wanted, resumed, reason, noticed from stream_gap
    where noticed > now() - interval '30 days' order by noticed desc, id desc limit 1000";

/// What was never claimed or completed is -infinity there.
const POSITIONS: &str = "
    select topic, partition, next_offset, owner,
        nullif(lease_until, '-infinity') as lease_until,
        nullif(complete_through, '-infinity') as complete_through
    from stream_position order by topic, partition limit 10000";

const USES: &str = "
    select source, credential, last_used from source_use order by last_used desc limit 10000";

/// A connection, until something on it had no answer.
struct Asker {
    connection: Option<PgConnection>,
}

impl Asker {
    async fn all<T>(&mut self, question: &'static str) -> Look<Vec<T>>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let Some(mut connection) = self.connection.take() else {
            return Err("postgres stopped answering".to_owned());
        };
        let rows = sqlx::query_as(question).fetch_all(&mut connection);
        match tokio::time::timeout(PATIENCE, rows).await {
            Ok(answer) => {
                // What the server refuses is an answer too.
                if matches!(answer, Ok(_) | Err(sqlx::Error::Database(_))) {
                    self.connection = Some(connection);
                }
                answer.map_err(|error| error.to_string())
            }
            Err(_) => Err(too_late()),
        }
    }

    async fn one<T>(&mut self, question: &'static str) -> Look<T>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let rows = self.all(question).await?;
        rows.into_iter()
            .next()
            .ok_or_else(|| "postgres gave no row".to_owned())
    }

    async fn rows<T>(&mut self, is_ready: &Look<()>, question: &'static str) -> Look<Vec<T>>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        is_ready.clone()?;
        self.all(question).await
    }

    async fn row<T>(&mut self, is_ready: &Look<()>, question: &'static str) -> Look<T>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        is_ready.clone()?;
        self.one(question).await
    }

    async fn number(&mut self, is_ready: &Look<()>, question: &'static str) -> Look<i64> {
        let (number,): (i64,) = self.row(is_ready, question).await?;
        Ok(number)
    }

    /// Of three looks at its clock that which took least time.
    async fn clock_ahead(&mut self) -> Look<TimeDelta> {
        let mut best: Option<(TimeDelta, TimeDelta)> = None;
        for _ in 0..3 {
            let before = clock::now();
            let (theirs,): (DateTime<Utc>,) = self.one("select clock_timestamp()").await?;
            let took = clock::now() - before;
            if best.is_none_or(|(least, _)| took < least) {
                best = Some((took, theirs - (before + took / 2)));
            }
        }
        best.map(|(_, ahead)| ahead)
            .ok_or_else(|| "postgres gave no time".to_owned())
    }

    async fn schema(&mut self) -> Look<SchemaCondition> {
        let (kept,): (bool,) = self
            .one("select to_regclass('_sqlx_migrations') is not null")
            .await?;
        let applied: Vec<(i64, bool, Vec<u8>)> = if kept {
            self.all("select version, success, checksum from _sqlx_migrations order by version")
                .await?
        } else {
            Vec::new()
        };
        let known: Vec<(i64, &[u8])> = MIGRATOR
            .iter()
            .map(|migration| (migration.version, migration.checksum.as_ref()))
            .collect();
        Ok(compare(&known, &applied))
    }

    async fn missing_partitions(
        &mut self,
        is_ready: &Look<()>,
        now: DateTime<Utc>,
    ) -> Look<Vec<String>> {
        let there: Vec<(String,)> = self
            .rows(
                is_ready,
                "select inhrelid::regclass::text from pg_inherits where inhparent = 'entry'::regclass",
            )
            .await?;
        let wanted = months(now).into_iter().map(partition_of);
        Ok(wanted
            .filter(|name| !there.iter().any(|(there,)| there == name))
            .collect())
    }

    async fn quarantine(&mut self, is_ready: &Look<()>) -> Look<QuarantineCondition> {
        let (rows, oldest): (i64, Option<DateTime<Utc>>) = self
            .row(is_ready, "select count(*), min(received) from quarantine")
            .await?;
        let recent = self
            .all(
                "select reason, count(*) from quarantine
                 where received > now() - interval '24 hours' group by reason order by 2 desc, 1",
            )
            .await?;
        Ok(QuarantineCondition {
            rows,
            oldest,
            recent,
        })
    }

    async fn goodbye(self) {
        if let Some(connection) = self.connection {
            let _nobody_minds = tokio::time::timeout(PATIENCE, connection.close()).await;
        }
    }
}

async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Look<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err(too_late()),
    }
}

fn too_late() -> String {
    format!("nothing came within {} s", PATIENCE.as_secs())
}

fn compare(known: &[(i64, &[u8])], applied: &[(i64, bool, Vec<u8>)]) -> SchemaCondition {
    let mut condition = SchemaCondition::default();
    for (version, checksum) in known {
        match applied.iter().find(|(applied, ..)| applied == version) {
            None => condition.missing.push(*version),
            Some((_, false, _)) => condition.failed.push(*version),
            Some((_, true, theirs)) if theirs != checksum => condition.altered.push(*version),
            Some(_) => {}
        }
    }
    let unknown = applied
        .iter()
        .filter(|(version, ..)| !known.iter().any(|(known, _)| known == version));
    condition.unknown = unknown.map(|(version, ..)| *version).collect();
    condition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_applied_is_compared_with_what_this_program_knows() {
        let known = [(1, &b"one"[..]), (2, b"two"), (3, b"three"), (4, b"four")];
        let applied = [
            (1, true, b"one".to_vec()),
            (2, true, b"other".to_vec()),
            (3, false, b"three".to_vec()),
            (9, true, b"nine".to_vec()),
        ];
        let expected = SchemaCondition {
            missing: vec![4],
            unknown: vec![9],
            altered: vec![2],
            failed: vec![3],
        };
        assert_eq!(compare(&known, &applied), expected);
        assert_eq!(compare(&known, &[]).missing, [1, 2, 3, 4]);
    }
}
