//! The exports of a tenant: requesting, reading and deleting them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::request::ExportRequest;
use crate::http::timestamp::{serialize_micros, serialize_optional_micros};
use crate::postgres::{Postgres, StoreError, TenantSnapshot};
use onrecord_evidence::event::ids::Tenant;

/// Where the files of an export are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum KeptIn {
    Postgres,
    Directory,
    Bucket,
}

/// A request for an export.
#[derive(Debug)]
pub struct NewExport<'a> {
    pub id: Uuid,
    pub tenant: &'a Tenant,
    pub request: &'a ExportRequest,
    /// The API key that requests it, and its name.
    pub requested_by: (Uuid, &'a str),
    pub estimated_rows: u64,
}

/// What became of a request for an export.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportAdmission {
    Queued,
    /// The tenant has too many exports that are not finished.
    TooMany,
}

/// A file of an export.
#[derive(Clone, Debug, Serialize, sqlx::FromRow, ToSchema)]
#[schema(as = ExportFile)]
pub struct ExportFileRow {
    /// The name of the file.
    pub name: String,
    /// The view whose rows it has. Null: the manifest.
    #[schema(required = true)]
    pub view: Option<String>,
    /// Number of rows.
    pub rows: i64,
    /// Size in bytes.
    pub bytes: i64,
    /// SHA-256 in hexadecimal digits.
    pub sha256: String,
    #[serde(skip)]
    pub attempt: i32,
}

/// The state of an export that readers see, with what belongs to it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum ExportState {
    /// It waits for a node.
    Queued,
    /// A node writes its files.
    Running {
        /// When it was begun.
        #[serde(serialize_with = "serialize_micros")]
        started_at: DateTime<Utc>,
    },
    /// Its files are complete.
    Done {
        /// When it ended.
        #[serde(serialize_with = "serialize_micros")]
        finished_at: DateTime<Utc>,
        /// When its files are deleted.
        #[serde(serialize_with = "serialize_micros")]
        expires_at: DateTime<Utc>,
        /// Every event that the service received before this instant is in the files. Null: not known.
        #[serde(serialize_with = "serialize_optional_micros")]
        #[schema(required = true)]
        complete_through: Option<DateTime<Utc>>,
        #[serde(skip)]
        kept_in: KeptIn,
    },
    /// It failed.
    Failed {
        /// When it ended.
        #[serde(serialize_with = "serialize_micros")]
        finished_at: DateTime<Utc>,
        /// When its files are deleted.
        #[serde(serialize_with = "serialize_micros")]
        expires_at: DateTime<Utc>,
        /// Why it failed.
        reason: String,
    },
}

/// An export.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Export)]
pub struct StoredExport {
    /// The id of the export.
    pub id: Uuid,
    #[serde(flatten)]
    pub state: ExportState,
    #[serde(flatten)]
    pub request: ExportRequest,
    /// When it was requested.
    #[serde(serialize_with = "serialize_micros")]
    pub requested_at: DateTime<Utc>,
    /// The name of the API key that requested it.
    pub requested_by: String,
    /// About how many rows it has, by the estimate of the database.
    pub estimated_rows: i64,
    /// Rows that are written until now.
    pub rows: i64,
}

#[derive(sqlx::FromRow)]
struct ExportRow {
    id: Uuid,
    request: Json<ExportRequest>,
    requested_at: DateTime<Utc>,
    requested_by_name: String,
    estimated_rows: i64,
    state: String,
    started_at: Option<DateTime<Utc>>,
    rows: i64,
    kept_in: Option<String>,
    complete_through: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    reason: Option<String>,
}

impl ExportRow {
    fn parse(self) -> Result<StoredExport, StoreError> {
        let id = self.id;
        let state = self.state().ok_or_else(|| {
            StoreError::Inconsistent(format!("the export {id} has no state of this version"))
        })?;
        Ok(StoredExport {
            id,
            state,
            request: self.request.0,
            requested_at: self.requested_at,
            requested_by: self.requested_by_name,
            estimated_rows: self.estimated_rows,
            rows: self.rows,
        })
    }

