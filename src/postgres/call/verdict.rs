//! Verdicts of calls: their versions, and the obligations of the latest version.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::revision::SnapshotRevision;
use crate::postgres::StoreError;
use crate::postgres::column::column;
use onrecord_evidence::call::call_facts::Revision;
use onrecord_evidence::event::ids::Digest;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::JsonWord as _;
use onrecord_evidence::report::obligation::Obligation;
use onrecord_evidence::report::proof::SessionProofs;

/// The latest version of a call's verdict.
#[derive(Debug, sqlx::FromRow)]
pub struct LatestVerdict {
    pub call: String,
    pub version: i32,
    pub as_of: DateTime<Utc>,
    /// Decides whether the next report is another version.
    pub fingerprint: Vec<u8>,
    /// The facts that it is made of: those at these anchors that are visible in `snapshot`, or that
    /// the transaction `xid` wrote.
    pub anchors: Vec<String>,
    snapshot: String,
    xid: i64,
}

impl LatestVerdict {
    /// The revision of the record that it was made from; `None` if the stored snapshot cannot be parsed.
    #[must_use]
    pub fn revision(&self) -> Option<impl Revision + use<>> {
        SnapshotRevision::parse(&self.snapshot, self.xid)
    }
}

/// A new version, or an update of the latest one.
#[derive(Debug)]
pub struct VerdictRow {
    pub call: String,
    pub version: i32,
    pub rules: &'static str,
    pub verdict: &'static str,
    pub as_of: DateTime<Utc>,
    /// JSON.
    pub report: String,
    pub fingerprint: Digest,
    pub anchors: Vec<String>,
    /// Only stored with a new version.
    pub reason: &'static str,
    pub changed_by: Value,
    pub obligations: Vec<Obligation>,
    pub proofs: SessionProofs,
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
    let query = sqlx::query_as(SELECT_LATEST_VERDICTS).bind(tenant).bind(calls);
    Ok(query.fetch_all(connection).await?)
}

/// Stores versions, and the obligations of their calls; obligations that stay the same are not written.
/// `gone` are former calls that are part of another one now: their versions stay unchanged. `snapshot`
/// is the one in which the facts were read.
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
    // Without a version no facts were read, and there is no snapshot: maintenance evaluates the calls.
    if !verdicts.is_empty() {
        // Anchors are joined by line feeds: none contains one.
        sqlx::query(UPSERT_VERDICTS)
            .bind(tenant)
            .bind(snapshot)
            .bind(column(verdicts, |row| row.call.as_str()))
            .bind(column(verdicts, |row| row.version))
            .bind(column(verdicts, |row| row.rules))
            .bind(column(verdicts, |row| row.verdict))
            .bind(column(verdicts, |row| row.as_of))
            .bind(column(verdicts, |row| row.report.as_str()))
            .bind(column(verdicts, |row| row.anchors.join("\n")))
            .bind(column(verdicts, |row| row.reason))
            .bind(column(verdicts, |row| &row.changed_by))
            .bind(column(verdicts, |row| row.fingerprint.as_bytes().as_slice()))
            .bind(column(verdicts, |row| Json(&row.proofs)))
            .execute(&mut *connection)
            .await?;
    }
    let affected: Vec<&str> =
        verdicts.iter().map(|row| row.call.as_str()).chain(gone.iter().copied()).collect();
    upsert_obligations(connection, tenant, verdicts, &affected).await
}

async fn upsert_obligations(
    connection: &mut PgConnection,
    tenant: &str,
    verdicts: &[VerdictRow],
    affected: &[&str],
) -> Result<(), StoreError> {
    let obligations = verdicts.iter().flat_map(|verdict| {
        let proof = |row: &Obligation| verdict.proofs.of(&row.session).map(<&str>::from);
        verdict.obligations.iter().map(move |row| (verdict.call.as_str(), (row, proof(row))))
    });
    let (calls, rows): (Vec<&str>, Vec<(&Obligation, Option<&str>)>) = obligations
        // Beyond the calendar is no parsed time.
        .filter(|(_, (row, _))| time(Some(row.due_at)).is_some())
        .unzip();
    let (rows, proofs): (Vec<&Obligation>, Vec<Option<&str>>) = rows.into_iter().unzip();
    let sessions = column(&rows, |row| row.session.as_str());
    let kinds = column(&rows, |row| row.capture_type.as_str());
    let dues = column(&rows, |row| time(Some(row.due_at)));
    // As for sessions: by ctid, and with the arrays in sub-selects.
    sqlx::query(DELETE_OBLIGATIONS)
        .bind(tenant)
        .bind(affected)
        .bind(&calls)
        .bind(&kinds)
        .bind(&dues)
        .bind(&sessions)
        .execute(&mut *connection)
        .await?;
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(UPSERT_OBLIGATIONS)
        .bind(tenant)
        .bind(&calls)
        .bind(&sessions)
        .bind(&kinds)
        .bind(&dues)
        .bind(column(&rows, |row| time(row.ends_at)))
        .bind(column(&rows, |row| time(row.dispatched_at)))
        .bind(column(&rows, |row| time(row.delivered_at)))
        .bind(column(&rows, |row| time(row.shown_at)))
        .bind(column(&rows, |row| time(row.acknowledged_at)))
        .bind(column(&rows, |row| row.already_shown))
        .bind(column(&rows, |row| row.exposure_ms))
        .bind(column(&rows, |row| row.exposure_min_ms))
        .bind(column(&rows, |row| row.shown_ms))
        .bind(column(&rows, |row| i32::try_from(row.late_facts).unwrap_or(i32::MAX)))
        .bind(column(&rows, |row| row.status.as_str()))
        .bind(column(&rows, |row| row.consent.as_str()))
        .bind(&proofs)
        .execute(connection)
        .await?;
    Ok(())
}

