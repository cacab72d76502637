//! What the reading room asks of exceptions and their stories.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::ReadingRoom;
use crate::store::StoreError;

/// Which exceptions, the last opened first.
#[derive(Debug, Default)]
pub struct ExceptionFilter {
    pub kind: Option<&'static str>,
    pub severity: Option<&'static str>,
    pub open: Option<bool>,
    pub call: Option<String>,
    pub source: Option<String>,
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    /// Only those after this one in the order of the list.
    pub after: Option<(DateTime<Utc>, Uuid)>,
    pub limit: i64,
}

#[derive(Debug, sqlx::FromRow)]
pub struct ExceptionRow {
    pub id: Uuid,
    pub kind: String,
    pub severity: String,
    pub call: Option<String>,
    pub source: Option<String>,
    pub at: Option<i64>,
    pub facts: Value,
    pub sentence: String,
    pub opened: DateTime<Utc>,
    pub closed: Option<DateTime<Utc>>,
    pub closed_by: Option<String>,
    pub closed_by_key: Option<Uuid>,
    pub reason: Option<String>,
}

/// A line of an exception's story.
#[derive(Debug, sqlx::FromRow)]
pub struct StoryRow {
    pub line: i32,
    pub what: String,
    pub at: DateTime<Utc>,
    pub actor: String,
    pub actor_key: Option<Uuid>,
    pub reason: String,
    pub facts: Value,
    pub version: Option<i32>,
}

const COLUMNS: &str = "id, kind, severity, call, source, at, facts, sentence, opened, closed, closed_by, closed_by_key, reason";

impl ReadingRoom {
    /// A list of exceptions.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn exceptions(
        &mut self,
        filter: &ExceptionFilter,
    ) -> Result<Vec<ExceptionRow>, StoreError> {
        let (after_opened, after_id) = filter.after.unzip();
        let statement = format!(
            "select {COLUMNS} from exception
             where tenant = $1
               and ($2::text is null or kind = $2) and ($3::text is null or severity = $3)
               and ($4::bool is null or (closed is null) = $4)
               and ($5::text is null or call = $5) and ($6::text is null or source = $6)
               and ($7::timestamptz is null or opened >= $7) and ($8::timestamptz is null or opened < $8)
               and ($9::timestamptz is null or (opened, id) < ($9, $10))
             order by opened desc, id desc limit $11"
        );
        // The columns are a constant of ours, every value is bound.
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(statement))
            .bind(self.tenant.as_str())
            .bind(filter.kind)
            .bind(filter.severity)
            .bind(filter.open)
            .bind(filter.call.as_deref())
            .bind(filter.source.as_deref())
            .bind(filter.from)
            .bind(filter.to)
            .bind(after_opened)
            .bind(after_id)
            .bind(filter.limit)
            .fetch_all(&mut *self.transaction)
            .await?)
    }

    /// One exception, and its story in order.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn exception(
        &mut self,
        id: Uuid,
    ) -> Result<Option<(ExceptionRow, Vec<StoryRow>)>, StoreError> {
        let statement = format!("select {COLUMNS} from exception where tenant = $1 and id = $2");
        let row: Option<ExceptionRow> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
            .bind(self.tenant.as_str())
            .bind(id)
            .fetch_optional(&mut *self.transaction)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let story = sqlx::query_as(
            "select line, what, at, actor, actor_key, reason, facts, version from exception_story
             where tenant = $1 and exception = $2 order by line",
        )
        .bind(self.tenant.as_str())
        .bind(id)
        .fetch_all(&mut *self.transaction)
        .await?;
        Ok(Some((row, story)))
    }
}
