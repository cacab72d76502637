//! The history of `tests/data/sql`: rows of many calls, of which other programs know the answers.

use sqlx::{AssertSqlSafe, PgConnection};

/// Makes the summaries of all calls of their other rows.
pub const SUMMARIZE_CALLS: &str = "update call as it set summary = summary_of_rows(it)";

/// Writes the history into a database that has the schema alone.
pub async fn write_history(owner: &mut PgConnection) {
    for statement in [
        "alter table call alter column summary drop not null",
        include_str!("../../data/sql/history.sql"),
        include_str!("../../data/sql/summary_of_rows.sql"),
        SUMMARIZE_CALLS,
        "alter table call alter column summary set not null",
    ] {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *owner).await.unwrap();
    }
}