/// `None` beyond the calendar.
fn time(at: Option<Millis>) -> Option<DateTime<Utc>> {
    at.and_then(DateTime::from_timestamp_millis)
}

statements! {
    const SELECT_LATEST_VERDICTS: &str =
        "select latest.* from unnest($2::text[]) as wanted (call)
         cross join lateral (
             select call, version, as_of, fingerprint, anchors, snapshot::text as snapshot, xid::text::bigint as xid from verdict
             where tenant = $1 and call = wanted.call order by version desc limit 1) as latest";

    const UPSERT_VERDICTS: &str =
        "insert into verdict (tenant, call, version, rules, verdict, made_at, as_of, report, fingerprint, anchors, snapshot, reason, changed_by, proofs)
         select $1, call, version, rules, verdict, as_of, as_of, report::jsonb, fingerprint, string_to_array(anchors, chr(10)), $2::pg_snapshot, reason, changed_by, proofs
         from unnest($3::text[], $4::int[], $5::text[], $6::text[], $7::timestamptz[], $8::text[], $9::text[], $10::text[], $11::jsonb[], $12::bytea[], $13::jsonb[])
              as _ (call, version, rules, verdict, as_of, report, anchors, reason, changed_by, fingerprint, proofs)
         on conflict (tenant, call, version) do update
         set rules = excluded.rules, verdict = excluded.verdict, as_of = excluded.as_of, report = excluded.report, fingerprint = excluded.fingerprint,
             anchors = excluded.anchors, snapshot = excluded.snapshot, xid = excluded.xid, proofs = excluded.proofs";

    const DELETE_OBLIGATIONS: &str =
        "delete from obligation where ctid = any(array(select row.ctid from unnest($2::text[]) as asked (call)
         cross join lateral (select ctid, type, due_at, session from obligation where tenant = $1 and call = asked.call offset 0) as row
         where (asked.call, row.type, row.due_at, row.session) not in
               (select call, type, due_at, session from unnest((select $3::text[]), (select $4::text[]), (select $5::timestamptz[]), (select $6::text[]))
                as _ (call, type, due_at, session))))";

    const UPSERT_OBLIGATIONS: &str =
        "insert into obligation as stored (tenant, call, session, type, due_at, ends_at, dispatched_at, delivered_at, shown_at, acknowledged_at,
                                 already_shown, exposure_ms, exposure_min_ms, shown_ms, late_facts, status, consent, proof)
         select $1, call, session, type, due_at, ends_at, dispatched_at, delivered_at, shown_at, acknowledged_at,
                already_shown, exposure_ms, exposure_min_ms, shown_ms, late_facts, status, consent, proof
         from unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[], $8::timestamptz[],
                     $9::timestamptz[], $10::timestamptz[], $11::bool[], $12::bigint[], $13::bigint[], $14::bigint[], $15::int[],
                     $16::text[], $17::text[], $18::text[])
              as _ (call, session, type, due_at, ends_at, dispatched_at, delivered_at, shown_at, acknowledged_at,
                    already_shown, exposure_ms, exposure_min_ms, shown_ms, late_facts, status, consent, proof)
         on conflict (tenant, call, type, due_at, session) do update
         set ends_at = excluded.ends_at, dispatched_at = excluded.dispatched_at, delivered_at = excluded.delivered_at, shown_at = excluded.shown_at,
             acknowledged_at = excluded.acknowledged_at, already_shown = excluded.already_shown, exposure_ms = excluded.exposure_ms,
             exposure_min_ms = excluded.exposure_min_ms, shown_ms = excluded.shown_ms, late_facts = excluded.late_facts,
             status = excluded.status, consent = excluded.consent, proof = excluded.proof
         where stored.* is distinct from excluded.*";
}
