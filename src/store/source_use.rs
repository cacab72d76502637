//! By which key or token each source was last believed.
//!
//! # Why
//!
//! The door must not write to Postgres, and whoever ends a rotation of keys must know that the old
//! one is out of use. So the credential rides on the message, and the ledger writes it here. All
//! batches of a source would meet at its one row, each waiting for the other's COMMIT: so a row is
//! written once a minute, and as the last thing of a transaction.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::StoreError;

/// A source with what it was believed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceUse<'a> {
    pub tenant: &'a str,
    pub source: &'a str,
    pub credential: &'a str,
}

/// Notes when each was last used. It never goes back, and is up to a minute late.
///
/// # Errors
///
/// [`StoreError`].
pub async fn note_uses(
    connection: &mut PgConnection,
    uses: &BTreeMap<SourceUse<'_>, DateTime<Utc>>,
) -> Result<(), StoreError> {
    if uses.is_empty() {
        return Ok(());
    }
    let (mut tenants, mut sources, mut credentials) = (Vec::new(), Vec::new(), Vec::new());
    for used in uses.keys() {
        tenants.push(used.tenant);
        sources.push(used.source);
        credentials.push(used.credential);
    }
    let instants: Vec<DateTime<Utc>> = uses.values().copied().collect();
    // `on conflict` locks a row also where its condition fails, hence the look before; in one
    // order, so that two transactions cannot wait for each other.
    sqlx::query(
        "insert into source_use as known (tenant, source, credential, last_used)
         select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
             as used (tenant, source, credential, last_used)
         where not exists (
             select from source_use as fresh
             where (fresh.tenant, fresh.source, fresh.credential) = (used.tenant, used.source, used.credential)
                 and fresh.last_used > used.last_used - interval '1 minute')
         order by tenant, source, credential
         on conflict (tenant, source, credential)
             do update set last_used = greatest(known.last_used, excluded.last_used)",
    )
    .bind(&tenants)
    .bind(&sources)
    .bind(&credentials)
    .bind(&instants)
    .execute(connection)
    .await?;
    Ok(())
}
