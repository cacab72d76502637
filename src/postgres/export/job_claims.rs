//! The attempt of a node at an export: claimed under a lease, extended, and ended.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::job::KeptIn;
use super::request::ExportRequest;
use crate::postgres::column::column;
use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::event::ids::{Digest, Tenant};

/// Maximum number of attempts at an export.
const MAX_EXPORT_ATTEMPTS: i32 = 3;
/// Key of the lock of the claims: the limits are those of all nodes together.
const CLAIM_LOCK: i64 = 0x6f6e_7265_6578_7074;

/// How many exports run at a time, on all nodes together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExportLimits {
    pub running: u32,
    pub running_of_tenant: u32,
}

/// An export that this node runs, under a lease.
#[derive(Clone, Debug)]
pub(crate) struct ClaimedExport {
    pub tenant: Tenant,
    pub id: Uuid,
    pub request: ExportRequest,
    /// Number of the attempt, from 1.
    pub attempt: i32,
    pub owner: String,
}

/// A file that an attempt has written.
#[derive(Clone, Debug)]
pub(crate) struct WrittenFile {
    pub name: String,
    /// `None`: the manifest.
    pub view: Option<&'static str>,
    pub rows: u64,
    pub bytes: u64,
    pub sha256: Digest,
}

/// How an attempt ended, other than by the loss of its lease.
#[derive(Debug)]
pub(crate) enum AttemptEnd {
    Done {
        complete_through: Option<DateTime<Utc>>,
        files: Vec<WrittenFile>,
    },
    /// Another attempt would fail as well.
    Failed {
        reason: String,
    },
    /// Another attempt may succeed; the last one fails with the reason.
    Interrupted {
        reason: String,
        retry_after: Duration,
    },
    /// The node stops: the attempt does not count.
    Released,
}

impl Postgres {
    /// Begins the attempt at the export that has waited longest and may run: a new one, or one whose node
    /// has ended. Fails those whose nodes ended too often.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn claim_export(
        &self,
        owner: &str,
        lease: Duration,
        kept_in: KeptIn,
        limits: ExportLimits,
        retention: Duration,
    ) -> Result<Option<ClaimedExport>, StoreError> {
        let claimed: Option<(String, Uuid, Json<ExportRequest>, i32)> = self
            .run_tx("claim export", |tx| {
                Box::pin(async move {
                    sqlx::query(LOCK_CLAIMS).bind(CLAIM_LOCK).execute(&mut **tx).await?;
                    sqlx::query(FAIL_ABANDONED_EXPORTS)
                        .bind(MAX_EXPORT_ATTEMPTS)
                        .bind(retention)
                        .execute(&mut **tx)
                        .await?;
                    let query = sqlx::query_as(CLAIM_EXPORT)
                        .bind(owner)
                        .bind(lease)
                        .bind(<&str>::from(kept_in))
                        .bind(i64::from(limits.running))
                        .bind(i64::from(limits.running_of_tenant));
                    Ok(query.fetch_optional(&mut **tx).await?)
                })
            })
            .await?;
        let claimed = claimed.map(|(tenant, id, Json(request), attempt)| {
            let tenant = Tenant::parse(&tenant).map_err(|error| {
                StoreError::Inconsistent(format!("the export {id} has no tenant: {error}"))
            })?;
            Ok(ClaimedExport { tenant, id, request, attempt, owner: owner.to_owned() })
        });
        claimed.transpose()
    }

    /// Extends the lease, and stores the progress. Returns whether the attempt still has the lease: not if
    /// another node took it, or the export was deleted.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn extend_export(
        &self,
        claimed: &ClaimedExport,
        lease: Duration,
        rows: u64,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(EXTEND_EXPORT)
            .bind(claimed.tenant.as_str())
            .bind(claimed.id)
            .bind(&claimed.owner)
            .bind(claimed.attempt)
            .bind(lease)
            .bind(i64::try_from(rows).unwrap_or(i64::MAX));
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }

    /// Ends an attempt. Returns whether it still had the lease; otherwise nothing is stored.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn end_export_attempt(
        &self,
        claimed: &ClaimedExport,
        end: &AttemptEnd,
        retention: Duration,
    ) -> Result<bool, StoreError> {
        let (id, owner, attempt) = (claimed.id, claimed.owner.as_str(), claimed.attempt);
        let tenant = claimed.tenant.as_str();
        match end {
            AttemptEnd::Done { complete_through, files } => {
                self.run_tx("finish export", |tx| {
                    Box::pin(async move {
                        let rows: u64 = files.iter().map(|file| file.rows).sum();
                        let query = sqlx::query(FINISH_EXPORT)
                            .bind(tenant)
                            .bind(id)
                            .bind(owner)
                            .bind(attempt)
                            .bind(i64::try_from(rows).unwrap_or(i64::MAX))
                            .bind(complete_through)
                            .bind(retention);
                        if query.execute(&mut **tx).await?.rows_affected() == 0 {
                            return Ok(false);
                        }
                        let number = |number| i64::try_from(number).unwrap_or(i64::MAX);
                        let query = sqlx::query(INSERT_EXPORT_FILES)
                            .bind(tenant)
                            .bind(id)
                            .bind(attempt)
                            .bind(column(files, |file| file.name.as_str()))
                            .bind(column(files, |file| file.view))
                            .bind(column(files, |file| number(file.rows)))
                            .bind(column(files, |file| number(file.bytes)))
                            .bind(column(files, |file| file.sha256.as_bytes().to_vec()));
                        query.execute(&mut **tx).await?;
                        Ok(true)
                    })
                })
                .await
            }
            AttemptEnd::Failed { reason } => {
                let query = sqlx::query(FAIL_EXPORT).bind(tenant).bind(id).bind(owner);
                let query = query.bind(attempt).bind(reason).bind(retention);
                Ok(query.execute(&self.pool).await?.rows_affected() == 1)
            }
            AttemptEnd::Interrupted { reason, .. } if attempt >= MAX_EXPORT_ATTEMPTS => {
                let reason =
                    format!("{attempt} attempts were interrupted, the last one because {reason}");
                let query = sqlx::query(FAIL_EXPORT).bind(tenant).bind(id).bind(owner);
                let query = query.bind(attempt).bind(reason).bind(retention);
                Ok(query.execute(&self.pool).await?.rows_affected() == 1)
            }
            AttemptEnd::Interrupted { retry_after, .. } => {
                let query = sqlx::query(REQUEUE_EXPORT).bind(tenant).bind(id).bind(owner);
                let query = query.bind(attempt).bind(retry_after).bind(attempt);
                Ok(query.execute(&self.pool).await?.rows_affected() == 1)
            }
            AttemptEnd::Released => {
                let query = sqlx::query(REQUEUE_EXPORT).bind(tenant).bind(id).bind(owner);
                let query = query.bind(attempt).bind(Duration::ZERO).bind(attempt - 1);
                Ok(query.execute(&self.pool).await?.rows_affected() == 1)
            }
        }
    }
}

