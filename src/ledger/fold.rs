//! The account of each touched call: folded, judged, and laid at rest.

use chrono::{DateTime, Utc};

use super::account::Account;
use super::exceptions::{Judged, settle};
use super::judge::judge;
use crate::domain::alias::Anchor;
use crate::domain::dossier::Dossier;
use crate::store::{self, CallFold, ExceptionTally, StoreError, Touched, Work};

/// A call with more facts is not folded with every event, but by the sweeper.
const LARGE: i32 = 1_000;
/// Calls that have more facts than this together are not folded in one transaction: it has only so
/// much time, and all of them lie in memory.
const TOGETHER: i32 = 50_000;
/// More testimonies than these are folded away from the async workers.
const MANY: usize = 100;

/// Why calls are folded anew.
pub(super) enum Occasion {
    /// Events came at some of their anchors, which are locked.
    Events,
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
    touched: Touched,
    occasion: Occasion,
    now: DateTime<Utc>,
) -> Result<ExceptionTally, StoreError> {
    // A fold reads what other transactions wrote at other anchors of the call. The calls of our own
    // anchors stay what they are meanwhile: whoever leads an id elsewhere holds its lock.
    let calls = touched.calls.union(&touched.gone);
    let locks = calls.map(|call| (tenant.to_owned(), call.clone()));
    store::lock_ids(work, &locks.collect()).await?;
    let mut calls: Vec<&str> = touched.calls.iter().map(Anchor::as_str).collect();
    let large = match occasion {
        Occasion::Events => too_large(store::sizes_of(work, tenant, &calls).await?),
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

/// Which of these calls are left to the sweeper: by their numbers of facts.
fn too_large(mut sizes: Vec<(String, i32)>) -> Vec<String> {
    sizes.sort_unstable_by_key(|(_, facts)| *facts);
    let mut all: i32 = 0;
    let large = sizes.into_iter().filter(|(_, facts)| {
        all = all.saturating_add(*facts);
        *facts > LARGE || all > TOGETHER
    });
    large.map(|(call, _)| call).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_large_call_and_all_beyond_a_transaction_are_left_to_the_sweeper() {
        let calls = |sizes: &[i32]| {
            let numbered = sizes.iter().enumerate();
            numbered
                .map(|(number, size)| (number.to_string(), *size))
                .collect::<Vec<_>>()
        };
        assert_eq!(too_large(calls(&[3, LARGE, LARGE + 1])), ["2"]);
        let left = too_large(
            calls(&[1; 49_500])
                .into_iter()
                .chain(calls(&[LARGE]))
                .collect(),
        );
        assert_eq!(left, ["0"]);
        assert!(too_large(calls(&[500; 100])).is_empty());
        assert_eq!(too_large(calls(&[500; 110])).len(), 10);
    }
}
