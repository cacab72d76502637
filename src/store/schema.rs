//! Migrations, and the monthly partitions that are made ahead.

use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};
use sqlx::AssertSqlSafe;
use sqlx::migrate::Migrator;

use super::{Store, StoreError};

pub(super) static MIGRATOR: Migrator = sqlx::migrate!();

/// Partitions are made for so many months after the current one.
const MONTHS_AHEAD: u32 = 2;

/// The months from the last one to two ahead, for which there is a partition each.
pub(super) fn months(now: DateTime<Utc>) -> Vec<NaiveDate> {
    let this_month = NaiveDate::from_ymd_opt(now.year(), now.month(), 1);
    let first = this_month.map(|month| month - Months::new(1));
    first.map_or_else(Vec::new, |first| {
        (0..=MONTHS_AHEAD + 1)
            .map(|ahead| first + Months::new(ahead))
            .collect()
    })
}

/// The name of a month's partition of `entry`.
pub(super) fn partition_of(month: NaiveDate) -> String {
    format!("entry_{}", month.format("%Y_%m"))
}

impl Store {
    /// Brings the schema up to this version, under Postgres's own lock: several nodes may try at
    /// one time.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn migrate(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        if self.is_migrated().await.unwrap_or(false) {
            return self.make_partitions(now).await;
        }
        let pool = self.one_connection("onrecord-migrate").await?;
        // A node that is frozen in the middle must not keep the others from it for ever.
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
        })?;
        self.make_partitions(now).await
    }

    /// Whether Postgres answers at all.
    pub async fn answers(&self) -> bool {
        sqlx::query("select 1").execute(&self.pool).await.is_ok()
    }

    /// Whether the schema is the one that this version wants, without changing it.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn is_migrated(&self) -> Result<bool, StoreError> {
        let applied: Vec<i64> =
            sqlx::query_scalar("select version from _sqlx_migrations where success")
                .fetch_all(&self.pool)
                .await?;
        Ok(MIGRATOR
            .iter()
            .all(|migration| applied.contains(&migration.version)))
    }

    /// Makes the monthly partitions of `entry` from the last month to two months ahead. What
    /// falls outside (an import of old events) lies in `entry_default`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn make_partitions(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        for from in months(now) {
            let to = from + Months::new(1);
            let statement = format!(
                "create table if not exists {} partition of entry for values from ('{from} 00:00:00+00') to ('{to} 00:00:00+00')",
                partition_of(from),
            );
            // Made of dates only.
            match sqlx::query(AssertSqlSafe(statement))
                .execute(&self.pool)
                .await
                .map_err(StoreError::from)
            {
                Ok(_) => {}
                // Another node was quicker.
                Err(StoreError::Fault(error)) if is_duplicate_table(&error) => {}
                // Rows of that month lie in the default partition already; they stay there.
                Err(StoreError::Content(error)) => {
                    tracing::warn!(error = %error, "the partition of entry for {} cannot be made, its rows stay in entry_default", from.format("%Y-%m"));
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
