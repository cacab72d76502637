//! Writes the rows of generated calls, as the ledger would have written them.
//!
//! # Why
//!
//! `copy` takes a part of the time of the statements of the ledger, which look for what is stored already. So
//! it serves only calls of a tenant without rows, all of whose facts are known.

use chrono::{DateTime, Datelike as _, Utc};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgConnection};

use super::history_rows::{CopiedTable, HistoryRows};
use crate::postgres::{Postgres, StoreError, make_rollups, store_call_terms};
use onrecord_evidence::event::ids::Tenant;

/// Maximum number of hours of one step of roll-ups.
const MAX_ROLLED_HOURS: i32 = 100;

/// Writes rows of generated calls on connections of its own, without the timeouts of the service.
#[derive(Clone)]
pub(crate) struct HistoryStore {
    store: Postgres,
    pool: PgPool,
}

impl HistoryStore {
    /// Connects, at most this number of times.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn connect(store: &Postgres, connections: u32) -> Result<Self, StoreError> {
        let options = PgPoolOptions::new().max_connections(connections);
        let pool = options.connect_with(store.untimed_options("onrecord-history")).await?;
        Ok(Self { store: store.clone(), pool })
    }

    /// Whether a tenant has rows.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn has_rows(&self, tenant: &Tenant) -> Result<bool, StoreError> {
        let query = sqlx::query_scalar(SELECT_HAS_ROWS).bind(tenant.as_str());
        Ok(query.fetch_one(&self.pool).await?)
    }

    /// Creates the partitions of all months of a period, as the maintenance does with the time.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn create_partitions(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut month = from;
        while month <= to {
            self.store.create_partitions(month).await?;
            month = month.with_day(1).unwrap_or(month) + chrono::Months::new(1);
        }
        self.store.create_partitions(to).await
    }

    /// Writes rows in one transaction.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; nothing was written then.
    pub(crate) async fn write(&self, mut rows: HistoryRows) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        let connection = &mut *transaction;
        // The rows are of this transaction, so each snapshot of it includes them.
        let snapshot: String =
            sqlx::query_scalar(SELECT_WRITE_SNAPSHOT).fetch_one(&mut *connection).await?;
        for (table, lines) in rows.tables() {
            copy(connection, &table, lines.as_str()).await?;
        }
        let (table, lines) = rows.verdicts(&snapshot);
        copy(connection, &table, &lines).await?;
        store_call_terms(&mut *connection, rows.tenant(), &rows.terms, &[]).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Makes the roll-ups of all hours before one, as the maintenance does.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn make_rollups(&self, before_hour: DateTime<Utc>) -> Result<(), StoreError> {
        while make_rollups(&self.store, before_hour, MAX_ROLLED_HOURS).await? {}
        Ok(())
    }

    /// Lets the planner know the rows, and marks their pages as visible to all, as autovacuum does later.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn analyze(&self) -> Result<(), StoreError> {
        let tables = HistoryRows::default();
        let copied = tables.tables();
        let copied = copied.iter().map(|(table, _)| table.name);
        self.vacuum(copied.chain(["verdict", "call_term", "name_part"])).await
    }

    /// The same for the roll-ups, after they are made.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn analyze_rollups(&self) -> Result<(), StoreError> {
        self.vacuum(["rollup_change", "rollup_period", "rollup_histogram"].into_iter()).await
    }

    async fn vacuum(&self, tables: impl Iterator<Item = &'static str>) -> Result<(), StoreError> {
        for name in tables {
            let vacuum = format!("vacuum (analyze) {name}");
            sqlx::raw_sql(AssertSqlSafe(vacuum)).execute(&self.pool).await?;
        }
        Ok(())
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

async fn copy(
    connection: &mut PgConnection,
    table: &CopiedTable,
    lines: &str,
) -> Result<(), StoreError> {
    if lines.is_empty() {
        return Ok(());
    }
    let statement = format!("copy {} ({}) from stdin", table.name, table.columns);
    let mut copy = connection.copy_in_raw(&statement).await?;
    copy.send(lines.as_bytes()).await?;
    copy.finish().await?;
    Ok(())
}

statements! {
    const SELECT_HAS_ROWS: &str =
        "select exists (select from entry where entry.tenant = $1) or exists (select from notice_fact where notice_fact.tenant = $1)
             or exists (select from call where call.tenant = $1) or exists (select from call_alias where call_alias.tenant = $1)
             or exists (select from exception where exception.tenant = $1)";

    const SELECT_WRITE_SNAPSHOT: &str = "select write_snapshot()::text";
}
