//! The key or token by which each source was last accepted.
//!
//! # Why
//!
//! An operator who rotates keys needs to know whether the old one is still in use, and ingest does not
//! write to Postgres. So each message carries the credential, and the ledger writes it here. All batches
//! of a source write the same row, and each would wait for the COMMIT of the other. Therefore a row is
//! written once a minute, and in the last statement of a transaction.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::postgres::column::column;
use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::event::ids::Tenant;

/// A source with the credential by which it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceUse<'a> {
    pub tenant: &'a str,
    pub source: &'a str,
    pub credential: &'a str,
}

/// Stores the instants at which credentials were last used. An instant is never lowered, and is up to a
/// minute late.
///
/// # Errors
///
/// [`StoreError`].
pub async fn record_source_uses(
    connection: &mut PgConnection,
    uses: &BTreeMap<SourceUse<'_>, DateTime<Utc>>,
) -> Result<(), StoreError> {
    if uses.is_empty() {
        return Ok(());
    }
    let uses: Vec<(&SourceUse<'_>, &DateTime<Utc>)> = uses.iter().collect();
    // `on conflict` locks a row even if its condition fails, so the statement looks the row up first. It
    // writes in order, so that two transactions cannot deadlock.
    sqlx::query(UPSERT_SOURCE_USES)
        .bind(column(&uses, |(used, _)| used.tenant))
        .bind(column(&uses, |(used, _)| used.source))
        .bind(column(&uses, |(used, _)| used.credential))
        .bind(column(&uses, |(_, at)| **at))
        .execute(connection)
        .await?;
    Ok(())
}

/// When a source was last accepted, and by which credential.
#[derive(Debug, sqlx::FromRow)]
pub struct LastSourceUse {
    pub source: String,
    pub credential: String,
    pub last_used_at: DateTime<Utc>,
}

/// Deliveries of a source that were rejected for their credential.
#[derive(Debug, sqlx::FromRow)]
pub struct SourceRejection {
    pub source: String,
    pub reason: String,
    pub deliveries: i64,
    pub ended_at: DateTime<Utc>,
}

impl Postgres {
    /// The last uses of the credentials of the sources of a tenant.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn source_uses_of(&self, tenant: &Tenant) -> Result<Vec<LastSourceUse>, StoreError> {
        let query = sqlx::query_as(SELECT_USES_OF_TENANT).bind(tenant.as_str());
        Ok(query.fetch_all(&self.readers).await?)
    }

    /// The rejected deliveries of the sources of a tenant since an instant.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn rejections_of(
        &self,
        tenant: &Tenant,
        since: DateTime<Utc>,
    ) -> Result<Vec<SourceRejection>, StoreError> {
        let query = sqlx::query_as(SELECT_REJECTIONS_OF_TENANT).bind(tenant.as_str());
        Ok(query.bind(since).fetch_all(&self.readers).await?)
    }
}

statements! {
    const SELECT_USES_OF_TENANT: &str =
        "select source, credential, last_used_at from source_use where tenant = $1 order by source, last_used_at desc limit 1000";

    const SELECT_REJECTIONS_OF_TENANT: &str =
        "select source, reason, sum(deliveries)::bigint as deliveries, max(ended_at) as ended_at from rejection
         where tenant = $1 and ended_at > $2 group by source, reason order by source, reason limit 1000";

    const UPSERT_SOURCE_USES: &str =
        "insert into source_use as known (tenant, source, credential, last_used_at)
         select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
             as used (tenant, source, credential, last_used_at)
         where not exists (
             select from source_use as fresh
             where (fresh.tenant, fresh.source, fresh.credential) = (used.tenant, used.source, used.credential)
                 and fresh.last_used_at > used.last_used_at - interval '1 minute')
         order by tenant, source, credential
         on conflict (tenant, source, credential)
             do update set last_used_at = greatest(known.last_used_at, excluded.last_used_at)";
}
