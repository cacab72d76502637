//! `onrecord evidence recompute --call … | --all`: recomputes reports that are stored in Postgres.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;

use super::exported_report::{ExportedReport, compare};
use crate::config::Settings;
use crate::postgres::{Postgres, TenantSnapshot, VersionSelector, VersionWithFacts};
use onrecord_evidence::call::parameters::Parameters;
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::identity::alias_graph::Anchor;

/// Maximum number of calls that one query lists.
const MAX_LISTED_CALLS: i64 = 500;

/// Selects stored reports of a tenant.
pub(super) struct StoredQuery {
    pub tenant: Tenant,
    /// `None`: all versions of all calls.
    pub call: Option<String>,
    /// The version of the one call; `None`: the latest.
    pub version: Option<i32>,
}

/// Writes whether the stored reports equal those that their facts give.
///
/// # Errors
///
/// Postgres cannot be read, or there is no such report.
pub(super) async fn recompute(
    config: Option<&Path>,
    query: StoredQuery,
    out: &mut (impl Write + Send),
) -> anyhow::Result<bool> {
    let settings = Settings::load(config)?;
    let store = Postgres::new(settings.database_url.expose(), settings.query.connections)?;
    let Some(call) = &query.call else {
        return recompute_all(&store, &query.tenant, out).await;
    };
    let mut snapshot = store.read(&query.tenant).await?;
    let name = snapshot.call_of(&Anchor::candidates(call)).await?;
    let name =
        name.with_context(|| format!("no call of the tenant {} has the id {call}", query.tenant))?;
    let which = match query.version {
        None => VersionSelector::Latest,
        Some(version) => VersionSelector::Version {
            call: None,
            version,
        },
    };
    let page = page(&mut snapshot, &name, which).await?;
    let page = page.with_context(|| format!("the call {name} has no such version"))?;
    drop(snapshot);
    compare(exported(&query.tenant, page)?, out)
}

async fn page(
    snapshot: &mut TenantSnapshot,
    call: &str,
    which: VersionSelector,
) -> anyhow::Result<Option<VersionWithFacts>> {
    let anchors = snapshot.anchors_of(call).await?;
    Ok(snapshot.version(call, &anchors, which).await?)
}

/// Recomputes all versions of all calls; writes only those that differ.
async fn recompute_all(
    store: &Postgres,
    tenant: &Tenant,
    out: &mut (impl Write + Send),
) -> anyhow::Result<bool> {
    let (mut calls, mut versions, mut different) = (0_u64, 0_u64, 0_u64);
    let mut after = String::new();
    loop {
        let names = store
            .read(tenant)
            .await?
            .calls_after(&after, MAX_LISTED_CALLS)
            .await?;
        for name in &names {
            calls += 1;
            // One transaction per call, so that none is long.
            let mut snapshot = store.read(tenant).await?;
            let anchors = snapshot.anchors_of(name).await?;
            for version in snapshot.versions(name, &anchors, i64::MAX).await? {
                versions += 1;
                let which = VersionSelector::Version {
                    call: Some(version.call),
                    version: version.version,
                };
                let Some(page) = page(&mut snapshot, name, which).await? else {
                    continue;
                };
                let mut text = Vec::new();
                if !compare(exported(tenant, page)?, &mut text)? {
                    different += 1;
                    out.write_all(&text)?;
                }
            }
        }
        match names.into_iter().next_back() {
            Some(last) => after = last,
            None => break,
        }
    }
    writeln!(
        out,
        "{versions} reports on {calls} calls of tenant {tenant}: {different} differ from the ones that their facts give"
    )?;
    Ok(different == 0)
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
    })
}
