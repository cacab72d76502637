//! The access log: who read what of the record.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::timestamp::serialize_micros;
use crate::postgres::query::snapshot::TenantSnapshot;
use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::event::ids::Tenant;

/// A read of the record.
#[derive(Clone, Debug, Serialize, sqlx::FromRow, ToSchema)]
#[schema(as = Access)]
pub struct AccessRow {
    /// The id of the row.
    pub id: Uuid,
    /// When.
    #[serde(serialize_with = "serialize_micros")]
    pub at: DateTime<Utc>,
    /// What the reader is: `api_key`, or `user` of the console.
    pub actor: String,
    /// The id of the API key, or of the user.
    pub api_key: Uuid,
    /// The name of the API key, or of the user.
    pub key_name: String,
    /// The role of the API key, or of the user. Empty: a user without a role was refused.
    pub role: String,
    /// `call`, `person`, `original`, `export` or `quarantine`; `sign_in`, `sign_in_refused` or `sign_out`.
    pub what: String,
    /// Method and path, without ids.
    pub route: String,
    /// The call, by its id of that time. Null: none.
    #[schema(required = true)]
    pub call: Option<String>,
    /// The raw id or text that was looked up. Personal data. Null: none.
    #[schema(required = true)]
    pub person: Option<String>,
    /// The id of the event or the export, or the filter of the quarantine. Null: none.
    #[schema(required = true)]
    pub subject: Option<String>,
    /// The purpose that the caller stated. Null: none.
    #[schema(required = true)]
    pub purpose: Option<String>,
}

/// Selects rows of the access log, newest first.
#[derive(Debug, Default)]
pub struct AccessFilter {
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    pub what: Option<&'static str>,
    pub call: Option<String>,
    pub person: Option<String>,
    pub api_key: Option<Uuid>,
    /// Position in the list after which the answer begins.
    pub after: Option<(DateTime<Utc>, Uuid)>,
    pub limit: i64,
}

impl Postgres {
    /// Appends a row to the access log of a tenant, by a connection of the readers: the ledger does not wait
    /// for them.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn log_access(&self, tenant: &Tenant, row: &AccessRow) -> Result<(), StoreError> {
        sqlx::query(INSERT_ACCESS)
            .bind(tenant.as_str())
            .bind(row.id)
            .bind(row.at)
            .bind(&row.actor)
            .bind(row.api_key)
            .bind(&row.key_name)
            .bind(&row.role)
            .bind(&row.what)
            .bind(&row.route)
            .bind(row.call.as_deref())
            .bind(row.person.as_deref())
            .bind(row.subject.as_deref())
            .bind(row.purpose.as_deref())
            .execute(&self.readers)
            .await?;
        Ok(())
    }
}

impl TenantSnapshot {
    /// Rows of the access log.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn accesses(&mut self, filter: &AccessFilter) -> Result<Vec<AccessRow>, StoreError> {
        self.avoid_scans().await?;
        let (after_at, after_id) = filter.after.unzip();
        Ok(sqlx::query_as(SELECT_ACCESSES)
            .bind(self.tenant.as_str())
            .bind(filter.from)
            .bind(filter.to)
            .bind(filter.what)
            .bind(filter.call.as_deref())
            .bind(filter.person.as_deref())
            .bind(filter.api_key)
            .bind(after_at)
            .bind(after_id)
            .bind(filter.limit)
            .fetch_all(&mut *self.transaction)
            .await?)
    }
}

statements! {
    const INSERT_ACCESS: &str =
        "insert into access_log (tenant, id, at, actor, api_key, key_name, role, what, route, call, person, subject, purpose)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";

    const SELECT_ACCESSES: &str =
        "select id, at, actor, api_key, key_name, role, what, route, call, person, subject, purpose from access_log
         where tenant = $1
           and at >= coalesce($2::timestamptz, '-infinity') and at < coalesce($3::timestamptz, 'infinity')
           and ($4::text is null or what = $4) and ($5::text is null or call = $5)
           and ($6::text is null or person = $6) and ($7::uuid is null or api_key = $7)
           and ($8::timestamptz is null or (at, id) < ($8, $9))
         order by at desc, id desc limit $10";
}
