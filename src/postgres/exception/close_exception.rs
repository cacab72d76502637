//! Closes an exception by hand, for an auditor who gives a reason.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::postgres::StoreError;
use onrecord_evidence::exception::ExceptionKind;

/// The API key that closes an exception.
#[derive(Clone, Debug)]
pub struct ClosingKey {
    pub id: Uuid,
    pub name: String,
}

/// The result of closing an exception by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseOutcome {
    Closed(ExceptionKind),
    /// It was closed before, by hand or by itself.
    AlreadyClosed,
    /// The tenant has no exception of this id.
    Unknown,
}

/// Closes an exception by hand.
///
/// # Errors
///
/// [`StoreError`].
pub async fn close_exception(
    connection: &mut PgConnection,
    tenant: &str,
    id: Uuid,
    actor: &ClosingKey,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<CloseOutcome, StoreError> {
    let found: Option<(String, bool, i32, Value)> = sqlx::query_as(SELECT_EXCEPTION_FOR_UPDATE)
        .bind(tenant)
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?;
    let Some((kind, is_open, history_length, facts)) = found else {
        return Ok(CloseOutcome::Unknown);
    };
    let Some(kind) = ExceptionKind::parse(&kind) else {
        return Ok(CloseOutcome::Unknown);
    };
    if !is_open {
        return Ok(CloseOutcome::AlreadyClosed);
    }
    sqlx::query(CLOSE_EXCEPTION)
        .bind(tenant)
        .bind(id)
        .bind(now)
        .bind(&actor.name)
        .bind(actor.id)
        .bind(reason)
        .execute(&mut *connection)
        .await?;
    sqlx::query(INSERT_CLOSING)
        .bind(tenant)
        .bind(id)
        .bind(history_length + 1)
        .bind(now)
        .bind(&actor.name)
        .bind(actor.id)
        .bind(reason)
        .bind(facts)
        .execute(connection)
        .await?;
    Ok(CloseOutcome::Closed(kind))
}

statements! {
    const SELECT_EXCEPTION_FOR_UPDATE: &str = "select kind, closed_at is null, history_length, facts from exception where tenant = $1 and id = $2 for update";

    const CLOSE_EXCEPTION: &str =
        "update exception set closed_at = $3, closed_by = $4, closed_by_key = $5, reason = $6, cause_ended = false, history_length = history_length + 1
         where tenant = $1 and id = $2";

    const INSERT_CLOSING: &str =
        "insert into exception_history (tenant, exception_id, position, change, at, actor, actor_key, reason, facts)
         values ($1, $2, $3, 'closed', $4, $5, $6, $7, $8)";
}
