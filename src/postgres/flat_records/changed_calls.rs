//! The calls whose flat records may be other ones than those that were published, and the rows of these records.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use onrecord_evidence::event::ids::Digest;
use sqlx::PgConnection;

use crate::postgres::column::column;
use crate::postgres::{Postgres, StoreError};

/// A call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::FromRow)]
pub struct FlatCall {
    pub tenant: String,
    pub call: String,
}

/// The last call of which all records were published.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct FlatPosition {
    pub xid: i64,
    pub tenant: String,
    pub call: String,
}

/// A view of the schema `reading` whose rows are published. Its text is the kind of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum FlatView {
    #[strum(serialize = "call")]
    Calls,
    #[strum(serialize = "capture")]
    Captures,
    #[strum(serialize = "obligation")]
    Obligations,
}

impl FlatView {
    /// The columns that with tenant and call make the key of a row.
    #[must_use]
    pub fn key_columns(self) -> &'static [&'static str] {
        match self {
            Self::Calls => &[],
            Self::Captures => &["type", "started_at"],
            Self::Obligations => &["type", "due_at", "session"],
        }
    }
}

/// A row of a view.
#[derive(Clone, Debug)]
pub struct FlatRow {
    pub view: FlatView,
    pub call: String,
    /// An object with all columns.
    pub json: String,
}

/// The digest of each record that was published under the id of a call, by key. `None`: it is not known which record
/// the topic has.
pub type PublishedRecords = BTreeMap<String, Option<Digest>>;

/// A call with its rows, and what was published of it.
#[derive(Debug, Default)]
pub struct FlatCallRows {
    /// Empty: the call does not exist, for example because it is part of another one now.
    pub rows: Vec<FlatRow>,
    pub published: PublishedRecords,
    /// The end of a call whose record is not complete yet.
    pub incomplete_since: Option<DateTime<Utc>>,
}

#[derive(sqlx::FromRow)]
struct ViewRow {
    tenant: String,
    call: String,
    view: String,
    json: String,
    incomplete_since: Option<DateTime<Utc>>,
}

#[derive(sqlx::FromRow)]
struct PublishedRow {
    tenant: String,
    call: String,
    key: String,
    digest: Option<Vec<u8>>,
}

impl Postgres {
    /// The first calls that changed after the stored position, and the position behind them; `None`: there are none.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn changed_flat_calls(
        &self,
        limit: i64,
    ) -> Result<(Vec<FlatCall>, Option<FlatPosition>), StoreError> {
        let query = sqlx::query_as(SELECT_POSITION);
        let after: Option<FlatPosition> = query.fetch_optional(&self.pool).await?;
        let changed: Vec<FlatPosition> = sqlx::query_as(SELECT_CHANGED)
            .bind(after.as_ref().map_or(0, |it| it.xid))
            .bind(after.as_ref().map_or("", |it| it.tenant.as_str()))
            .bind(after.as_ref().map_or("", |it| it.call.as_str()))
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        let calls = changed.iter();
        let calls =
            calls.map(|it| FlatCall { tenant: it.tenant.clone(), call: it.call.clone() }).collect();
        Ok((calls, changed.into_iter().next_back()))
    }

    /// Calls whose published record was not complete, and may be by now.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn completed_flat_calls(&self, limit: i64) -> Result<Vec<FlatCall>, StoreError> {
        let query = sqlx::query_as(SELECT_COMPLETED).bind(limit);
        Ok(query.fetch_all(&self.pool).await?)
    }

    /// Calls of which records were published, and which do not exist.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn orphaned_flat_calls(&self, limit: i64) -> Result<Vec<FlatCall>, StoreError> {
        let query = sqlx::query_as(SELECT_ORPHANED).bind(limit);
        Ok(query.fetch_all(&self.pool).await?)
    }
}

