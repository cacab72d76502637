//! What was published of the flat records.
//!
//! # Why
//!
//! The digests of records are removed before they are published, and stored afterwards: a crash between the two
//! leaves records without one, which are published again. Both need the lease, which another node may have by now.

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use onrecord_evidence::event::ids::Digest;

use super::changed_calls::{FlatCall, FlatPosition};
use crate::postgres::column::column;
use crate::postgres::{Postgres, StoreError};

/// The key of a record, and the call under whose id it is published.
#[derive(Clone, Debug)]
pub struct FlatRecordName {
    pub call: FlatCall,
    pub key: String,
}

/// What a step has published.
#[derive(Debug, Default)]
pub struct PublishedStep {
    pub changed: Vec<(FlatRecordName, Digest)>,
    pub gone: Vec<FlatRecordName>,
    /// The calls that were looked at, and the end of those whose record is not complete.
    pub calls: Vec<(FlatCall, Option<DateTime<Utc>>)>,
    /// The calls of which no record is left.
    pub gone_calls: Vec<FlatCall>,
    /// `None`: it stays.
    pub position: Option<FlatPosition>,
}

impl Postgres {
    /// Records that these records are about to be published. `false`: the lease is another node's.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; nothing may be published then.
    pub async fn begin_flat_records(
        &self,
        lease: &str,
        owner: &str,
        names: &[FlatRecordName],
    ) -> Result<bool, StoreError> {
        self.run_tx("begin flat records", move |tx| {
            async move {
                let query = sqlx::query(LOCK_LEASE).bind(lease).bind(owner);
                if query.fetch_optional(&mut **tx).await?.is_none() {
                    return Ok(false);
                }
                sqlx::query(BEGIN_RECORDS)
                    .bind(column(names, |it| it.call.tenant.as_str()))
                    .bind(column(names, |it| it.call.call.as_str()))
                    .bind(column(names, |it| it.key.as_str()))
                    .execute(&mut **tx)
                    .await?;
                Ok(true)
            }
            .boxed()
        })
        .await
    }

    /// Stores what a step has published. `false`: the lease is another node's, which publishes it again.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; it is published again.
    pub async fn end_flat_records(
        &self,
        lease: &str,
        owner: &str,
        step: &PublishedStep,
    ) -> Result<bool, StoreError> {
        self.run_tx("end flat records", move |tx| {
            async move {
                let query = sqlx::query(LOCK_LEASE).bind(lease).bind(owner);
                if query.fetch_optional(&mut **tx).await?.is_none() {
                    return Ok(false);
                }
                sqlx::query(STORE_DIGESTS)
                    .bind(column(&step.changed, |(it, _)| it.call.tenant.as_str()))
                    .bind(column(&step.changed, |(it, _)| it.call.call.as_str()))
                    .bind(column(&step.changed, |(it, _)| it.key.as_str()))
                    .bind(column(&step.changed, |(_, digest)| digest.as_bytes().as_slice()))
                    .execute(&mut **tx)
                    .await?;
                sqlx::query(DELETE_RECORDS)
                    .bind(column(&step.gone, |it| it.call.tenant.as_str()))
                    .bind(column(&step.gone, |it| it.call.call.as_str()))
                    .bind(column(&step.gone, |it| it.key.as_str()))
                    .execute(&mut **tx)
                    .await?;
                sqlx::query(STORE_CALLS)
                    .bind(column(&step.calls, |(it, _)| it.tenant.as_str()))
                    .bind(column(&step.calls, |(it, _)| it.call.as_str()))
                    .bind(column(&step.calls, |(_, since)| *since))
                    .execute(&mut **tx)
                    .await?;
                sqlx::query(DELETE_CALLS)
                    .bind(column(&step.gone_calls, |it| it.tenant.as_str()))
                    .bind(column(&step.gone_calls, |it| it.call.as_str()))
                    .execute(&mut **tx)
                    .await?;
                if let Some(position) = &step.position {
                    sqlx::query(STORE_POSITION)
                        .bind(position.xid)
                        .bind(&position.tenant)
                        .bind(&position.call)
                        .execute(&mut **tx)
                        .await?;
                }
                Ok(true)
            }
            .boxed()
        })
        .await
    }
}

statements! {
    const LOCK_LEASE: &str =
        "select 1 from lease where name = $1 and owner = $2 and expires_at > clock_timestamp() for update";

    const BEGIN_RECORDS: &str =
        "with begun as (
             insert into flat_record (tenant, call, key)
             select tenant, call, key from unnest($1::text[], $2::text[], $3::text[]) as _ (tenant, call, key)
             on conflict (tenant, call, key) do update set digest = null
             returning tenant, call)
         insert into flat_record_call (tenant, call) select distinct tenant, call from begun on conflict (tenant, call) do nothing";

    const STORE_DIGESTS: &str =
        "update flat_record as stored set digest = published.digest
         from unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) as published (tenant, call, key, digest)
         where stored.tenant = published.tenant and stored.call = published.call and stored.key = published.key";

    const DELETE_RECORDS: &str =
        "delete from flat_record as stored using unnest($1::text[], $2::text[], $3::text[]) as gone (tenant, call, key)
         where stored.tenant = gone.tenant and stored.call = gone.call and stored.key = gone.key";

    const STORE_CALLS: &str =
        "insert into flat_record_call as stored (tenant, call, incomplete_since)
         select tenant, call, incomplete_since from unnest($1::text[], $2::text[], $3::timestamptz[]) as _ (tenant, call, incomplete_since)
         on conflict (tenant, call) do update set incomplete_since = excluded.incomplete_since
         where stored.incomplete_since is distinct from excluded.incomplete_since";

    const DELETE_CALLS: &str =
        "delete from flat_record_call as stored using unnest($1::text[], $2::text[]) as gone (tenant, call)
         where stored.tenant = gone.tenant and stored.call = gone.call";

    const STORE_POSITION: &str =
        "insert into flat_record_position (xid, tenant, call, moved_at) values ($1::bigint::text::xid8, $2, $3, now())
         on conflict (one) do update set xid = excluded.xid, tenant = excluded.tenant, call = excluded.call, moved_at = excluded.moved_at";
}
