//! Projects the touched calls of each tenant, and stores the result: rows, verdicts, exceptions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use chrono::{DateTime, Utc};

use super::call_projection::CallProjection;
use super::compute::run_blocking_if_large;
use super::projection_budget::{MAX_PROJECTION_TIME, ProjectionShare, shares, with_merged};
use crate::ledger::exceptions::{CallExceptions, reconcile_calls};
use crate::ledger::verdict_versions::store_versions;
use crate::ledger::webhook_events::WebhookContext;
use crate::postgres::{
    self, CallRowSet, CallSize, CallTermColumns, ExceptionCounts, HeldLocks, KnownEvents,
    StoreError, SubscribedTenants, TouchedCalls, Tx,
};
use onrecord_evidence::call::call_facts::CallFacts;
use onrecord_evidence::identity::alias_graph::Anchor;

/// Who projects the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProjectionMode {
    /// The transaction that appends their events; the maintenance what exceeds its budget.
    WithinBudget,
    /// The maintenance, all of them.
    Postponed,
    /// This transaction, however large they are: it is one of the maintenance.
    All,
}

/// What the projections of one transaction need besides the calls.
pub(crate) struct ProjectionContext<'a> {
    pub webhooks: WebhookContext,
    /// The events that the transaction appends.
    pub known: KnownEvents<'a>,
    pub now: DateTime<Utc>,
}

impl ProjectionContext<'_> {
    /// Of a transaction that appends no event.
    pub(crate) fn new(subscribed: SubscribedTenants, now: DateTime<Utc>) -> Self {
        Self { webhooks: WebhookContext::new(subscribed), known: KnownEvents::new(), now }
    }
}

/// Projects all facts of the touched calls, replaces their stored rows, stores their verdicts, and
/// reconciles their exceptions, or leaves that to the maintenance: see [`shares`].
///
/// # Why
///
/// A projection reads what other transactions wrote at other anchors of the call, so it locks the call.
/// A call that is left to the maintenance is not locked: its events are appended while the maintenance
/// projects it.
///
/// # Errors
///
/// [`StoreError`].
pub(crate) async fn project_calls(
    tx: &mut Tx<'_>,
    locks: &mut HeldLocks,
    touched: BTreeMap<&str, TouchedCalls>,
    mode: ProjectionMode,
    context: &ProjectionContext<'_>,
) -> Result<ExceptionCounts, StoreError> {
    // The numbers of postponements are read before the facts: another number shows that facts may be
    // missing, except those before the low watermark.
    let through = match mode {
        ProjectionMode::All => postgres::complete_through_before(tx).await?,
        ProjectionMode::WithinBudget | ProjectionMode::Postponed => None,
    };
    let mut sizes: BTreeMap<&str, Vec<CallSize>> = BTreeMap::new();
    for (tenant, touched) in &touched {
        let names = touched.calls.iter().chain(touched.gone.keys()).map(Anchor::as_str);
        let known = postgres::call_sizes(tx, tenant, &names.collect::<Vec<_>>()).await?;
        sizes.insert(tenant, with_merged(touched, known));
    }
    let shares: Vec<(&str, ProjectionShare)> = match mode {
        ProjectionMode::WithinBudget => shares(sizes, locks.limits()),
        ProjectionMode::All => each(sizes, |now| ProjectionShare { now, later: Vec::new() }),
        ProjectionMode::Postponed => {
            each(sizes, |later| ProjectionShare { now: Vec::new(), later })
        }
    };
    locks.lock_calls(tx, &to_lock(&touched, &shares)).await?;
    let mut counts = ExceptionCounts::default();
    let began = Instant::now();
    let mut postponed: BTreeMap<&str, Vec<CallSize>> = BTreeMap::new();
    let mut terms: BTreeMap<&str, CallTermColumns> = BTreeMap::new();
    for (tenant, mut share) in shares {
        let later = postponed.entry(tenant).or_default();
        later.append(&mut share.later);
        let mut gone: Vec<&str> = touched[tenant].gone.keys().map(Anchor::as_str).collect();
        for part in share.parts(&touched[tenant]) {
            let is_late =
                mode == ProjectionMode::WithinBudget && began.elapsed() >= MAX_PROJECTION_TIME;
            let now = if is_late {
                later.extend(part);
                Vec::new()
            } else {
                part
            };
            if !now.is_empty() || !gone.is_empty() {
                let terms = terms.entry(tenant).or_default();
                let counted = project_now(tx, tenant, &now, &gone, through, context, terms).await?;
                counts.add(&counted);
                gone.clear();
            }
        }
    }
    // Calls share parts of names, and any transaction may postpone a call: in one order, so that two transactions
    // do not wait for each other.
    for (tenant, terms) in terms {
        let gone: Vec<&str> = touched[tenant].gone.keys().map(Anchor::as_str).collect();
        postgres::store_call_terms(tx, tenant, &terms, &gone).await?;
    }
    for (tenant, later) in postponed {
        let later: Vec<&str> = later.iter().map(|size| size.call.as_str()).collect();
        postgres::postpone_calls(tx, tenant, &later).await?;
    }
    Ok(counts)
}

