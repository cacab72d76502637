//! `onrecord evidence recompute --call … | --all`: recomputes reports that are stored in Postgres.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;

use super::entry_check::{EntryCheck, EntryCounts, write_entries};
use super::exported_report::{ExportedReport, compare};
use crate::config::Settings;
use crate::postgres::{Postgres, VersionSelector, VersionWithFacts};
use onrecord_evidence::call::parameters::Parameters;
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::identity::alias_graph::Anchor;

/// Maximum number of calls that one query lists.
const MAX_LISTED_CALLS: i64 = 500;

/// Writes whether the stored reports of a tenant equal those that their facts give: one version of a
/// call (`None`: the latest), or all versions of all calls.
///
/// # Errors
///
/// Postgres cannot be read, or there is no such report.
pub(super) async fn recompute(
    config: Option<&Path>,
    tenant: &Tenant,
    call: Option<&str>,
    version: Option<i32>,
    out: &mut (impl Write + Send),
) -> anyhow::Result<bool> {
    let settings = Settings::load(config)?;
    let store = Postgres::new(settings.database_url.expose(), settings.query.connections)?;
    let Some(call) = call else {
        return recompute_all(&store, tenant, out).await;
    };
    let mut snapshot = store.read(tenant).await?;
    let name = snapshot.call_of(&Anchor::candidates(call)).await?;
    let name = name.with_context(|| format!("no call of the tenant {tenant} has the id {call}"))?;
    let which = match version {
        None => VersionSelector::Latest,
        Some(version) => VersionSelector::Version { call: None, version },
    };
    let anchors = snapshot.anchors_of(&name).await?;
    let page = snapshot.version(&name, &anchors, which).await?;
    let page = page.with_context(|| format!("the call {name} has no such version"))?;
    let entries = EntryCheck::of(&mut snapshot, tenant, &anchors).await?;
    drop(snapshot);
    let exported = exported(tenant, page)?;
    let equal = compare(&exported, out)?;
    Ok(write_entries(entries.counts(), &entries.wrong(exported.ids()), out)? && equal)
}

/// Looks for the facts of an export among the entries of its call.
///
/// # Errors
///
/// Postgres cannot be read, or there is no such call.
pub(super) async fn find_entries(
    config: Option<&Path>,
    exported: &ExportedReport,
    out: &mut (impl Write + Send),
) -> anyhow::Result<bool> {
    let settings = Settings::load(config)?;
    let store = Postgres::new(settings.database_url.expose(), settings.query.connections)?;
    let (tenant, call) = (Tenant::parse(&exported.tenant)?, &exported.call);
    let mut snapshot = store.read(&tenant).await?;
    let name = snapshot.call_of(&Anchor::candidates(call)).await?;
    let name = name.with_context(|| format!("no call of the tenant {tenant} has the id {call}"))?;
    let anchors = snapshot.anchors_of(&name).await?;
    let entries = EntryCheck::of(&mut snapshot, &tenant, &anchors).await?;
    Ok(write_entries(entries.counts(), &entries.wrong(exported.ids()), out)?)
}

/// Recomputes all versions of all calls; writes only those that differ.
async fn recompute_all(
    store: &Postgres,
    tenant: &Tenant,
    out: &mut (impl Write + Send),
) -> anyhow::Result<bool> {
    let (mut calls, mut versions, mut different) = (0_u64, 0_u64, 0_u64);
    let mut after = String::new();
    let (mut counts, mut wrong) = (EntryCounts::default(), Vec::new());
    loop {
        let names = store.read(tenant).await?.calls_after(&after, MAX_LISTED_CALLS).await?;
        for name in &names {
            calls += 1;
            // One transaction per call, so that none is long.
            let mut snapshot = store.read(tenant).await?;
            let anchors = snapshot.anchors_of(name).await?;
            let entries = EntryCheck::of(&mut snapshot, tenant, &anchors).await?;
            counts.add(entries.counts());
            wrong.extend(entries.wrong([]));
            for version in snapshot.versions(name, &anchors, i64::MAX).await? {
                versions += 1;
                let which =
                    VersionSelector::Version { call: Some(version.call), version: version.version };
                let Some(page) = snapshot.version(name, &anchors, which).await? else {
                    continue;
                };
                let mut text = Vec::new();
                if !compare(&exported(tenant, page)?, &mut text)? {
                    different += 1;
                    out.write_all(&text)?;
                }
            }
        }
        let Some(last) = names.into_iter().next_back() else {
            break;
        };
        after = last;
    }
    writeln!(
        out,
        "{versions} reports on {calls} calls of tenant {tenant}: {different} differ from the ones that their facts give"
    )?;
    Ok(write_entries(counts, &wrong, out)? && different == 0)
}

fn exported(tenant: &Tenant, page: VersionWithFacts) -> anyhow::Result<ExportedReport> {
    let report = page.report.context("the report is not stored")?;
    Ok(ExportedReport {
        call: page.call,
        tenant: tenant.to_string(),
        rules: report["rules"].as_str().unwrap_or_default().to_owned(),
        parameters: Parameters::default(),
        facts: serde_json::to_value(&page.facts)?,
        now: page.as_of,
        report,
        proofs: page.proofs,
    })
}
