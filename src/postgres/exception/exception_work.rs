//! What people do with an exception besides closing it: they take it, note what they found, and open it again.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::close_exception::ClosingKey;
use crate::postgres::StoreError;
use crate::postgres::call::call_terms::refresh_exception_terms;

/// A step that a person takes.
#[derive(Clone, Debug)]
pub enum ExceptionWork<'a> {
    /// Another person works on it; `None`: it is given back.
    Assign(Option<&'a ClosingKey>),
    /// What was found so far.
    Note(&'a str),
    /// It was closed by hand, and is to be examined again for this reason.
    Reopen(&'a str),
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkOutcome {
    Done,
    /// It is open, or its cause has ended: there is nothing to examine again.
    NotReopened,
    /// The tenant has no exception of this id.
    Unknown,
}

/// Takes a step, and appends it to the history.
///
/// # Errors
///
/// [`StoreError`].
pub async fn work_on_exception(
    connection: &mut PgConnection,
    tenant: &str,
    id: Uuid,
    actor: &ClosingKey,
    work: &ExceptionWork<'_>,
    now: DateTime<Utc>,
) -> Result<WorkOutcome, StoreError> {
    // The call first, as every transaction that evaluates it does.
    let call = sqlx::query_scalar(TOUCH_CALL_OF_WORK).bind(tenant).bind(id);
    let call: Option<String> = call.fetch_optional(&mut *connection).await?;
    let query = sqlx::query_scalar(SELECT_REOPENABLE).bind(tenant).bind(id);
    let reopenable: Option<bool> = query.fetch_optional(&mut *connection).await?;
    let Some(reopenable) = reopenable else {
        return Ok(WorkOutcome::Unknown);
    };
    let (change, reason) = match work {
        ExceptionWork::Assign(assignee) => {
            let (key, name) = assignee.map(|it| (it.id, it.name.as_str())).unzip();
            let query = sqlx::query(ASSIGN).bind(tenant).bind(id).bind(key).bind(name);
            query.execute(&mut *connection).await?;
            ("assigned", name.unwrap_or("–"))
        }
        ExceptionWork::Note(note) => ("noted", *note),
        ExceptionWork::Reopen(_) if !reopenable => return Ok(WorkOutcome::NotReopened),
        ExceptionWork::Reopen(reason) => {
            let query = sqlx::query(REOPEN).bind(tenant).bind(id);
            query.execute(&mut *connection).await?;
            ("reopened", *reason)
        }
    };
    sqlx::query(APPEND_WORK)
        .bind(tenant)
        .bind(id)
        .bind(change)
        .bind(now)
        .bind(&actor.name)
        .bind(actor.id)
        .bind(reason)
        .execute(&mut *connection)
        .await?;
    let call: Vec<&str> = call.as_deref().into_iter().collect();
    refresh_exception_terms(connection, tenant, &call).await?;
    Ok(WorkOutcome::Done)
}

statements! {
    const TOUCH_CALL_OF_WORK: &str =
        "update call set xid = write_id() where tenant = $1 and call = (select call from exception where tenant = $1 and id = $2) returning call";

    const SELECT_REOPENABLE: &str =
        "select closed_at is not null and closed_by_key is not null and not cause_ended from exception where tenant = $1 and id = $2 for update";

    const ASSIGN: &str = "update exception set assignee = $3, assignee_name = $4 where tenant = $1 and id = $2";

    const REOPEN: &str =
        "update exception set closed_at = null, closed_by = null, closed_by_key = null, reason = null where tenant = $1 and id = $2";

    const APPEND_WORK: &str =
        "with worked as (
             update exception set history_length = history_length + 1 where tenant = $1 and id = $2 returning history_length, facts)
         insert into exception_history (tenant, exception_id, position, change, at, actor, actor_key, reason, facts)
         select $1, $2, history_length, $3, $4, $5, $6, $7, facts from worked";
}
