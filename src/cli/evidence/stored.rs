//! `onrecord evidence recompute --call …`: stored reports, out of the database.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;

use super::{Exported, compare};
use crate::config::Settings;
use crate::domain::alias::Anchor;
use crate::domain::ids::Tenant;
use crate::domain::parameters::Parameters;
use crate::store::{AccountPage, ReadingRoom, Store, Which};

/// Calls read in one step.
const STEP: i64 = 500;

/// Which of the stored reports of a tenant.
pub(super) struct Wanted {
    pub tenant: Tenant,
    /// None: every version of every call.
    pub call: Option<String>,
    /// Of the one call; None: the latest.
    pub version: Option<i32>,
}

/// Writes whether the stored reports are what their facts come to.
///
/// # Errors
///
/// The store cannot be read, or there is no such report.
pub(super) async fn recompute(
    config: Option<&Path>,
    wanted: Wanted,
    out: &mut (impl Write + Send),
) -> anyhow::Result<bool> {
    let settings = Settings::load(config)?;
    let store = Store::new(settings.database_url.expose(), settings.store.connections)?;
    let Some(call) = &wanted.call else {
        return every(&store, &wanted.tenant, out).await;
    };
    let mut room = store.read(&wanted.tenant).await?;
    let name = room.call_of(&Anchor::candidates(call)).await?;
    let name =
        name.with_context(|| format!("no call of the tenant {} has the id {call}", wanted.tenant))?;
    let which = match wanted.version {
        None => Which::Latest,
        Some(version) => Which::Version {
            call: None,
            version,
        },
    };
    let page = page(&mut room, &name, which).await?;
    let page = page.with_context(|| format!("the call {name} has no such version"))?;
    drop(room);
    compare(exported(&wanted.tenant, page)?, out)
}

async fn page(
    room: &mut ReadingRoom,
    call: &str,
    which: Which,
) -> anyhow::Result<Option<AccountPage>> {
    let anchors = room.anchors_of(call).await?;
    Ok(room.account(call, &anchors, which).await?)
}

/// Every version of every call; only those that differ are written out.
async fn every(
    store: &Store,
    tenant: &Tenant,
    out: &mut (impl Write + Send),
) -> anyhow::Result<bool> {
    let (mut calls, mut versions, mut different) = (0_u64, 0_u64, 0_u64);
    let mut after = String::new();
    loop {
        let names = store.read(tenant).await?.calls_after(&after, STEP).await?;
        for name in &names {
            calls += 1;
            // A transaction of its own for each call: the ledger goes on meanwhile.
            let mut room = store.read(tenant).await?;
            let anchors = room.anchors_of(name).await?;
            for version in room.versions(name, &anchors, i64::MAX).await? {
                versions += 1;
                let which = Which::Version {
                    call: Some(version.call),
                    version: version.version,
                };
                let Some(page) = page(&mut room, name, which).await? else {
                    continue;
                };
                let mut said = Vec::new();
                if !compare(exported(tenant, page)?, &mut said)? {
                    different += 1;
                    out.write_all(&said)?;
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
        "{versions} reports on {calls} calls of tenant {tenant}: {different} are not what their facts come to"
    )?;
    Ok(different == 0)
}

fn exported(tenant: &Tenant, page: AccountPage) -> anyhow::Result<Exported> {
    let report = page.report.context("the report is not stored")?;
    Ok(Exported {
        call: page.call,
        tenant: tenant.to_string(),
        rules: report["rules"].as_str().unwrap_or_default().to_owned(),
        parameters: Parameters::default(),
        facts: serde_json::to_value(&page.facts)?,
        now: page.as_of,
        report,
    })
}
