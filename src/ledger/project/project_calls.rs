//! Projects the touched calls of a tenant, and stores the result: rows, verdicts, exceptions.

use chrono::{DateTime, Utc};

use super::call_projection::CallProjection;
use super::compute::run_blocking_if_large;
use crate::ledger::exceptions::{CallExceptions, reconcile_calls};
use crate::ledger::verdict_versions::store_versions;
use crate::postgres::{self, CallRowSet, ExceptionCounts, StoreError, TouchedCalls, Tx};
use onrecord_evidence::call::call_facts::CallFacts;
use onrecord_evidence::identity::alias_graph::Anchor;

/// Maximum facts of a call that is projected with every event; the maintenance projects larger calls.
const MAX_CALL_FACTS: i32 = 1_000;
/// Maximum facts of all calls that are projected in one transaction: it has a timeout, and the facts
/// are in memory.
const MAX_BATCH_FACTS: i32 = 50_000;

/// Why calls are projected again.
pub(crate) enum ReevaluationTrigger {
    /// Events were appended at some of their anchors, which are locked.
    Events,
    /// Time passed.
    Time,
}

/// Projects all facts of the touched calls, replaces their stored rows, stores their verdicts, and
/// reconciles their exceptions.
///
/// # Errors
///
/// [`StoreError`].
pub(crate) async fn project_calls(
    tx: &mut Tx<'_>,
    tenant: &str,
    touched: TouchedCalls,
    trigger: ReevaluationTrigger,
    now: DateTime<Utc>,
) -> Result<ExceptionCounts, StoreError> {
    // A projection reads what other transactions wrote at other anchors of the call. The calls of
    // the locked anchors do not change meanwhile: a transaction that changes what an id resolves to
    // holds its lock.
    let calls = touched.calls.union(&touched.gone);
    let locks = calls.map(|call| (tenant.to_owned(), call.clone()));
    postgres::lock_ids(tx, &locks.collect()).await?;
    let mut calls: Vec<&str> = touched.calls.iter().map(Anchor::as_str).collect();
    let large = match trigger {
        ReevaluationTrigger::Events => too_large(postgres::fact_counts(tx, tenant, &calls).await?),
        ReevaluationTrigger::Time => Vec::new(),
    };
    calls.retain(|call| !large.iter().any(|large| large == call));
    postgres::postpone_evaluation(tx, tenant, &large).await?;
    let (call_facts, revision) = postgres::read_call_facts(tx, tenant, &calls).await?;
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
    let gone: Vec<&str> = touched.gone.iter().map(Anchor::as_str).collect();
    let rows: Vec<&CallRowSet> = projections.iter().map(|projection| &projection.rows).collect();
    postgres::store_calls(tx, tenant, &rows, &gone).await?;
    let (projections, verdicts) =
        store_versions(tx, tenant, projections, facts, &gone, &revision, now).await?;
    let calls = projections
        .iter()
        .map(|it| CallExceptions::of(it, verdicts.get(it.rows.call.as_str())))
        .collect();
    reconcile_calls(tx, tenant, calls, &gone, now).await
}

/// The calls that are left to the maintenance, by their numbers of facts: those above
/// [`MAX_CALL_FACTS`], and the largest ones beyond [`MAX_BATCH_FACTS`].
fn too_large(mut sizes: Vec<(String, i32)>) -> Vec<String> {
    sizes.sort_unstable_by_key(|(_, facts)| *facts);
    let mut all: i32 = 0;
    let large = sizes.into_iter().filter(|(_, facts)| {
        all = all.saturating_add(*facts);
        *facts > MAX_CALL_FACTS || all > MAX_BATCH_FACTS
    });
    large.map(|(call, _)| call).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_calls_and_those_beyond_a_transaction_are_left_to_the_maintenance() {
        let calls = |sizes: &[i32]| {
            let numbered = sizes.iter().enumerate();
            numbered.map(|(number, size)| (number.to_string(), *size)).collect::<Vec<_>>()
        };
        assert_eq!(too_large(calls(&[3, MAX_CALL_FACTS, MAX_CALL_FACTS + 1])), ["2"]);
        let left =
            too_large(calls(&[1; 49_500]).into_iter().chain(calls(&[MAX_CALL_FACTS])).collect());
        assert_eq!(left, ["0"]);
        assert!(too_large(calls(&[500; 100])).is_empty());
        assert_eq!(too_large(calls(&[500; 110])).len(), 10);
    }
}