macro_rules! of_attempt {
    () => {
        " where tenant = $1 and id = $2 and owner = $3 and attempts = $4 and state = 'running'"
    };
}

statements! {
    const LOCK_CLAIMS: &str = "select pg_advisory_xact_lock($1)";

    const FAIL_ABANDONED_EXPORTS: &str =
        "update export set state = 'failed', owner = null, lease_until = null, finished_at = clock_timestamp(), expires_at = clock_timestamp() + $2,
            reason = 'the node that ran it ended ' || attempts || ' times before it was done'
         where state = 'running' and lease_until < clock_timestamp() and attempts >= $1";

    const CLAIM_EXPORT: &str =
        "update export set state = 'running', owner = $1, lease_until = clock_timestamp() + $2, kept_in = $3,
            started_at = clock_timestamp(), attempts = attempts + 1, rows = 0
         where (tenant, id) = (
            select waiting.tenant, waiting.id from export as waiting
            where cluster_is_adopted()
                and (waiting.state = 'queued' and waiting.due_at <= clock_timestamp()
                    or waiting.state = 'running' and waiting.lease_until < clock_timestamp())
                and (select count(*) from export as running where running.state = 'running' and running.lease_until >= clock_timestamp()) < $4
                and (select count(*) from export as running
                    where running.state = 'running' and running.lease_until >= clock_timestamp() and running.tenant = waiting.tenant) < $5
            order by waiting.due_at, waiting.id limit 1
            for update skip locked)
         returning tenant, id, request, attempts";

    const EXTEND_EXPORT: &str = concat!("update export set lease_until = clock_timestamp() + $5, rows = $6", of_attempt!());

    const FINISH_EXPORT: &str = concat!(
        "update export set state = 'done', owner = null, lease_until = null, rows = $5, complete_through = $6,
            finished_at = clock_timestamp(), expires_at = clock_timestamp() + $7",
        of_attempt!()
    );

    const FAIL_EXPORT: &str = concat!(
        "update export set state = 'failed', owner = null, lease_until = null, reason = $5,
            finished_at = clock_timestamp(), expires_at = clock_timestamp() + $6",
        of_attempt!()
    );

    const REQUEUE_EXPORT: &str = concat!(
        "update export set state = 'queued', owner = null, lease_until = null, rows = 0, due_at = clock_timestamp() + $5, attempts = $6",
        of_attempt!()
    );

    const INSERT_EXPORT_FILES: &str =
        "insert into export_file (tenant, export, attempt, position, name, view, rows, bytes, sha256)
         select $1, $2, $3, file.position, file.name, file.view, file.rows, file.bytes, file.sha256
         from unnest($4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bytea[])
            with ordinality as file (name, view, rows, bytes, sha256, position)";
}
