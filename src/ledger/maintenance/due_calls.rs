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
use crate::postgres::{self, HeldLocks, LockLimits, StoreError, TouchedCalls};
use onrecord_evidence::exception::{ExceptionKind, Occurrence};
use onrecord_evidence::identity::alias_graph::Anchor;

/// Time after which a call that cannot be projected is tried again.
const RETRY_DELAY: TimeDelta = TimeDelta::seconds(60);
/// Time after which a call is tried again that another transaction had locked.
const CONFLICT_DELAY: TimeDelta = TimeDelta::seconds(5);
/// Maximum calls of one step.
const MAX_CALLS: usize = 100;
/// Maximum time that the calls of one tenant take in one step, while calls of others are due. One more
/// call may begin before it is over.
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
    let tenants: BTreeSet<String> = due.iter().map(|(tenant, _)| tenant.clone()).collect();
    let mut has_more = due.len() == MAX_CALLS;
    let mut spent: BTreeMap<String, Duration> = BTreeMap::new();
    for (tenant, call) in due {
        if Instant::now() >= ends_at {
            return Ok(true);
        }
        let spent = spent.entry(tenant.clone()).or_default();
        if tenants.len() > 1 && *spent >= MAX_TENANT_TIME {
            has_more = true;
            continue;
        }
        let began = Instant::now();
        project_due_call(ledger, &tenant, &Anchor::from_stored(call)).await?;
        *spent += began.elapsed();
    }
    Ok(has_more)
}

/// Projects one call. One that cannot be projected delays no other: it is set aside for a while, with an
/// exception.
async fn project_due_call(
    ledger: &LedgerContext,
    tenant: &str,
    call: &Anchor,
) -> Result<(), StoreError> {
    let now = clock::now();
    let context = &ProjectionContext::new(ledger.store.subscribed_tenants().await, now);
    let projected = ledger
        .store
        .run_tx("project", move |tx| {
            async move {
                let touched = BTreeMap::from([(tenant, TouchedCalls::one(call.clone()))]);
                let locks = &mut HeldLocks::new(LockLimits::default());
                project_calls(tx, locks, touched, ProjectionMode::All, context).await
            }
            .boxed()
        })
        .await;
    match projected {
        Ok(counts) => {
            counts.report();
            Ok(())
        }
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
