//! The judged accounts at rest: versions, and the obligations of the latest.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::StoreError;
use crate::domain::ids::Digest;

/// The latest version of a call's account.
#[derive(Debug, sqlx::FromRow)]
pub struct LatestVerdict {
    pub call: String,
    pub version: i32,
    pub as_of: DateTime<Utc>,
    /// By which the next report is another version, or not.
    pub judgement: Vec<u8>,
    /// What it was made of: the facts at these anchors, as far as this snapshot shows them or this
    /// transaction wrote them.
    pub anchors: Vec<String>,
    pub snapshot: String,
    pub xid: i64,
}

/// A version that begins, or goes on.
#[derive(Debug)]
pub struct VerdictRow {
    pub call: String,
    pub version: i32,
    pub rules: &'static str,
    pub verdict: &'static str,
    pub as_of: DateTime<Utc>,
    /// JSON.
    pub report: String,
    pub judgement: Digest,
    pub anchors: Vec<String>,
    /// Of a version that begins.
    pub reason: &'static str,
    pub changed_by: Value,
    pub obligations: Vec<ObligationRow>,
}

/// One session by one stretch.
#[derive(Debug)]
pub struct ObligationRow {
    pub session: String,
    pub kind: &'static str,
    pub due: DateTime<Utc>,
    pub ended: Option<DateTime<Utc>>,
    pub dispatched: Option<DateTime<Utc>>,
    pub delivered: Option<DateTime<Utc>>,
    pub told: Option<DateTime<Utc>>,
    pub acknowledged: Option<DateTime<Utc>>,
    pub already_shown: bool,
    pub exposure_ms: Option<i64>,
    pub exposure_min_ms: Option<i64>,
    pub shown_ms: Option<i64>,
    pub too_late: i32,
    pub status: &'static str,
    pub consent: &'static str,
}

/// The latest version of each of these calls that has one.
///
/// # Errors
///
/// [`StoreError`].
pub async fn latest_verdicts(
    connection: &mut PgConnection,
    tenant: &str,
    calls: &[&str],
) -> Result<Vec<LatestVerdict>, StoreError> {
    Ok(sqlx::query_as(
        "select latest.* from unnest($2::text[]) as wanted (call)
         cross join lateral (
             select call, version, as_of, judgement, anchors, snapshot::text as snapshot, xid::text::bigint as xid from verdict
             where tenant = $1 and call = wanted.call order by version desc limit 1) as latest",
    )
    .bind(tenant)
    .bind(calls)
    .fetch_all(connection)
    .await?)
}

/// Stores versions, and the obligations of their calls: what of those stays as it is, is not written
/// again. `gone` are calls that are part of another one now: their versions stay as they are.
/// `snapshot` is that in which the facts were seen.
///
/// # Errors
///
/// [`StoreError`].
pub async fn store_verdicts(
    connection: &mut PgConnection,
    tenant: &str,
    verdicts: &[VerdictRow],
    gone: &[&str],
    snapshot: &str,
) -> Result<(), StoreError> {
    if verdicts.is_empty() && gone.is_empty() {
        return Ok(());
    }
    // Where only calls are concerned that the sweeper folds, nothing was seen, and the snapshot is
    // none.
    if !verdicts.is_empty() {
        insert_verdicts(connection, tenant, verdicts, snapshot).await?;
    }
    let concerned: Vec<&str> = verdicts
        .iter()
        .map(|row| row.call.as_str())
        .chain(gone.iter().copied())
        .collect();
    upsert_obligations(connection, tenant, verdicts, &concerned).await
}

