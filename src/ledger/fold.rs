//! The account of each touched call: folded, judged, and laid at rest.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::account::Account;
use super::exceptions::{Judged, settle};
use super::judge::judge;
use crate::domain::alias::Anchor;
use crate::domain::dossier::Dossier;
use crate::store::{self, CallFold, ExceptionTally, StoreError, Touched, Work};

/// A call with more facts is not folded with every event, but by the sweeper.
const LARGE: i32 = 1_000;
/// More testimonies than these are folded away from the async workers.
const MANY: usize = 500;

/// Why calls are folded anew.
pub(super) enum Occasion<'a> {
    /// Events came at these anchors.
    Events(&'a BTreeSet<Anchor>),
    /// Time passed.
    Time,
}

/// Folds all facts of the touched calls, replaces what is stored of them, and settles their
/// exceptions.
///
/// # Errors
///
/// [`StoreError`].
pub(super) async fn refold(
    work: &mut Work<'_>,
    tenant: &str,
    mut touched: Touched,
    occasion: Occasion<'_>,
    now: DateTime<Utc>,
) -> Result<ExceptionTally, StoreError> {
    // A fold reads what other transactions wrote at other anchors of the call. While we waited for
    // them, our anchors may have become part of yet another call.
    let mut locked = BTreeSet::new();
    loop {
        let wanted = touched.calls.union(&touched.gone);
        let locks: BTreeSet<(String, Anchor)> = wanted
            .filter(|call| !locked.contains(*call))
            .map(|call| (tenant.to_owned(), call.clone()))
            .collect();
        if locks.is_empty() {
            break;
        }
        store::lock_ids(work, &locks).await?;
        locked.extend(locks.into_iter().map(|(_, call)| call));
        if let Occasion::Events(anchors) = occasion {
            touched
                .calls
                .extend(store::calls_of(work, tenant, anchors).await?);
        }
    }
    let mut calls: Vec<&str> = touched.calls.iter().map(Anchor::as_str).collect();
    let large = match occasion {
        Occasion::Events(_) => store::large_calls(work, tenant, &calls, LARGE).await?,
        Occasion::Time => Vec::new(),
    };
    calls.retain(|call| !large.iter().any(|large| large == call));
    store::leave_to_sweeper(work, tenant, &large).await?;
    let (dossiers, snapshot) = store::read_dossiers(work, tenant, &calls).await?;
    let many: usize = dossiers.values().map(Dossier::len).sum();
    let of = tenant.to_owned();
    let accounts: Vec<Account> = away(many, move || {
        let dossiers = dossiers.into_iter();
        dossiers
            .filter_map(|(call, dossier)| Account::of(&of, call, dossier, now.timestamp_millis()))
            .collect()
    })
    .await?;
    let gone: Vec<&str> = touched.gone.iter().map(Anchor::as_str).collect();
    let folds: Vec<&CallFold> = accounts.iter().map(|account| &account.fold).collect();
    store::store_folds(work, tenant, &folds, &gone, now).await?;
    let (accounts, verdicts) = judge(work, tenant, accounts, many, &gone, &snapshot, now).await?;
    let judged = accounts
        .iter()
        .map(|account| Judged::of(account, verdicts.get(account.fold.call.as_str())))
        .collect();
    settle(work, tenant, judged, &gone, now).await
}

/// Computes something out of so many lines: many are not the work of an async worker. A panic is an
/// error of the computation's own.
///
/// # Errors
///
/// It panicked.
pub(super) async fn away<T: Send + 'static>(
    lines: usize,
    compute: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    if lines > MANY {
        let computed = tokio::task::spawn_blocking(compute).await;
        return computed
            .map_err(|error| StoreError::Inconsistent(format!("a fold failed: {error}")));
    }
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(compute))
        .map_err(|_| StoreError::Inconsistent("a fold panicked".to_owned()))
}