    fn state(&self) -> Option<ExportState> {
        Some(match self.state.as_str() {
            "queued" => ExportState::Queued,
            "running" => ExportState::Running { started_at: self.started_at? },
            "done" => ExportState::Done {
                finished_at: self.finished_at?,
                expires_at: self.expires_at?,
                complete_through: self.complete_through,
                kept_in: self.kept_in.as_deref()?.parse().ok()?,
            },
            "failed" => ExportState::Failed {
                finished_at: self.finished_at?,
                expires_at: self.expires_at?,
                reason: self.reason.clone()?,
            },
            _ => return None,
        })
    }
}

impl TenantSnapshot {
    /// Exports of the tenant, last requested first.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn exports(
        &mut self,
        after: Option<(DateTime<Utc>, Uuid)>,
        limit: i64,
    ) -> Result<Vec<StoredExport>, StoreError> {
        let (after_requested, after_id) = after.unzip();
        let rows: Vec<ExportRow> = sqlx::query_as(SELECT_EXPORTS)
            .bind(self.tenant.as_str())
            .bind(after_requested)
            .bind(after_id)
            .bind(limit)
            .fetch_all(&mut *self.transaction)
            .await?;
        rows.into_iter().map(ExportRow::parse).collect()
    }

    /// Number and bytes of the files of these exports of the tenant, without those that have none.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn export_sizes(
        &mut self,
        exports: &[Uuid],
    ) -> Result<Vec<(Uuid, i64, i64)>, StoreError> {
        let query = sqlx::query_as(SELECT_EXPORT_SIZES).bind(self.tenant.as_str()).bind(exports);
        Ok(query.fetch_all(&mut *self.transaction).await?)
    }

    /// An export of the tenant, with its files.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn export(
        &mut self,
        id: Uuid,
    ) -> Result<Option<(StoredExport, Vec<ExportFileRow>)>, StoreError> {
        let query = sqlx::query_as(SELECT_EXPORT).bind(self.tenant.as_str()).bind(id);
        let row: Option<ExportRow> = query.fetch_optional(&mut *self.transaction).await?;
        let Some(row) = row else { return Ok(None) };
        let query = sqlx::query_as(SELECT_EXPORT_FILES).bind(self.tenant.as_str()).bind(id);
        let files = query.fetch_all(&mut *self.transaction).await?;
        Ok(Some((row.parse()?, files)))
    }
}

impl Postgres {
    /// Stores a request, unless the tenant has `max_unfinished` exports that are not finished.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn request_export(
        &self,
        new: &NewExport<'_>,
        max_unfinished: i64,
    ) -> Result<ExportAdmission, StoreError> {
        let (requested_by, name) = new.requested_by;
        let inserted = sqlx::query(INSERT_EXPORT)
            .bind(new.tenant.as_str())
            .bind(new.id)
            .bind(Json(new.request))
            .bind(requested_by)
            .bind(name)
            .bind(i64::try_from(new.estimated_rows).unwrap_or(i64::MAX))
            .bind(max_unfinished)
            .execute(&self.pool)
            .await?;
        let is_queued = inserted.rows_affected() == 1;
        Ok(if is_queued { ExportAdmission::Queued } else { ExportAdmission::TooMany })
    }

    /// Hides an export and lets its files be deleted. One that runs is stopped by its node. Returns
    /// whether there was one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn delete_export(&self, tenant: &Tenant, id: Uuid) -> Result<bool, StoreError> {
        let query = sqlx::query(DELETE_EXPORT).bind(tenant.as_str()).bind(id);
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }

    /// Hides the exports whose time is over.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn expire_exports(&self) -> Result<u64, StoreError> {
        Ok(sqlx::query(EXPIRE_EXPORTS).execute(&self.pool).await?.rows_affected())
    }

    /// Some exports whose files are to be deleted, because they were deleted or failed: their tenants, ids, and
    /// where the files are.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn exports_to_remove(
        &self,
    ) -> Result<Vec<(Tenant, Uuid, Option<KeptIn>)>, StoreError> {
        let rows: Vec<(String, Uuid, Option<String>)> =
            sqlx::query_as(SELECT_EXPORTS_TO_REMOVE).fetch_all(&self.pool).await?;
        let rows = rows.into_iter().map(|(tenant, id, kept_in)| {
            let tenant = Tenant::parse(&tenant).map_err(|error| {
                StoreError::Inconsistent(format!("the export {id} has no tenant: {error}"))
            })?;
            let kept_in = kept_in.map(|kept_in| parse_kept_in(id, &kept_in)).transpose()?;
            Ok((tenant, id, kept_in))
        });
        rows.collect()
    }

    /// Deletes the row of a deleted export whose files are deleted, and stores of a failed one that it has none.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn remove_export(&self, tenant: &Tenant, id: Uuid) -> Result<(), StoreError> {
        let query = sqlx::query(REMOVE_EXPORT).bind(tenant.as_str()).bind(id);
        query.execute(&self.pool).await?;
        let query = sqlx::query(FORGET_FILES).bind(tenant.as_str()).bind(id);
        query.execute(&self.pool).await?;
        Ok(())
    }
}

