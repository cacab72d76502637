//! Stores the verdict of each projected call as a version.
//!
//! The rules of evidence make the report (`crates/evidence`, [`EvidenceReport`]); this file decides
//! whether it is another version than the latest one, and names the facts that made it so.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::ledger::project::call_projection::CallProjection;
use crate::ledger::project::compute::run_blocking_if_large;
use crate::postgres::{self, LatestVerdict, StoreError, Tx, VerdictRow};
use crate::telemetry::dropped::{DroppedContent, record_dropped};
use onrecord_evidence::call::call_facts::CallFacts;
use onrecord_evidence::event::ids::Digest;
use onrecord_evidence::fact::kinds::JsonWord as _;
use onrecord_evidence::report::evidence_report::{EvidenceReport, RULES};
use onrecord_evidence::report::version::{ChangedBy, is_new_version, verdict_digest};

/// The current version of a call's verdict.
pub(crate) struct NewVerdict {
    pub version: i32,
    /// The facts by which it differs from the version before; null: it is not new.
    pub changed_by: Value,
}

/// Stores the verdicts of these calls: each replaces the latest version, or is a new one. `gone` are
/// calls that became part of another one; `revision` is the one at which the facts were read; `facts`
/// is the number of all facts. Returns the projections, and the version of each that has one.
///
/// # Errors
///
/// [`StoreError`].
pub(crate) async fn store_versions(
    tx: &mut Tx<'_>,
    tenant: &str,
    projections: Vec<CallProjection>,
    facts: usize,
    gone: &[&str],
    revision: &str,
    now: DateTime<Utc>,
) -> Result<(Vec<CallProjection>, BTreeMap<String, NewVerdict>), StoreError> {
    // The versions of a call that became part of another one count as that call's.
    let names: BTreeSet<&str> = projections
        .iter()
        .flat_map(|it| it.call_facts.anchors().into_iter().chain([it.rows.call.as_str()]))
        .collect();
    let names: Vec<&str> = names.into_iter().collect();
    let latest = postgres::latest_verdicts(tx, tenant, &names).await?.into_iter();
    let latest: BTreeMap<String, LatestVerdict> =
        latest.map(|latest| (latest.call.clone(), latest)).collect();
    let split_off = read_split_off(tx, tenant, &projections, &latest).await?;
    let (projections, rows) = run_blocking_if_large(facts, move || {
        let rows = projections.iter().filter_map(|projection| {
            let report = projection.report.as_ref()?;
            let row = verdict_row(projection, report, &latest, &split_off, now);
            row.map_err(|error| record_dropped(DroppedContent::Verdict, &error)).ok()
        });
        let rows: Vec<VerdictRow> = rows.collect();
        (projections, rows)
    })
    .await?;
    postgres::store_verdicts(tx, tenant, &rows, gone, revision).await?;
    let verdicts = rows.into_iter().map(|row| {
        let verdict = NewVerdict { version: row.version, changed_by: row.changed_by };
        (row.call, verdict)
    });
    Ok((projections, verdicts.collect()))
}

/// Reads facts that earlier versions rest on and that are part of other calls now: an alias turned
/// out to be ambiguous, and the call was split.
async fn read_split_off(
    tx: &mut Tx<'_>,
    tenant: &str,
    projections: &[CallProjection],
    latest: &BTreeMap<String, LatestVerdict>,
) -> Result<CallFacts, StoreError> {
    let mut split_off: BTreeSet<String> = BTreeSet::new();
    for projection in projections {
        let anchors = projection.call_facts.anchors();
        let earlier = latest.get(projection.rows.call.as_str());
        let earlier = earlier.into_iter().flat_map(|it| &it.anchors);
        split_off.extend(earlier.filter(|anchor| !anchors.contains(anchor.as_str())).cloned());
    }
    if split_off.is_empty() {
        return Ok(CallFacts::default());
    }
    let split_off: Vec<String> = split_off.into_iter().collect();
    postgres::read_facts_of_anchors(tx, tenant, &split_off).await
}

/// The verdict of one call: the latest version again, or the next one.
pub(crate) fn verdict_row(
    projection: &CallProjection,
    report: &EvidenceReport,
    latest: &BTreeMap<String, LatestVerdict>,
    split_off: &CallFacts,
    now: DateTime<Utc>,
) -> serde_json::Result<VerdictRow> {
    let call = projection.rows.call.as_str();
    let anchors = projection.call_facts.anchors();
    let former: Vec<&LatestVerdict> =
        anchors.iter().copied().chain([call]).filter_map(|name| latest.get(name)).collect();
    let own = latest.get(call);
    let newest = own.or_else(|| former.iter().copied().max_by_key(|it| it.as_of));
    let highest = former.iter().map(|it| it.version).max().unwrap_or(0);
    let (version, reason, changed_by) = match (own, newest) {
        (Some(own), _) if !differs_from(own, report) => (own.version, "facts", Value::Null),
        (_, Some(newest)) => {
            let changed = changed_by(projection, split_off, newest);
            let reason = if changed.is_empty() { "time" } else { "facts" };
            (highest + 1, reason, serde_json::to_value(changed)?)
        }
        (_, None) => (1, "first", json!({ "added": [], "removed": [] })),
    };
    Ok(VerdictRow {
        call: call.to_owned(),
        version,
        rules: RULES,
        verdict: report.verdict.as_str(),
        as_of: now,
        report: serde_json::to_string(report)?,
        fingerprint: verdict_digest(report)?,
        anchors: anchors.into_iter().map(str::to_owned).collect(),
        reason,
        changed_by,
        obligations: report.obligations.clone(),
        proofs: projection.proofs.clone(),
    })
}

fn differs_from(own: &LatestVerdict, report: &EvidenceReport) -> bool {
    let stored = Digest::from_bytes(&own.fingerprint);
    // A fingerprint that cannot be read or computed counts as another: a version too many is harmless.
    stored.is_none_or(|stored| is_new_version(stored, report).unwrap_or(true))
}

/// The facts by which this projection differs from an earlier version.
fn changed_by(
    projection: &CallProjection,
    split_off: &CallFacts,
    earlier: &LatestVerdict,
) -> ChangedBy {
    let here = projection.call_facts.anchors();
    let (here, elsewhere): (BTreeSet<&str>, BTreeSet<&str>) =
        earlier.anchors.iter().map(String::as_str).partition(|anchor| here.contains(anchor));
    let before = earlier.revision().map(|revision| {
        let mut before = projection.call_facts.at_revision(&revision, &here);
        before.extend(split_off.at_revision(&revision, &elsewhere));
        before.resolved().facts
    });
    // A version without a revision counts as one without facts: all of them are added.
    ChangedBy::between(&before.unwrap_or_default(), &projection.facts)
}
