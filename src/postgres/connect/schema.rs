//! Migrations, and the monthly partitions of `entry`, which are created in advance.

use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};
use sqlx::AssertSqlSafe;
use sqlx::migrate::Migrator;

use crate::postgres::{Postgres, StoreError};

pub(crate) static MIGRATOR: Migrator = sqlx::migrate!();

/// Creates the roles of readers where they do not exist, and grants that of the query API to the user:
/// migrations that may run again, because a dump does not contain roles.
const READER_ROLES: [&str; 2] = [
    include_str!("../../../migrations/20261201000000_reader_role.sql"),
    include_str!("../../../migrations/20261203000009_reading_role.sql"),
];

/// Number of months after the current one for which partitions are created.
const MONTHS_AHEAD: u32 = 2;

/// The months that have a partition each: from the previous one to [`MONTHS_AHEAD`].
pub(crate) fn partition_months(now: DateTime<Utc>) -> Vec<NaiveDate> {
    let this_month = NaiveDate::from_ymd_opt(now.year(), now.month(), 1);
    let first = this_month.map(|month| month - Months::new(1));
    first.map_or_else(Vec::new, |first| {
        (0..=MONTHS_AHEAD + 1).map(|ahead| first + Months::new(ahead)).collect()
    })
}

/// The name of a month's partition of `entry`.
pub(crate) fn partition_name(month: NaiveDate) -> String {
    format!("entry_{}", month.format("%Y_%m"))
}

impl Postgres {
    /// Migrates the schema to this version, under the lock for migrations: several nodes may try at the
    /// same time.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn migrate(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        if !self.is_migrated().await.unwrap_or(false) {
            self.apply_migrations().await?;
        }
        self.complete_restore().await?;
        self.create_partitions(now).await
    }

    /// Creates the roles of readers. A database that is restored from a dump needs them before.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn create_reader_roles(&self) -> Result<(), StoreError> {
        let pool = self.single_connection("onrecord-migrate").await?;
        let mut created = Ok(());
        for role in READER_ROLES {
            created = created.and(sqlx::raw_sql(role).execute(&pool).await.map(|_| ()));
        }
        pool.close().await;
        created.map_err(StoreError::from)
    }

    /// Makes what a dump does not contain, after it was restored: the roles of readers with what they may
    /// see, and the numbers of rows that follow those of the cluster of the dump.
    async fn complete_restore(&self) -> Result<(), StoreError> {
        let reason = match self.unusable().await? {
            Some(reason) => Some(reason),
            None => self.unusable_logins().await?,
        };
        let Some(reason) = reason else {
            return Ok(());
        };
        tracing::info!("the database was restored from a dump, and is completed: {reason}");
        self.create_reader_roles().await?;
        sqlx::query(ADMIT_READERS).execute(&self.pool).await?;
        sqlx::query(ADOPT_CLUSTER).execute(&self.pool).await?;
        Ok(())
    }

    /// Why a migrated database cannot be used; `None`: it can.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn unusable(&self) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar(SELECT_UNUSABLE).fetch_one(&self.pool).await?)
    }

    /// Why logins for SQL clients see nothing; `None`: they do. The service itself does not need them.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn unusable_logins(&self) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar(SELECT_UNUSABLE_LOGINS).fetch_one(&self.pool).await?)
    }

    async fn apply_migrations(&self) -> Result<(), StoreError> {
        let pool = self.single_connection("onrecord-migrate").await?;
        // A node that freezes during a migration must not block the others permanently.
        sqlx::raw_sql(
            "set lock_timeout = '60s'; set idle_session_timeout = '60s'; set idle_in_transaction_session_timeout = '60s'",
        )
        .execute(&pool)
        .await?;
        let outcome = MIGRATOR.run(&pool).await;
        pool.close().await;
        outcome.map_err(|error| match error {
            sqlx::migrate::MigrateError::Execute(error) => StoreError::from(error),
            other => StoreError::Schema(other),
        })
    }

    /// Whether Postgres answers.
    pub async fn answers(&self) -> bool {
        sqlx::query(SELECT_ONE).execute(&self.pool).await.is_ok()
    }

    /// Whether all migrations that this version has are applied. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn is_migrated(&self) -> Result<bool, StoreError> {
        let applied: Vec<i64> =
            sqlx::query_scalar(SELECT_APPLIED_MIGRATIONS).fetch_all(&self.pool).await?;
        Ok(MIGRATOR.iter().all(|migration| applied.contains(&migration.version)))
    }

    /// Creates the monthly partitions of `entry` that do not exist yet. Rows of other months (an import
    /// of old events) go to `entry_default`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn create_partitions(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        for from in partition_months(now) {
            let to = from + Months::new(1);
            let statement = format!(
                "create table if not exists {} partition of entry for values from ('{from} 00:00:00+00') to ('{to} 00:00:00+00')",
                partition_name(from),
            );
            // DDL takes no parameters: the only statement that is no constant, built from dates only.
            match sqlx::query(AssertSqlSafe(statement))
                .execute(&self.pool)
                .await
                .map_err(StoreError::from)
            {
                Ok(_) => {}
                // Another node created it.
                Err(StoreError::Fault(error)) if is_duplicate_table(&error) => {}
                // The default partition has rows of that month, and they stay there.
                Err(StoreError::Content(error)) => {
                    tracing::warn!(error = %error, "the partition of entry for {} cannot be created, its rows stay in entry_default", from.format("%Y-%m"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn is_duplicate_table(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(database) if matches!(database.code().as_deref(), Some("42P07" | "23505")))
}

statements! {
    const SELECT_ONE: &str = "select 1";

    const SELECT_APPLIED_MIGRATIONS: &str = "select version from _sqlx_migrations where success";

    const SELECT_UNUSABLE: &str =
        "select case
             when not exists (select from pg_roles where rolname = 'onrecord_reader')
                 then 'the role onrecord_reader does not exist'
             when not pg_has_role(current_user, 'onrecord_reader',
                     case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end)
                 then format('%I may not take the role onrecord_reader', current_user)
             when exists (
                     select from readable_tables() as readable
                     where not has_table_privilege('onrecord_reader', 'public.' || quote_ident(readable.name), 'select')
                         or not exists (
                             select from pg_policies where schemaname = 'public' and tablename = readable.name
                                 and 'onrecord_reader' = any(roles)))
                 then 'the role onrecord_reader may not read all tables of readers'
             when not cluster_is_adopted()
                 then 'the database comes from another cluster'
         end";

    const SELECT_UNUSABLE_LOGINS: &str =
        "select case
             when not exists (select from pg_roles where rolname = 'onrecord_reading')
                 then 'the role onrecord_reading does not exist'
             when not has_schema_privilege('onrecord_reading', 'reading', 'usage')
                     or exists (
                         select from login_tables() as readable
                         where not has_any_column_privilege('onrecord_reading', 'public.' || quote_ident(readable.name), 'select')
                             or not exists (
                                 select from pg_policies where schemaname = 'public' and tablename = readable.name
                                     and 'onrecord_reading' = any(roles)))
                 then 'the role onrecord_reading may not read what the schema reading uses'
         end";

    const ADMIT_READERS: &str = "select admit_readers(), admit_logins()";

    const ADOPT_CLUSTER: &str = "select adopt_cluster()";
}
