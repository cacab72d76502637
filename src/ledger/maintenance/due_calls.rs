//! Projects the calls that are due because time has passed, or because they were too large for the
//! transaction that appended their events. The tenants take turns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt as _;
use serde_json::json;

use crate::clock;
use crate::ledger::context::LedgerContext;
use crate::ledger::project::project_calls::{ProjectionContext, ProjectionMode, project_calls};
use crate::postgres::{self, DueCall, HeldLocks, LockLimits, StoreError, TouchedCalls};
use onrecord_evidence::exception::{ExceptionKind, Occurrence};
use onrecord_evidence::identity::alias_graph::Anchor;

/// Time after which a call that cannot be projected is tried again.
const RETRY_DELAY: TimeDelta = TimeDelta::seconds(60);
/// Time after which a call is tried again that another transaction had locked.
const CONFLICT_DELAY: TimeDelta = TimeDelta::seconds(5);
/// Maximum calls of one step.
const MAX_CALLS: usize = 500;
/// Maximum calls of one transaction.
const MAX_GROUP_CALLS: usize = 100;
/// Maximum facts of the calls of one transaction, unless it has one call only.
const MAX_GROUP_FACTS: i32 = 1_000;
/// Maximum time that the calls of one tenant take in one step, while calls of others are due. One more
/// transaction may begin before it is over.
const MAX_TENANT_TIME: Duration = Duration::from_millis(500);

/// Projects one step of the due calls, which begins none after `ends_at`. Returns whether more are due.
///
/// # Errors
///
/// The store does not answer.
pub(super) async fn project_due_calls(
    ledger: &LedgerContext,
    ends_at: Instant,
) -> Result<bool, StoreError> {
    let limit = i64::try_from(MAX_CALLS).unwrap_or(i64::MAX);
    let due = postgres::calls_due(&ledger.store, clock::now(), limit).await?;
    let mut has_more = due.len() == MAX_CALLS;
    let groups = groups(due);
    let tenants: BTreeSet<String> = groups.iter().map(|group| group.tenant.clone()).collect();
    let mut spent: BTreeMap<String, Duration> = BTreeMap::new();
    for group in groups {
        if Instant::now() >= ends_at {
            return Ok(true);
        }
        let spent = spent.entry(group.tenant.clone()).or_default();
        if tenants.len() > 1 && *spent >= MAX_TENANT_TIME {
            has_more = true;
            continue;
        }
        let began = Instant::now();
        has_more |= project_group(ledger, &group, ends_at).await?;
        *spent += began.elapsed();
    }
    Ok(has_more)
}

/// Calls of one tenant that are projected in one transaction.
#[derive(Debug, Default, PartialEq, Eq)]
struct CallGroup {
    tenant: String,
    calls: BTreeSet<Anchor>,
}

/// Groups of the due calls. The tenants take turns, and of each tenant the order stays.
fn groups(due: Vec<DueCall>) -> Vec<CallGroup> {
    let mut tenants: Vec<String> = Vec::new();
    let mut by_tenant: BTreeMap<String, Vec<(CallGroup, i32)>> = BTreeMap::new();
    for DueCall { tenant, call, facts } in due {
        if !by_tenant.contains_key(&tenant) {
            tenants.push(tenant.clone());
        }
        let groups = by_tenant.entry(tenant.clone()).or_default();
        let facts = facts.max(1);
        let fits = |(group, sum): &&mut (CallGroup, i32)| {
            group.calls.len() < MAX_GROUP_CALLS && sum.saturating_add(facts) <= MAX_GROUP_FACTS
        };
        match groups.last_mut().filter(fits) {
            Some((group, sum)) => {
                group.calls.insert(Anchor::from_stored(call));
                *sum += facts;
            }
            None => {
                let calls = BTreeSet::from([Anchor::from_stored(call)]);
                groups.push((CallGroup { tenant, calls }, facts));
            }
        }
    }
    let mut groups: Vec<_> = tenants
        .iter()
        .filter_map(|tenant| by_tenant.remove(tenant))
        .flat_map(|groups| groups.into_iter().enumerate())
        .collect();
    groups.sort_by_key(|(turn, _)| *turn);
    groups.into_iter().map(|(_, (group, _))| group).collect()
}