async fn insert_verdicts(
    connection: &mut PgConnection,
    tenant: &str,
    verdicts: &[VerdictRow],
    snapshot: &str,
) -> Result<(), StoreError> {
    // Lists travel as lines: no anchor holds one.
    sqlx::query(
        "insert into verdict (tenant, call, version, rules, verdict, made, as_of, report, judgement, anchors, snapshot, reason, changed_by)
         select $1, call, version, rules, verdict, as_of, as_of, report::jsonb, judgement, string_to_array(anchors, chr(10)), $2::pg_snapshot, reason, changed_by
         from unnest($3::text[], $4::int[], $5::text[], $6::text[], $7::timestamptz[], $8::text[], $9::text[], $10::text[], $11::jsonb[], $12::bytea[])
              as _ (call, version, rules, verdict, as_of, report, anchors, reason, changed_by, judgement)
         on conflict (tenant, call, version) do update
         set rules = excluded.rules, verdict = excluded.verdict, as_of = excluded.as_of, report = excluded.report, judgement = excluded.judgement,
             anchors = excluded.anchors, snapshot = excluded.snapshot, xid = excluded.xid",
    )
    .bind(tenant)
    .bind(snapshot)
    .bind(verdicts.iter().map(|row| row.call.as_str()).collect::<Vec<_>>())
    .bind(verdicts.iter().map(|row| row.version).collect::<Vec<_>>())
    .bind(verdicts.iter().map(|row| row.rules).collect::<Vec<_>>())
    .bind(verdicts.iter().map(|row| row.verdict).collect::<Vec<_>>())
    .bind(verdicts.iter().map(|row| row.as_of).collect::<Vec<_>>())
    .bind(verdicts.iter().map(|row| row.report.as_str()).collect::<Vec<_>>())
    .bind(verdicts.iter().map(|row| row.anchors.join("\n")).collect::<Vec<_>>())
    .bind(verdicts.iter().map(|row| row.reason).collect::<Vec<_>>())
    .bind(verdicts.iter().map(|row| row.changed_by.clone()).collect::<Vec<_>>())
    .bind(verdicts.iter().map(|row| row.judgement.as_bytes().as_slice()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn upsert_obligations(
    connection: &mut PgConnection,
    tenant: &str,
    verdicts: &[VerdictRow],
    concerned: &[&str],
) -> Result<(), StoreError> {
    let (calls, rows): (Vec<&str>, Vec<&ObligationRow>) = verdicts
        .iter()
        .flat_map(|verdict| {
            let obligations = verdict.obligations.iter();
            obligations.map(|row| (verdict.call.as_str(), row))
        })
        .unzip();
    let sessions: Vec<&str> = rows.iter().map(|row| row.session.as_str()).collect();
    let kinds: Vec<&str> = rows.iter().map(|row| row.kind).collect();
    let dues: Vec<DateTime<Utc>> = rows.iter().map(|row| row.due).collect();
    // By their places: nobody else writes these rows of a call, whose lock is ours. The arrays are
    // hidden from the planner, which would not look their rows up by a hash if it saw how many a large
    // call has.
    sqlx::query(
        "delete from obligation where ctid = any(array(select row.ctid from unnest($2::text[]) as asked (call)
             cross join lateral (select ctid, type, due, session from obligation where tenant = $1 and call = asked.call offset 0) as row
             where (asked.call, row.type, row.due, row.session) not in
                   (select call, type, due, session from unnest((select $3::text[]), (select $4::text[]), (select $5::timestamptz[]), (select $6::text[]))
                    as _ (call, type, due, session))))",
    )
    .bind(tenant)
    .bind(concerned)
    .bind(&calls)
    .bind(&kinds)
    .bind(&dues)
    .bind(&sessions)
    .execute(&mut *connection)
    .await?;
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into obligation as stored (tenant, call, session, type, due, ended, dispatched, delivered, told, acknowledged,
                                 already_shown, exposure_ms, exposure_min_ms, shown_ms, too_late, status, consent)
         select $1, call, session, type, due, ended, dispatched, delivered, told, acknowledged,
                already_shown, exposure_ms, exposure_min_ms, shown_ms, too_late, status, consent
         from unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[], $8::timestamptz[],
                     $9::timestamptz[], $10::timestamptz[], $11::bool[], $12::bigint[], $13::bigint[], $14::bigint[], $15::int[],
                     $16::text[], $17::text[])
              as _ (call, session, type, due, ended, dispatched, delivered, told, acknowledged,
                    already_shown, exposure_ms, exposure_min_ms, shown_ms, too_late, status, consent)
         on conflict (tenant, call, type, due, session) do update
         set ended = excluded.ended, dispatched = excluded.dispatched, delivered = excluded.delivered, told = excluded.told,
             acknowledged = excluded.acknowledged, already_shown = excluded.already_shown, exposure_ms = excluded.exposure_ms,
             exposure_min_ms = excluded.exposure_min_ms, shown_ms = excluded.shown_ms, too_late = excluded.too_late,
             status = excluded.status, consent = excluded.consent
         where stored.* is distinct from excluded.*",
    )
    .bind(tenant)
    .bind(&calls)
    .bind(&sessions)
    .bind(&kinds)
    .bind(&dues)
    .bind(rows.iter().map(|row| row.ended).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.dispatched).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.delivered).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.told).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.acknowledged).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.already_shown).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.exposure_ms).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.exposure_min_ms).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.shown_ms).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.too_late).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.status).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.consent).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