/// The rows of these calls in one snapshot, and what was published of them. Calls that were published and are
/// part of one of these now are among the result.
///
/// # Errors
///
/// [`StoreError`].
pub async fn flat_call_rows(
    snapshot: &mut PgConnection,
    calls: &[FlatCall],
) -> Result<BTreeMap<FlatCall, FlatCallRows>, StoreError> {
    let tenants = column(calls, |it| it.tenant.as_str());
    let names = column(calls, |it| it.call.as_str());
    let query = sqlx::query_as(SELECT_MERGED).bind(&tenants).bind(&names);
    let merged: Vec<FlatCall> = query.fetch_all(&mut *snapshot).await?;
    let query = sqlx::query_as(SELECT_ROWS).bind(&tenants).bind(&names);
    let rows: Vec<ViewRow> = query.fetch_all(&mut *snapshot).await?;
    let all: Vec<&FlatCall> = calls.iter().chain(&merged).collect();
    let published: Vec<PublishedRow> = sqlx::query_as(SELECT_PUBLISHED)
        .bind(column(&all, |it| it.tenant.as_str()))
        .bind(column(&all, |it| it.call.as_str()))
        .fetch_all(&mut *snapshot)
        .await?;
    let mut found: BTreeMap<FlatCall, FlatCallRows> =
        all.into_iter().map(|call| (call.clone(), FlatCallRows::default())).collect();
    for row in rows {
        let view = row.view.parse().map_err(|_| {
            StoreError::Inconsistent(format!("{} is no view of flat records", row.view))
        })?;
        let call = FlatCall { tenant: row.tenant, call: row.call };
        let flat = FlatRow { view, call: call.call.clone(), json: row.json };
        let entry = found.entry(call).or_default();
        entry.incomplete_since = entry.incomplete_since.max(row.incomplete_since);
        entry.rows.push(flat);
    }
    for row in published {
        let digest = row.digest.map(|bytes| {
            Digest::from_bytes(&bytes).ok_or_else(|| {
                StoreError::Inconsistent(format!("the digest of {} is none", row.key))
            })
        });
        let call = FlatCall { tenant: row.tenant, call: row.call };
        found.entry(call).or_default().published.insert(row.key, digest.transpose()?);
    }
    Ok(found)
}

statements! {
    const SELECT_POSITION: &str = "select xid::text::bigint as xid, tenant, call from flat_record_position";

    const SELECT_CHANGED: &str =
        "select xid::text::bigint as xid, tenant, call from call
         where xid < write_horizon() and (xid, tenant, call) > ($1::bigint::text::xid8, $2, $3)
         order by xid, tenant, call limit $4";

    const SELECT_COMPLETED: &str =
        "select tenant, call from flat_record_call where incomplete_since <= (select complete_through())
         order by incomplete_since limit $1";

    const SELECT_ORPHANED: &str =
        "select known.tenant, known.call from flat_record_call as known
         where not exists (select from call where call.tenant = known.tenant and call.call = known.call) limit $1";

    const SELECT_MERGED: &str =
        "select distinct known.tenant, known.call from unnest($1::text[], $2::text[]) as asked (tenant, call)
         join call_alias as alias on alias.tenant = asked.tenant and alias.resolves_to = asked.call and alias.anchor <> asked.call
         join flat_record_call as known on known.tenant = alias.tenant and known.call = alias.anchor
         where not exists (select from call where call.tenant = known.tenant and call.call = known.call)";

    /// A call that has ended and is not complete is looked at again when the record is complete through its end, or
    /// through now if it is already.
    const SELECT_ROWS: &str =
        "select asked.tenant, asked.call, 'call' as view, row_to_json(found)::text as json,
             case when found.ended_at is not null and not found.complete then
                 case when found.ended_at <= (select complete_through()) then now() else found.ended_at end end as incomplete_since
         from unnest($1::text[], $2::text[]) as asked (tenant, call)
         cross join lateral (select * from reading.calls as one where one.tenant = asked.tenant and one.call = asked.call offset 0) as found
         union all
         select asked.tenant, asked.call, 'capture', row_to_json(found)::text, null
         from unnest($1::text[], $2::text[]) as asked (tenant, call)
         cross join lateral (select * from reading.captures as one where one.tenant = asked.tenant and one.call = asked.call offset 0) as found
         union all
         select asked.tenant, asked.call, 'obligation', row_to_json(found)::text, null
         from unnest($1::text[], $2::text[]) as asked (tenant, call)
         cross join lateral (select * from reading.obligations as one where one.tenant = asked.tenant and one.call = asked.call offset 0) as found";

    const SELECT_PUBLISHED: &str =
        "select record.tenant, record.call, record.key, record.digest from unnest($1::text[], $2::text[]) as asked (tenant, call)
         cross join lateral (
             select * from flat_record where flat_record.tenant = asked.tenant and flat_record.call = asked.call offset 0) as record";
}
