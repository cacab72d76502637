//! Lets the planner know tables that have grown since they were created.
//!
//! # Why
//!
//! A plan that was made for a table without statistics stays until the table is analyzed, and it may read all rows
//! of a tenant for each call. Autovacuum analyzes a new table within a minute or two; a node that catches up
//! appends hundreds of thousands of events meanwhile.

use sqlx::AssertSqlSafe;

use crate::postgres::{Postgres, StoreError};

/// Analyzes the tables that have rows and were never analyzed. Returns their number.
///
/// # Errors
///
/// [`StoreError`].
pub async fn analyze_new_tables(store: &Postgres) -> Result<usize, StoreError> {
    let names: Vec<String> = sqlx::query_scalar(SELECT_NEW_TABLES).fetch_all(&store.pool).await?;
    for name in &names {
        // The name is quoted by the database.
        sqlx::raw_sql(AssertSqlSafe(format!("analyze {name}"))).execute(&store.pool).await?;
    }
    Ok(names.len())
}

statements! {
    /// Those of at least eight pages.
    const SELECT_NEW_TABLES: &str =
        "select format('%I.%I', namespace.nspname, class.relname) from pg_class as class
         join pg_namespace as namespace on namespace.oid = class.relnamespace
         where namespace.nspname = 'public' and class.relkind = 'r' and class.reltuples < 0
             and pg_get_userbyid(class.relowner) = current_user and pg_relation_size(class.oid) >= 65536";
}
