//! What the page of calls in progress shows: who was told, and whether anything changed.

use chrono::{DateTime, Utc};

use super::snapshot::TenantSnapshot;
use crate::postgres::StoreError;

/// An obligation of a call in progress, with the name of its participant.
#[derive(Debug, sqlx::FromRow)]
pub struct CurrentObligation {
    pub call: String,
    pub session: String,
    /// What is captured.
    pub capture_type: String,
    pub status: String,
    pub due_at: DateTime<Utc>,
    pub shown_at: Option<DateTime<Utc>>,
    pub exposure_ms: Option<i64>,
    pub display_name: Option<String>,
    pub raw_id: Option<String>,
}

impl TenantSnapshot {
    /// The obligations of these calls, in the order of their due times. Those of others are left out.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn current_obligations(
        &mut self,
        calls: &[String],
    ) -> Result<Vec<CurrentObligation>, StoreError> {
        let query = sqlx::query_as(SELECT_CURRENT_OBLIGATIONS).bind(self.tenant.as_str());
        Ok(query.bind(calls).fetch_all(&mut *self.transaction).await?)
    }

    /// The number of the last change of a call of the tenant; 0 without a call.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn last_change(&mut self) -> Result<i64, StoreError> {
        self.avoid_scans().await?;
        let query = sqlx::query_scalar(SELECT_LAST_CHANGE).bind(self.tenant.as_str());
        let last: Option<i64> = query.fetch_optional(&mut *self.transaction).await?;
        Ok(last.unwrap_or(0))
    }
}

statements! {
    const SELECT_CURRENT_OBLIGATIONS: &str =
        "select due.call, due.session, due.type as capture_type, due.status, due.due_at, due.shown_at, due.exposure_ms, person.display_name, person.raw_id
         from unnest($2::text[]) as asked (call)
         cross join lateral (
             select * from obligation where obligation.tenant = $1 and obligation.call = asked.call and obligation.status <> 'NOT_OURS' offset 0) as due
         left join session as person on person.tenant = $1 and person.call = due.call and person.session = due.session
         order by due.due_at, due.session";

    const SELECT_LAST_CHANGE: &str = "select xid::text::bigint from call where tenant = $1 order by call.xid desc, call.call desc limit 1";
}
