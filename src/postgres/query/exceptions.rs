//! Queries on exceptions and their history.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::snapshot::TenantSnapshot;
use crate::http::timestamp::serialize_micros;
use crate::postgres::StoreError;

/// Number of open exceptions of a severity up to which they are counted.
pub const MAX_COUNTED_OPEN: i64 = 1_000;

/// Selects exceptions, the last opened first.
#[derive(Debug, Default)]
pub struct ExceptionFilter {
    pub kind: Option<&'static str>,
    pub severity: Option<&'static str>,
    pub open: Option<bool>,
    pub call: Option<String>,
    pub source: Option<String>,
    /// Those that this API key works on; the other: those without one.
    pub assignee: Option<Result<Uuid, Unassigned>>,
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    /// Position in the list after which the answer begins.
    pub after: Option<(DateTime<Utc>, Uuid)>,
    pub limit: i64,
}

/// Selects exceptions that have no assignee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unassigned;

/// A row of `exception`.
#[derive(Debug, sqlx::FromRow)]
pub struct ExceptionRow {
    pub id: Uuid,
    pub kind: String,
    pub severity: String,
    pub call: Option<String>,
    pub source: Option<String>,
    pub at_ms: Option<i64>,
    pub facts: Value,
    pub sentence: String,
    pub opened_at: DateTime<Utc>,
    pub closed_at: Option<DateTime<Utc>>,
    pub closed_by: Option<String>,
    pub closed_by_key: Option<Uuid>,
    pub reason: Option<String>,
    pub cause_ended: bool,
    /// Who works on it.
    pub assignee: Option<Uuid>,
    pub assignee_name: Option<String>,
}

/// The number of open exceptions of a severity.
#[derive(Debug, sqlx::FromRow)]
pub struct OpenExceptionCount {
    pub severity: String,
    pub open: i64,
    /// Those of them that were opened after the instant that was asked for.
    pub new: i64,
}

/// Who changed an exception: the service itself, or an API key.
#[derive(Debug, Serialize, sqlx::FromRow, ToSchema)]
pub struct ExceptionActor {
    /// The name of the API key, or `itself`: the service.
    #[sqlx(rename = "actor")]
    pub name: String,
    /// The id of the API key. Absent: the service itself.
    #[sqlx(rename = "actor_key")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Uuid>,
}

/// A step in the history of an exception.
#[derive(Debug, Serialize, sqlx::FromRow, ToSchema)]
#[schema(as = ExceptionChange)]
pub struct ExceptionHistoryRow {
    /// The number of the step, from 1.
    pub position: i32,
    /// `opened`, `changed`, `closed`, `reopened`, `assigned` or `noted`.
    pub change: String,
    /// When.
    #[serde(serialize_with = "serialize_micros")]
    pub at: DateTime<Utc>,
    /// Who.
    #[sqlx(flatten)]
    pub actor: ExceptionActor,
    /// Why.
    pub reason: String,
    /// The facts at that time.
    #[schema(value_type = Object)]
    pub facts: Value,
    /// The version of the verdict of the call. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i32>,
}

impl TenantSnapshot {
    /// Lists exceptions.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn exceptions(
        &mut self,
        filter: &ExceptionFilter,
    ) -> Result<Vec<ExceptionRow>, StoreError> {
        let (after_opened, after_id) = filter.after.unzip();
        Ok(sqlx::query_as(SELECT_EXCEPTIONS)
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
            .bind(filter.assignee.and_then(Result::ok))
            .bind(filter.assignee == Some(Err(Unassigned)))
            .fetch_all(&mut *self.transaction)
            .await?)
    }

    /// How many exceptions are open, by severity, and how many of them were opened after an instant; counted up to
    /// one more than [`MAX_COUNTED_OPEN`].
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn open_exception_counts(
        &mut self,
        since: Option<DateTime<Utc>>,
    ) -> Result<Vec<OpenExceptionCount>, StoreError> {
        let query = sqlx::query_as(COUNT_OPEN).bind(self.tenant.as_str()).bind(since);
        let query = query.bind(MAX_COUNTED_OPEN + 1);
        Ok(query.fetch_all(&mut *self.transaction).await?)
    }

    /// One exception, and its history in order.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn exception(
        &mut self,
        id: Uuid,
    ) -> Result<Option<(ExceptionRow, Vec<ExceptionHistoryRow>)>, StoreError> {
        let row = sqlx::query_as(SELECT_EXCEPTION).bind(self.tenant.as_str()).bind(id);
        let Some(row) = row.fetch_optional(&mut *self.transaction).await? else {
            return Ok(None);
        };
        let history = sqlx::query_as(SELECT_HISTORY).bind(self.tenant.as_str()).bind(id);
        Ok(Some((row, history.fetch_all(&mut *self.transaction).await?)))
    }
}

macro_rules! exception_columns {
    () => {
        "id, kind, severity, call, source, at_ms, facts, sentence, opened_at, closed_at, closed_by, closed_by_key, reason, cause_ended, assignee, assignee_name"
    };
}

statements! {
    const SELECT_EXCEPTIONS: &str = concat!(
        "select ",
        exception_columns!(),
        " from exception
         where tenant = $1
           and ($2::text is null or kind = $2) and ($3::text is null or severity = $3)
           and ($4::bool is null or (closed_at is null) = $4)
           and ($5::text is null or call = $5) and ($6::text is null or source = $6)
           and ($7::timestamptz is null or opened_at >= $7) and ($8::timestamptz is null or opened_at < $8)
           and ($9::timestamptz is null or (opened_at, id) < ($9, $10))
           and ($12::uuid is null or assignee = $12) and (not $13 or assignee is null)
         order by opened_at desc, id desc limit $11",
    );

    const SELECT_EXCEPTION: &str = concat!(
        "select ",
        exception_columns!(),
        " from exception where tenant = $1 and id = $2",
    );

    const COUNT_OPEN: &str =
        "select of.severity, open.count as open, new.count as new
         from unnest(array['critical', 'major', 'minor']) as of (severity)
         cross join lateral (
             select count(*) as count from (
                 select from exception where tenant = $1 and severity = of.severity and closed_at is null limit $3) as found) as open
         cross join lateral (
             select count(*) as count from (
                 select from exception where tenant = $1 and severity = of.severity and closed_at is null and opened_at > $2 limit $3) as found) as new";

    const SELECT_HISTORY: &str =
        "select position, change, at, actor, actor_key, reason, facts, version from exception_history
         where tenant = $1 and exception_id = $2 order by position";
}