/// Projects the calls of a group, or each of them alone if that fails, but after the first one none after `ends_at`.
/// Returns whether some are left.
async fn project_group(
    ledger: &LedgerContext,
    group: &CallGroup,
    ends_at: Instant,
) -> Result<bool, StoreError> {
    let CallGroup { tenant, calls } = group;
    if calls.len() > 1 {
        match project(ledger, tenant, calls, clock::now()).await {
            Ok(()) => return Ok(false),
            Err(error @ StoreError::Unavailable(_)) if !ledger.store.answers().await => {
                return Err(error);
            }
            Err(error) => {
                tracing::debug!(error = %error, "{} due calls are projected one by one: {error}", calls.len());
            }
        }
    }
    for (number, call) in calls.iter().enumerate() {
        if number > 0 && Instant::now() >= ends_at {
            return Ok(true);
        }
        project_alone(ledger, tenant, call).await?;
    }
    Ok(false)
}

async fn project(
    ledger: &LedgerContext,
    tenant: &str,
    calls: &BTreeSet<Anchor>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let context = &ProjectionContext::new(ledger.store.subscribed_tenants().await, now);
    let counts = ledger
        .store
        .run_tx("project", move |tx| {
            async move {
                let touched = BTreeMap::from([(tenant, TouchedCalls::of(calls.clone()))]);
                let locks = &mut HeldLocks::new(LockLimits::default());
                project_calls(tx, locks, touched, ProjectionMode::All, context).await
            }
            .boxed()
        })
        .await?;
    counts.report();
    Ok(())
}

/// Projects one call. One that cannot be projected delays no other: it is set aside for a while, with an
/// exception.
async fn project_alone(
    ledger: &LedgerContext,
    tenant: &str,
    call: &Anchor,
) -> Result<(), StoreError> {
    let now = clock::now();
    match project(ledger, tenant, &BTreeSet::from([call.clone()]), now).await {
        Ok(()) => Ok(()),
        Err(error @ StoreError::Unavailable(_)) if !ledger.store.answers().await => Err(error),
        // Another transaction has a lock: that says nothing about this call.
        Err(StoreError::Contended(error)) => {
            tracing::debug!(error = %error, call.id = %call, "the call {call} is projected later: {error}");
            postgres::set_retry_at(&ledger.store, tenant, call, now + CONFLICT_DELAY).await
        }
        Err(error) => {
            if ledger.may_warn_of("a due call") {
                tracing::warn!(error = %error, call.id = %call, "the call {call} is not projected now: {error}");
            }
            set_aside(ledger, tenant, call, &error.to_string(), now).await
        }
    }
}

async fn set_aside(
    ledger: &LedgerContext,
    tenant: &str,
    call: &Anchor,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    postgres::set_retry_at(&ledger.store, tenant, call, now + RETRY_DELAY).await?;
    let facts = json!({ "call": call.as_str(), "reason": postgres::subject_text(reason) });
    let mut occurrence = Occurrence::once(ExceptionKind::NotEvaluated, facts, now);
    occurrence.call = Some(call.to_string());
    let occurrences = [occurrence];
    let occurrences = &occurrences;
    let counts = ledger
        .store
        .run_tx("set aside", move |tx| {
            async move { postgres::record_occurrences(tx, tenant, occurrences, now).await }.boxed()
        })
        .await?;
    counts.report();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_calls_of_a_tenant_form_groups_and_the_tenants_take_turns() {
        let due = |tenant: &str, number: usize, facts| DueCall {
            tenant: tenant.to_owned(),
            call: format!("{number:04}"),
            facts,
        };
        let mut calls = vec![due("b", 0, 0), due("a", 0, 900)];
        calls.extend((1..=MAX_GROUP_CALLS).map(|number| due("b", number, 0)));
        calls.extend([due("a", 1, 100), due("a", 2, 0), due("a", 3, 30_000), due("a", 4, 1)]);
        let groups = groups(calls);
        let sizes = groups.iter().map(|group| (group.tenant.as_str(), group.calls.len()));
        let expected = [("b", MAX_GROUP_CALLS), ("a", 2), ("b", 1), ("a", 1), ("a", 1), ("a", 1)];
        assert!(sizes.eq(expected), "{groups:?}");
        assert!(groups[0].calls.contains(&Anchor::from_stored("0000".to_owned())));
    }
}
