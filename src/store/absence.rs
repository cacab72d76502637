//! What is kept of what could not be seen: presences, uses of the spool, refusals.
//!
//! All of it is noted in the background, by nodes that keep in memory what Postgres does not take
//! now: so everything here may come late, and may come twice.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Store, StoreError};

/// Without a refusal for so long, the next one is another matter.
const PAUSE: &str = "1 hour";

/// A node was well in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    pub room: &'static str,
    pub since: DateTime<Utc>,
    pub until: DateTime<Utc>,
}

/// Deliveries of a source that were refused for what they showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub tenant: String,
    pub source: String,
    pub reason: &'static str,
    pub first: DateTime<Utc>,
    pub last: DateTime<Utc>,
    pub deliveries: i64,
}

/// The last time without a long pause in which a source was refused for a reason.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct RefusalRun {
    pub tenant: String,
    pub source: String,
    pub reason: String,
    pub since: DateTime<Utc>,
    pub until: DateTime<Utc>,
}

/// When a source last spoke.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct LastWord {
    pub tenant: String,
    pub source: String,
    pub last: DateTime<Utc>,
}

impl Store {
    /// Notes presences of a node. One that began at the same instant is extended.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn note_presences(
        &self,
        node: Uuid,
        presences: &[Presence],
    ) -> Result<(), StoreError> {
        sqlx::query(
            "insert into room_presence as known (node, room, since, until)
             select $1, room, since, until
             from unnest($2::text[], $3::timestamptz[], $4::timestamptz[]) as _ (room, since, until)
             on conflict (node, room, since) do update set until = greatest(known.until, excluded.until)",
        )
        .bind(node)
        .bind(presences.iter().map(|one| one.room).collect::<Vec<_>>())
        .bind(presences.iter().map(|one| one.since).collect::<Vec<_>>())
        .bind(presences.iter().map(|one| one.until).collect::<Vec<_>>())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Messages are in the spool, the oldest since `since`, and some were drained.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn spool_is_in_use(
        &self,
        since: DateTime<Utc>,
        drained: u64,
    ) -> Result<(), StoreError> {
        let drained = i64::try_from(drained).unwrap_or(i64::MAX);
        sqlx::query(
            "with going_on as (
                 update spool_use set drained = drained + $2, since = least(since, $1) where until is null returning since)
             insert into spool_use (since, drained) select $1, $2 where not exists (select from going_on)
             on conflict (since) do update set until = null, drained = spool_use.drained + excluded.drained",
        )
        .bind(since)
        .bind(drained)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The spool is empty.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn spool_is_empty(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        sqlx::query("update spool_use set until = greatest(since, $1) where until is null")
            .bind(now)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Notes refusals; what follows another one closely extends it.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; they are possibly noted, and counted twice then.
    pub async fn note_refusals(&self, refusals: &[Refused]) -> Result<(), StoreError> {
        let statement = format!(
            "with came as (
                 select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bigint[])
                     as _ (tenant, source, reason, first, last, deliveries)),
             last_run as (
                 select came.tenant, came.source, came.reason, max(refusal.since) as since
                 from came join refusal using (tenant, source, reason)
                 where refusal.until >= came.first - interval '{PAUSE}' and refusal.since <= came.last
                 group by came.tenant, came.source, came.reason)
             insert into refusal as known (tenant, source, reason, since, until, deliveries)
             select tenant, source, reason, coalesce(last_run.since, first), last, deliveries
             from came left join last_run using (tenant, source, reason)
             order by tenant, source, reason
             on conflict (tenant, source, reason, since) do update
                 set until = greatest(known.until, excluded.until), deliveries = known.deliveries + excluded.deliveries"
        );
        // A constant of ours; every value is bound.
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(
                refusals
                    .iter()
                    .map(|one| one.tenant.as_str())
                    .collect::<Vec<_>>(),
            )
            .bind(
                refusals
                    .iter()
                    .map(|one| one.source.as_str())
                    .collect::<Vec<_>>(),
            )
            .bind(refusals.iter().map(|one| one.reason).collect::<Vec<_>>())
            .bind(refusals.iter().map(|one| one.first).collect::<Vec<_>>())
            .bind(refusals.iter().map(|one| one.last).collect::<Vec<_>>())
            .bind(
                refusals
                    .iter()
                    .map(|one| one.deliveries)
                    .collect::<Vec<_>>(),
            )
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

/// The last run of refusals of each source and reason.
///
/// # Errors
///
/// [`StoreError`].
pub async fn last_refusals(connection: &mut PgConnection) -> Result<Vec<RefusalRun>, StoreError> {
    Ok(sqlx::query_as(
        "select distinct on (tenant, source, reason) tenant, source, reason, since, until from refusal
         order by tenant, source, reason, until desc",
    )
    .fetch_all(connection)
    .await?)
}

/// When each source that ever spoke did so last; up to a minute late.
///
/// # Errors
///
/// [`StoreError`].
pub async fn last_words(connection: &mut PgConnection) -> Result<Vec<LastWord>, StoreError> {
    Ok(sqlx::query_as(
        "select tenant, source, max(last_used) as last from source_use group by tenant, source order by tenant, source",
    )
    .fetch_all(connection)
    .await?)
}
