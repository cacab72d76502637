//! Closes an exception by hand, for an auditor who gives a reason.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::postgres::StoreError;
use crate::postgres::call::call_terms::refresh_exception_terms;
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
    // The call first, as every transaction that evaluates it does.
    let call = sqlx::query_scalar(TOUCH_CALL_OF_EXCEPTION).bind(tenant).bind(id);
    let call: Option<String> = call.fetch_optional(&mut *connection).await?;
    let query = sqlx::query_as(SELECT_EXCEPTION_FOR_UPDATE).bind(tenant).bind(id);
    let found: Option<(String, bool)> = query.fetch_optional(&mut *connection).await?;
    let found = found.and_then(|(kind, is_open)| Some((kind.parse().ok()?, is_open)));
    let Some((kind, is_open)) = found else {
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
    let call: Vec<&str> = call.as_deref().into_iter().collect();
    refresh_exception_terms(connection, tenant, &call).await?;
    Ok(CloseOutcome::Closed(kind))
}

statements! {
    const TOUCH_CALL_OF_EXCEPTION: &str =
        "update call set xid = write_id() where tenant = $1 and call = (select call from exception where tenant = $1 and id = $2) returning call";

    const SELECT_EXCEPTION_FOR_UPDATE: &str = "select kind, closed_at is null from exception where tenant = $1 and id = $2 for update";

    const CLOSE_EXCEPTION: &str =
        "with closed as (
             update exception set closed_at = $3, closed_by = $4, closed_by_key = $5, reason = $6, cause_ended = false, history_length = history_length + 1
             where tenant = $1 and id = $2 returning history_length, facts)
         insert into exception_history (tenant, exception_id, position, change, at, actor, actor_key, reason, facts)
         select $1, $2, history_length, 'closed', $3, $4, $5, $6, facts from closed";
}
