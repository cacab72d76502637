//! What only time changes: folds that fall due, sources that fall silent, partitions made ahead, keys
//! forgotten.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use futures_util::FutureExt as _;

use super::Ledger;
use super::exceptions::tell;
use super::fold::{Occasion, refold};
use super::lookout;
use super::presume::presume_ends;
use crate::clock;
use crate::domain::alias::Anchor;
use crate::store::{self, StoreError};

/// One node sweeps at a time.
const LEASE: Duration = Duration::from_secs(10);
const LEASE_NAME: &str = "sweep";
const EVERY: Duration = Duration::from_secs(1);
const PRESUMING_EVERY: Duration = Duration::from_secs(10);
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(3600);
/// A call that cannot be folded is tried again so much later.
const PUT_OFF: TimeDelta = TimeDelta::seconds(60);
/// Calls folded anew in one step.
const STEP: i64 = 100;

/// Sweeps until the stop.
pub(super) async fn sweep(ledger: Ledger) {
    let soft = ledger.lifecycle.soft().clone();
    let mut kept_house: Option<Instant> = None;
    let mut looked: Option<Instant> = None;
    let mut counted: Option<Instant> = None;
    let mut presumed: Option<Instant> = None;
    let mut presumed_through = None;
    while !soft.is_cancelled() {
        // One node is enough: another would wait for its locks, and fold the same once more.
        let ours = store::hold(&ledger.store, LEASE_NAME, &ledger.owner, LEASE).await;
        if !matches!(ours, Ok(true)) {
            // While the store is away nobody looks, and what was told last stands.
            if ours.is_ok() && looked.take().is_some() {
                counted = None;
                lookout::rest();
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = soft.cancelled() => {}
            }
            continue;
        }
        if let Err(error) = refold_due(&ledger).await {
            tracing::debug!(error = %error, "calls that fell due are not folded now: {error}");
        }
        if looked.is_none_or(|looked| looked.elapsed() >= lookout::EVERY) {
            looked = Some(Instant::now());
            if let Err(error) = lookout::look(&ledger, &mut counted).await {
                tracing::debug!(error = %error, "nobody looks out now: {error}");
            }
        }
        if presumed.is_none_or(|presumed| presumed.elapsed() >= PRESUMING_EVERY) {
            match presume_ends(&ledger, &mut presumed_through).await {
                // The rest of them is next, after what else is due.
                Ok(are_more) => presumed = (!are_more).then(Instant::now),
                Err(error) => tracing::debug!(error = %error, "no ends are presumed now: {error}"),
            }
        }
        if kept_house.is_none_or(|kept| kept.elapsed() >= HOUSEKEEPING_EVERY) {
            match keep_house(&ledger).await {
                Ok(()) => kept_house = Some(Instant::now()),
                Err(error) => tracing::debug!(error = %error, "housekeeping waits: {error}"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = soft.cancelled() => {}
        }
    }
    if let Err(error) = store::release(&ledger.store, LEASE_NAME, &ledger.owner).await {
        tracing::debug!(error = %error, "the sweeper's lease ends by itself: {error}");
    }
}

async fn refold_due(ledger: &Ledger) -> Result<(), StoreError> {
    let now = clock::now();
    for (tenant, call) in store::due_for_refold(&ledger.store, now, STEP).await? {
        let (tenant, call) = (tenant.as_str(), Anchor::from_stored(call));
        let call = &call;
        let refolded = ledger
            .store
            .run("refold", move |work| {
                async move {
                    let touched = store::Touched::one(call.clone());
                    refold(work, tenant, touched, Occasion::Time, now).await
                }
                .boxed()
            })
            .await;
        match refolded {
            Ok(tally) => tell(&tally),
            Err(error @ StoreError::Unavailable(_)) if !ledger.store.answers().await => {
                return Err(error);
            }
            // One that cannot be folded keeps no other from being folded.
            Err(error) => {
                tracing::warn!(error = %error, call.id = %call, "the call {call} is not folded anew now: {error}");
                store::put_off_refold(&ledger.store, tenant, call, now + PUT_OFF).await?;
            }
        }
    }
    Ok(())
}

async fn keep_house(ledger: &Ledger) -> Result<(), StoreError> {
    let now = clock::now();
    ledger.store.make_partitions(now).await?;
    let retention = TimeDelta::from_std(ledger.seen_retention).unwrap_or(TimeDelta::days(35));
    let day = (now - retention).date_naive();
    while store::forget_seen(&ledger.store, day).await? > 0 {}
    Ok(())
}
