//! The judged account of each touched call, in versions.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::account::Account;
use super::fold::away;
use crate::domain::dossier::{Dossier, Sight};
use crate::domain::evidence::{EvidenceReport, RULES};
use crate::domain::ids::Digest;
use crate::domain::instant::Millis;
use crate::domain::obligation::Obligation;
use crate::domain::version::{ChangedBy, is_another, judgement_of};
use crate::store::{self, LatestVerdict, ObligationRow, StoreError, VerdictRow, Work};

/// Which version of a call's verdict holds now.
pub(super) struct Judgement {
    pub version: i32,
    /// The facts by which it differs from the version before; null: it is not new.
    pub changed_by: Value,
}

/// Stores what the rules make of these calls: in the place of the latest version, or as another
/// one. `gone` are calls that are part of another one now, `snapshot` is that in which the facts
/// were seen. Gives the accounts, of so many `lines`, back with the version of each that has one.
///
/// # Errors
///
/// [`StoreError`].
pub(super) async fn judge(
    work: &mut Work<'_>,
    tenant: &str,
    accounts: Vec<Account>,
    lines: usize,
    gone: &[&str],
    snapshot: &str,
    now: DateTime<Utc>,
) -> Result<(Vec<Account>, BTreeMap<String, Judgement>), StoreError> {
    // A call that is part of another one now brings its versions with it.
    let names: BTreeSet<&str> = accounts
        .iter()
        .flat_map(|account| {
            let anchors = account.dossier.anchors();
            anchors.into_iter().chain([account.fold.call.as_str()])
        })
        .collect();
    let names: Vec<&str> = names.into_iter().collect();
    let latest: BTreeMap<String, LatestVerdict> = store::latest_verdicts(work, tenant, &names)
        .await?
        .into_iter()
        .map(|latest| (latest.call.clone(), latest))
        .collect();
    let elsewhere = read_elsewhere(work, tenant, &accounts, &latest).await?;
    let (accounts, rows) = away(lines, move || {
        let rows = accounts.iter().filter_map(|account| {
            let report = account.report.as_ref()?;
            row(account, report, &latest, &elsewhere, now)
        });
        let rows: Vec<VerdictRow> = rows.collect();
        (accounts, rows)
    })
    .await?;
    store::store_verdicts(work, tenant, &rows, gone, snapshot).await?;
    let judgements = rows.into_iter().map(|row| {
        let judgement = Judgement {
            version: row.version,
            changed_by: row.changed_by,
        };
        (row.call, judgement)
    });
    let judgements = judgements.collect();
    Ok((accounts, judgements))
}

/// What earlier versions were made of and is part of other calls now: an alias that turned out to be
/// ambiguous has parted.
async fn read_elsewhere(
    work: &mut Work<'_>,
    tenant: &str,
    accounts: &[Account],
    latest: &BTreeMap<String, LatestVerdict>,
) -> Result<Dossier, StoreError> {
    let mut parted: BTreeSet<String> = BTreeSet::new();
    for account in accounts {
        let anchors = account.dossier.anchors();
        let earlier = latest.get(account.fold.call.as_str());
        let earlier = earlier.into_iter().flat_map(|it| &it.anchors);
        parted.extend(
            earlier
                .filter(|anchor| !anchors.contains(anchor.as_str()))
                .cloned(),
        );
    }
    if parted.is_empty() {
        return Ok(Dossier::default());
    }
    let parted: Vec<String> = parted.into_iter().collect();
    store::read_lines(work, tenant, &parted).await
}

fn row(
    account: &Account,
    report: &EvidenceReport,
    latest: &BTreeMap<String, LatestVerdict>,
    elsewhere: &Dossier,
    now: DateTime<Utc>,
) -> Option<VerdictRow> {
    let call = account.fold.call.as_str();
    let anchors = account.dossier.anchors();
    let former: Vec<&LatestVerdict> = anchors
        .iter()
        .copied()
        .chain([call])
        .filter_map(|name| latest.get(name))
        .collect();
    let own = latest.get(call);
    let newest = own.or_else(|| former.iter().copied().max_by_key(|it| it.as_of));
    let highest = former.iter().map(|it| it.version).max().unwrap_or(0);
    let (version, reason, changed_by) = match (own, newest) {
        (Some(own), _) if !is_another_than(own, report) => (own.version, "facts", Value::Null),
        (_, Some(newest)) => {
            let changed = changed_by(account, elsewhere, newest);
            let reason = if changed.is_nothing() {
                "time"
            } else {
                "facts"
            };
            (highest + 1, reason, serde_json::to_value(changed).ok()?)
        }
        (_, None) => (1, "first", json!({ "added": [], "removed": [] })),
    };
    Some(VerdictRow {
        call: call.to_owned(),
        version,
        rules: RULES,
        verdict: report.verdict.as_str(),
        as_of: now,
        report: serde_json::to_string(report).ok()?,
        judgement: judgement_of(report).ok()?,
        anchors: anchors.into_iter().map(str::to_owned).collect(),
        reason,
        changed_by,
        obligations: report.obligations.iter().filter_map(obligation).collect(),
    })
}

fn is_another_than(own: &LatestVerdict, report: &EvidenceReport) -> bool {
    let stored = Digest::from_bytes(&own.judgement);
    stored.is_none_or(|stored| is_another(stored, report).unwrap_or(true))
}

/// The facts by which this account differs from an earlier version.
fn changed_by(account: &Account, elsewhere: &Dossier, earlier: &LatestVerdict) -> ChangedBy {
    let here = account.dossier.anchors();
    let (here, parted): (BTreeSet<&str>, BTreeSet<&str>) = earlier
        .anchors
        .iter()
        .map(String::as_str)
        .partition(|anchor| here.contains(anchor));
    let before = Sight::read(&earlier.snapshot, earlier.xid).map(|sight| {
        let mut before = account.dossier.seen(&sight, &here);
        before.join(elsewhere.seen(&sight, &parted));
        before.resolved().facts
    });
    ChangedBy::between(&before.unwrap_or_default(), &account.facts)
}

fn obligation(obligation: &Obligation) -> Option<ObligationRow> {
    let time = |at: Option<Millis>| at.and_then(DateTime::from_timestamp_millis);
    Some(ObligationRow {
        session: obligation.session.clone(),
        kind: obligation.capture.as_str(),
        due: DateTime::from_timestamp_millis(obligation.due)?,
        ended: time(obligation.end),
        dispatched: time(obligation.dispatched),
        delivered: time(obligation.delivered),
        told: time(obligation.told),
        acknowledged: time(obligation.acknowledged),
        already_shown: obligation.already_shown,
        exposure_ms: obligation.exposure,
        exposure_min_ms: obligation.exposure_min,
        shown_ms: obligation.shown_ms,
        too_late: i32::try_from(obligation.too_late).unwrap_or(i32::MAX),
        status: obligation.status.as_str(),
        consent: obligation.consent.as_str(),
    })
}