fn each<T: Ord>(
    sizes: BTreeMap<T, Vec<CallSize>>,
    share: impl Fn(Vec<CallSize>) -> ProjectionShare,
) -> Vec<(T, ProjectionShare)> {
    sizes.into_iter().map(|(tenant, sizes)| (tenant, share(sizes))).collect()
}

/// The calls that are projected now, those that are gone, and those that they are part of now.
fn to_lock(
    touched: &BTreeMap<&str, TouchedCalls>,
    shares: &[(&str, ProjectionShare)],
) -> BTreeSet<(String, Anchor)> {
    let projected = shares.iter().flat_map(|(tenant, share)| {
        share.now.iter().map(|size| (*tenant, Anchor::from_stored(size.call.clone())))
    });
    let merged = touched.iter().flat_map(|(tenant, touched)| {
        let pairs = touched.gone.iter().flat_map(|(gone, into)| [gone, into]);
        pairs.map(|call| (*tenant, call.clone()))
    });
    projected.chain(merged).map(|(tenant, call)| (tenant.to_owned(), call)).collect()
}

/// Projects these calls of a tenant, and adds the terms that are to be stored. They are locked by now.
async fn project_now(
    tx: &mut Tx<'_>,
    tenant: &str,
    sizes: &[CallSize],
    gone: &[&str],
    through: Option<DateTime<Utc>>,
    context: &ProjectionContext<'_>,
    terms: &mut CallTermColumns,
) -> Result<ExceptionCounts, StoreError> {
    let ProjectionContext { webhooks, known, now } = context;
    let now = *now;
    let calls: Vec<&str> = sizes.iter().map(|size| size.call.as_str()).collect();
    let (call_facts, revision) = postgres::read_call_facts(tx, tenant, &calls, known).await?;
    let facts: usize = call_facts.values().map(CallFacts::len).sum();
    let owned_tenant = tenant.to_owned();
    let projections: Vec<CallProjection> = run_blocking_if_large(facts, move || {
        let call_facts = call_facts.into_iter();
        call_facts
            .filter_map(|(call, call_facts)| {
                CallProjection::of(&owned_tenant, call, call_facts, now)
            })
            .collect()
    })
    .await?;
    let before = webhooks.calls_before(tx, tenant, &calls).await?;
    let rows: Vec<&CallRowSet> = projections.iter().map(|projection| &projection.rows).collect();
    let changed = postgres::store_calls(tx, tenant, &rows, gone).await?;
    let changed: BTreeSet<String> = changed.into_iter().collect();
    let (projections, verdicts) =
        store_versions(tx, tenant, projections, facts, gone, &revision, now).await?;
    if let Some(before) = before {
        before.make_messages(tx, webhooks, &projections, &verdicts, now).await?;
    }
    let calls = projections
        .iter()
        .map(|it| CallExceptions::of(it, verdicts.get(it.rows.call.as_str())))
        .collect();
    let reconciled = reconcile_calls(tx, tenant, calls, gone, now).await?;
    // The exceptions of a call that is gone are those of one of the others now.
    let (stored, unchanged): (Vec<&CallProjection>, Vec<&CallProjection>) =
        projections.iter().partition(|it| !gone.is_empty() || changed.contains(&it.rows.call));
    for projection in stored {
        terms.add(&projection.rows);
    }
    let unchanged = unchanged.iter().map(|it| it.rows.call.as_str());
    let of_exceptions: Vec<&str> =
        unchanged.filter(|call| reconciled.changed.contains(*call)).collect();
    postgres::refresh_exception_terms(tx, tenant, &of_exceptions).await?;
    let postponed: Vec<&CallSize> = sizes.iter().filter(|size| size.generation > 0).collect();
    postgres::evaluated_calls(tx, tenant, &postponed, through).await?;
    Ok(reconciled.counts)
}
