//! Moves the ids below an id whose call changed, in steps, where they are too many for the transaction
//! that appended the link. The tenants take turns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use chrono::TimeDelta;
use futures_util::FutureExt as _;

use crate::clock;
use crate::ledger::context::LedgerContext;
use crate::ledger::project::project_calls::{ProjectionContext, ProjectionMode, project_calls};
use crate::postgres::{self, HeldLocks, LockLimits, PendingMerge, StoreError};
use onrecord_evidence::identity::alias_graph::Anchor;

/// Maximum ids that are moved in one transaction. It locks the call before and after of each.
const MAX_STEP_IDS: i64 = 256;
/// Time after which a step that failed is tried again.
const RETRY_DELAY: TimeDelta = TimeDelta::seconds(10);

/// Moves one step of the oldest merge of each tenant, and begins none after `ends_at`. Returns whether
/// there may be more.
///
/// # Errors
///
/// The store does not answer.
pub(super) async fn move_merged_ids(
    ledger: &LedgerContext,
    ends_at: Instant,
) -> Result<bool, StoreError> {
    let merges = postgres::pending_merges(&ledger.store, clock::now()).await?;
    for merge in &merges {
        if Instant::now() >= ends_at {
            break;
        }
        let mut moved = move_step(ledger, merge, ProjectionMode::WithinBudget).await;
        if let Err(StoreError::Inconsistent(_)) = moved {
            // The calls that cannot be projected are found one by one later.
            moved = move_step(ledger, merge, ProjectionMode::Postponed).await;
        }
        match moved {
            Ok(()) => {}
            Err(error @ StoreError::Unavailable(_)) if !ledger.store.answers().await => {
                return Err(error);
            }
            // A merge that fails delays no other.
            Err(error) => {
                if ledger.may_warn_of("a merge") {
                    tracing::warn!(error = %error, call.id = merge.upper_id, "the ids below {} are not moved now: {error}", merge.upper_id);
                }
                postgres::retry_merge_at(&ledger.store, merge, clock::now() + RETRY_DELAY).await?;
            }
        }
    }
    Ok(!merges.is_empty())
}

async fn move_step(
    ledger: &LedgerContext,
    merge: &PendingMerge,
    mode: ProjectionMode,
) -> Result<(), StoreError> {
    let now = clock::now();
    let tenant = merge.tenant.as_str();
    let context = &ProjectionContext::new(ledger.store.subscribed_tenants().await, now);
    let counts = ledger
        .store
        .run_tx("merge", move |tx| {
            async move {
                let mut locks = HeldLocks::new(LockLimits::default());
                // The id above is locked, so that it does not change its call meanwhile.
                let upper = (tenant.to_owned(), Anchor::from_stored(merge.upper_id.clone()));
                locks.lock_ids(tx, &BTreeSet::from([upper])).await?;
                let ids = postgres::next_ids_of_merge(tx, merge, MAX_STEP_IDS).await?;
                let is_last = i64::try_from(ids.len()).is_ok_and(|count| count < MAX_STEP_IDS);
                let moved = ids.last().filter(|_| !is_last);
                postgres::continue_merge(tx, merge, moved.map(String::as_str)).await?;
                let ids = ids.into_iter().map(Anchor::from_stored).collect();
                let touched = postgres::move_ids(tx, &mut locks, tenant, &ids).await?;
                let touched = BTreeMap::from([(tenant, touched)]);
                project_calls(tx, &mut locks, touched, mode, context).await
            }
            .boxed()
        })
        .await?;
    counts.report();
    Ok(())
}