fn parse_kept_in(id: Uuid, text: &str) -> Result<KeptIn, StoreError> {
    text.parse().map_err(|_| {
        StoreError::Inconsistent(format!("the files of the export {id} are in an unknown store"))
    })
}

macro_rules! export_columns {
    () => {
        "id, request, requested_at, requested_by_name, estimated_rows, state, started_at, rows, kept_in, complete_through, finished_at, expires_at, reason"
    };
}

statements! {
    const SELECT_EXPORTS: &str = concat!(
        "select ", export_columns!(), " from export
         where tenant = $1 and state <> 'deleted' and ($2::timestamptz is null or (requested_at, id) < ($2, $3::uuid))
         order by requested_at desc, id desc limit $4"
    );

    const SELECT_EXPORT: &str = concat!(
        "select ", export_columns!(), " from export where tenant = $1 and id = $2 and state <> 'deleted'"
    );

    const SELECT_EXPORT_FILES: &str =
        "select name, view, rows, bytes, encode(sha256, 'hex') as sha256, attempt from export_file
         where tenant = $1 and export = $2 order by position";

    const SELECT_EXPORT_SIZES: &str =
        "select export, count(*), sum(bytes)::bigint from export_file where tenant = $1 and export = any ($2) group by export";

    /// Two requests at the same moment may both be admitted.
    const INSERT_EXPORT: &str =
        "insert into export (tenant, id, request, requested_by, requested_by_name, estimated_rows)
         select $1, $2, $3, $4, $5, $6
         where (select count(*) from export where tenant = $1 and state in ('queued', 'running')) < $7";

    /// Its node writes until the lease ends, at the latest.
    const DELETE_EXPORT: &str =
        "update export set state = 'deleted', expires_at = coalesce(lease_until, clock_timestamp()), owner = null, lease_until = null
         where tenant = $1 and id = $2 and state <> 'deleted'";

    const EXPIRE_EXPORTS: &str =
        "update export set state = 'deleted' where state in ('done', 'failed') and expires_at <= clock_timestamp()";

    const SELECT_EXPORTS_TO_REMOVE: &str =
        "select tenant, id, kept_in from export where expires_at is not null and (state = 'deleted' and expires_at <= clock_timestamp() or state = 'failed' and kept_in is not null)
         order by expires_at limit 100";

    const FORGET_FILES: &str = "update export set kept_in = null where tenant = $1 and id = $2 and state = 'failed'";

    const REMOVE_EXPORT: &str = "delete from export where tenant = $1 and id = $2 and state = 'deleted'";
}
