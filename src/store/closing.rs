//! Exceptions that somebody closes by hand: by whom, and why.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;
use crate::domain::exception::ExceptionKind;

/// Who closes an exception by hand: an API key.
#[derive(Clone, Debug)]
pub struct Actor {
    pub key: Uuid,
    pub name: String,
}

/// What came of closing one by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    Closed(ExceptionKind),
    /// Somebody was quicker, or it closed by itself.
    AlreadyClosed,
    /// The tenant has none of this id.
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
    actor: &Actor,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<Closing, StoreError> {
    let found: Option<(String, bool, i32, Value)> = sqlx::query_as(
        "select kind, closed is null, lines, facts from exception where tenant = $1 and id = $2 for update",
    )
    .bind(tenant)
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?;
    let Some((kind, is_open, lines, facts)) = found else {
        return Ok(Closing::Unknown);
    };
    let Some(kind) = ExceptionKind::parse(&kind) else {
        return Ok(Closing::Unknown);
    };
    if !is_open {
        return Ok(Closing::AlreadyClosed);
    }
    sqlx::query(
        "update exception set closed = $3, closed_by = $4, closed_by_key = $5, reason = $6, cured = false, lines = lines + 1
         where tenant = $1 and id = $2",
    )
    .bind(tenant)
    .bind(id)
    .bind(now)
    .bind(&actor.name)
    .bind(actor.key)
    .bind(reason)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "insert into exception_story (tenant, exception, line, what, at, actor, actor_key, reason, facts)
         values ($1, $2, $3, 'closed', $4, $5, $6, $7, $8)",
    )
    .bind(tenant)
    .bind(id)
    .bind(lines + 1)
    .bind(now)
    .bind(&actor.name)
    .bind(actor.key)
    .bind(reason)
    .bind(facts)
    .execute(connection)
    .await?;
    Ok(Closing::Closed(kind))
}
