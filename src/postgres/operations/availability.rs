//! Intervals without observation: heartbeats of roles, uses of the spool, rejected deliveries.
//!
//! All rows are written in the background. While Postgres is unavailable, nodes keep rows in memory, so
//! each row may be written late, and may be written twice.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::postgres::{Postgres, StoreError};

/// An interval in which a node was healthy in a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AvailabilityInterval {
    pub role: &'static str,
    pub started_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
}

/// Deliveries of a source that were rejected for their credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RejectedDeliveries {
    pub tenant: String,
    pub source: String,
    pub reason: &'static str,
    #[serde(rename = "first_at")]
    pub first: DateTime<Utc>,
    #[serde(rename = "last_at")]
    pub last: DateTime<Utc>,
    pub deliveries: i64,
}

/// The last series of rejections of a source for one reason, without a pause of an hour.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct RejectionRun {
    pub tenant: String,
    pub source: String,
    pub reason: String,
    pub started_at: DateTime<Utc>,
    pub ended_at: DateTime<Utc>,
    pub deliveries: i64,
}

/// When a source was last accepted.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct LastDelivery {
    pub tenant: String,
    pub source: String,
    pub last_used_at: DateTime<Utc>,
}

impl Postgres {
    /// Stores intervals in which a node was healthy. One with the same start is extended.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn record_heartbeats(
        &self,
        node: Uuid,
        intervals: &[AvailabilityInterval],
    ) -> Result<(), StoreError> {
        let upsert = sqlx::query(UPSERT_HEARTBEATS).bind(node).bind(Json(intervals));
        upsert.execute(&self.pool).await?;
        Ok(())
    }

    /// Records that messages are in the spool, the oldest since `since`, and that `drained` were published.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn record_spool_use(
        &self,
        since: DateTime<Utc>,
        drained: u64,
    ) -> Result<(), StoreError> {
        let drained = i64::try_from(drained).unwrap_or(i64::MAX);
        sqlx::query(UPSERT_SPOOL_USE).bind(since).bind(drained).execute(&self.pool).await?;
        Ok(())
    }

    /// Records that the spool is empty.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn end_spool_use(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        sqlx::query(END_SPOOL_USE).bind(now).execute(&self.pool).await?;
        Ok(())
    }

    /// Stores rejections; one that follows another within an hour extends it.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the rejections may be stored, and are then counted twice.
    pub async fn record_rejections(
        &self,
        rejections: &[RejectedDeliveries],
    ) -> Result<(), StoreError> {
        sqlx::query(UPSERT_REJECTIONS).bind(Json(rejections)).execute(&self.pool).await?;
        Ok(())
    }
}

/// The last series of rejections of each source and reason.
///
/// # Errors
///
/// [`StoreError`].
pub async fn last_rejections(
    connection: &mut PgConnection,
) -> Result<Vec<RejectionRun>, StoreError> {
    Ok(sqlx::query_as(SELECT_LAST_REJECTIONS).fetch_all(connection).await?)
}

/// Records in which part of a series the source delivered nothing else. A part that was recorded before
/// is extended.
///
/// # Errors
///
/// [`StoreError`].
pub async fn record_silence(
    connection: &mut PgConnection,
    run: &RejectionRun,
    silent_from: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(RECORD_SILENCE)
        .bind(&run.tenant)
        .bind(&run.source)
        .bind(&run.reason)
        .bind(run.started_at)
        .bind(silent_from)
        .bind(run.ended_at)
        .execute(connection)
        .await?;
    Ok(())
}

/// The instant at which each source was last accepted, up to a minute late.
///
/// # Errors
///
/// [`StoreError`].
pub async fn last_deliveries(
    connection: &mut PgConnection,
) -> Result<Vec<LastDelivery>, StoreError> {
    Ok(sqlx::query_as(SELECT_LAST_USES).fetch_all(connection).await?)
}

statements! {
    const UPSERT_HEARTBEATS: &str =
        "insert into role_heartbeat as known (node, role, started_at, last_seen_at)
         select $1, role, started_at, last_seen_at
         from jsonb_to_recordset($2) as _ (role text, started_at timestamptz, last_seen_at timestamptz)
         on conflict (node, role, started_at) do update set last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at)";

    const UPSERT_SPOOL_USE: &str =
        "with current_use as (
             update spool_use set drained_messages = drained_messages + $2, started_at = least(started_at, $1) where ended_at is null returning started_at)
         insert into spool_use (started_at, drained_messages) select $1, $2 where not exists (select from current_use)
         on conflict (started_at) do update set ended_at = null, drained_messages = spool_use.drained_messages + excluded.drained_messages";

    const END_SPOOL_USE: &str = "update spool_use set ended_at = greatest(started_at, $1) where ended_at is null";

    /// A rejection that follows the last one within an hour belongs to the same series.
    const UPSERT_REJECTIONS: &str =
        "with batch as (
             select * from jsonb_to_recordset($1)
                 as _ (tenant text, source text, reason text, first_at timestamptz, last_at timestamptz, deliveries bigint)),
         last_series as (
             select batch.tenant, batch.source, batch.reason, max(rejection.started_at) as started_at
             from batch join rejection using (tenant, source, reason)
             where rejection.ended_at >= batch.first_at - interval '1 hour' and rejection.started_at <= batch.last_at
             group by batch.tenant, batch.source, batch.reason)
         insert into rejection as known (tenant, source, reason, started_at, ended_at, deliveries)
         select tenant, source, reason, coalesce(last_series.started_at, first_at), last_at, deliveries
         from batch left join last_series using (tenant, source, reason)
         order by tenant, source, reason
         on conflict (tenant, source, reason, started_at) do update
             set ended_at = greatest(known.ended_at, excluded.ended_at), deliveries = known.deliveries + excluded.deliveries";

    const SELECT_LAST_REJECTIONS: &str =
        "select distinct on (tenant, source, reason) tenant, source, reason, started_at, ended_at, deliveries from rejection
         order by tenant, source, reason, ended_at desc";

    const RECORD_SILENCE: &str =
        "update rejection set silent_from = least(silent_from, $5), silent_until = greatest(silent_until, $6)
         where (tenant, source, reason, started_at) = ($1, $2, $3, $4)
             and (silent_from is null or silent_from > $5 or silent_until < $6)";

    const SELECT_LAST_USES: &str = "select tenant, source, max(last_used_at) as last_used_at from source_use group by tenant, source order by tenant, source";
}
