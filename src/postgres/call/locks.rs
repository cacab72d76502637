//! The advisory locks of one transaction: a limited number, however many ids and calls it concerns.
//!
//! # Why
//!
//! The lock table of PostgreSQL has room for some thousand locks of all transactions together. A lock
//! for each id would let one call with very many ids fill it, and each transaction fail that needs one.
//! So a transaction locks single names only up to a limit. Of a tenant with more it locks the *stripe*:
//! every transaction locks the stripes of its tenants too, shared with the others, or exclusively
//! instead of its names.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;

use crate::postgres::StoreError;
use onrecord_evidence::event::ids::Digest;
use onrecord_evidence::identity::alias_graph::Anchor;

/// Maximum number of ids that a transaction locks one by one.
const MAX_ID_LOCKS: usize = 512;
/// Maximum number of calls that a transaction locks one by one.
const MAX_CALL_LOCKS: usize = 512;
/// Number of stripes that tenants are hashed to.
const STRIPES: u64 = 64;
/// Maximum number of advisory locks of one transaction of the ledger.
pub const MAX_TRANSACTION_LOCKS: usize = MAX_ID_LOCKS + MAX_CALL_LOCKS + 2 * STRIPES as usize;

/// The advisory locks that a transaction holds until it ends.
#[derive(Debug)]
pub struct HeldLocks {
    ids: LockSpace,
    calls: LockSpace,
}

impl Default for HeldLocks {
    fn default() -> Self {
        Self {
            ids: LockSpace::new("id", MAX_ID_LOCKS),
            calls: LockSpace::new("call", MAX_CALL_LOCKS),
        }
    }
}

impl HeldLocks {
    /// Locks these ids: another transaction with one of them waits before it stores links.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn lock_ids(
        &mut self,
        connection: &mut PgConnection,
        ids: &BTreeSet<(String, Anchor)>,
    ) -> Result<(), StoreError> {
        lock(connection, &self.ids.plan(ids)).await
    }

    /// Locks these calls: another transaction that stores rows of one of them waits.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn lock_calls(
        &mut self,
        connection: &mut PgConnection,
        calls: &BTreeSet<(String, Anchor)>,
    ) -> Result<(), StoreError> {
        lock(connection, &self.calls.plan(calls)).await
    }
}

/// Locks of one kind of names.
#[derive(Debug)]
struct LockSpace {
    kind: &'static str,
    /// Maximum number of names that are locked one by one.
    max_names: usize,
    /// By stripe, whether it is held exclusively.
    stripes: BTreeMap<i64, bool>,
    names: BTreeSet<i64>,
}

/// A lock to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PlannedLock {
    key: i64,
    is_exclusive: bool,
}

impl LockSpace {
    fn new(kind: &'static str, max_names: usize) -> Self {
        Self { kind, max_names, stripes: BTreeMap::new(), names: BTreeSet::new() }
    }

    /// The locks that are missing for these names, in the order in which every transaction takes them:
    /// stripes, then names, each sorted. They count as held from now on.
    fn plan(&mut self, names: &BTreeSet<(String, Anchor)>) -> Vec<PlannedLock> {
        let mut by_stripe: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
        for (tenant, name) in names {
            let stripe = stripe_key(self.kind, tenant);
            if self.stripes.get(&stripe) == Some(&true) {
                continue;
            }
            let key = lock_key(&[self.kind, tenant, name.as_str()]);
            let missing = by_stripe.entry(stripe).or_default();
            if !self.names.contains(&key) {
                missing.insert(key);
            }
        }
        // The stripes with the fewest names are shared: one large call delays its own tenant.
        let mut by_size: Vec<(i64, BTreeSet<i64>)> = by_stripe.into_iter().collect();
        by_size.sort_by_key(|(stripe, missing)| (missing.len(), *stripe));
        let mut stripes = Vec::new();
        let mut new_names = BTreeSet::new();
        for (stripe, missing) in by_size {
            let is_exclusive = self.names.len() + missing.len() > self.max_names;
            if !is_exclusive {
                self.names.extend(&missing);
                new_names.extend(missing);
            }
            if self.stripes.insert(stripe, is_exclusive) != Some(is_exclusive) {
                stripes.push(PlannedLock { key: stripe, is_exclusive });
            }
        }
        stripes.sort_by_key(|lock| lock.key);
        let names = new_names.into_iter().map(|key| PlannedLock { key, is_exclusive: true });
        stripes.into_iter().chain(names).collect()
    }
}

/// Takes locks in the given order.
async fn lock(connection: &mut PgConnection, locks: &[PlannedLock]) -> Result<(), StoreError> {
    if locks.is_empty() {
        return Ok(());
    }
    let (keys, exclusive): (Vec<i64>, Vec<bool>) =
        locks.iter().map(|lock| (lock.key, lock.is_exclusive)).unzip();
    sqlx::query(TAKE_LOCKS).bind(&keys).bind(&exclusive).execute(connection).await?;
    Ok(())
}

fn stripe_key(kind: &str, tenant: &str) -> i64 {
    let stripe = lock_key(&["stripe", tenant]).unsigned_abs() % STRIPES;
    lock_key(&["stripe", kind, &stripe.to_string()])
}

/// The key of an advisory lock. Two names with the same key only wait for each other unnecessarily.
pub(crate) fn lock_key(parts: &[&str]) -> i64 {
    let digest = Digest::of_parts(parts);
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.as_bytes()[..8]);
    i64::from_be_bytes(bytes)
}

statements! {
    const TAKE_LOCKS: &str =
        "select case when is_exclusive then pg_advisory_xact_lock(key) else pg_advisory_xact_lock_shared(key) end
         from unnest($1::bigint[], $2::bool[]) as _ (key, is_exclusive)";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tenant: &str, names: std::ops::Range<usize>) -> BTreeSet<(String, Anchor)> {
        let anchor = |number: usize| Anchor::from_stored(number.to_string());
        names.map(|number| (tenant.to_owned(), anchor(number))).collect()
    }

    fn exclusive(plan: &[PlannedLock]) -> usize {
        plan.iter().filter(|lock| lock.is_exclusive).count()
    }

    #[test]
    fn a_transaction_takes_a_limited_number_of_locks_however_many_names_it_has() {
        let mut space = LockSpace::new("id", 10);
        assert_eq!(space.plan(&names("a", 0..10_000)).len(), 1);
        assert_eq!(space.plan(&names("a", 20_000..30_000)), []);
        let mut all = 0;
        let mut space = LockSpace::new("id", 10);
        for step in 0..100 {
            for tenant in ["a", "b", "c", "d"] {
                all += space.plan(&names(tenant, step * 3..step * 3 + 3)).len();
            }
        }
        assert!(all <= 10 + 2 * 4, "{all}");
    }

    #[test]
    fn a_tenant_with_few_names_shares_its_stripe_beside_one_with_many() {
        let mut both = names("a", 0..1_000);
        both.extend(names("b", 0..3));
        let plan = LockSpace::new("id", 10).plan(&both);
        assert_eq!((plan.len(), exclusive(&plan)), (2 + 3, 1 + 3));
        assert!(plan[..2].is_sorted_by_key(|lock| lock.key));
        assert!(plan[2..].is_sorted_by_key(|lock| lock.key));
        assert_eq!(plan[..2].iter().filter(|lock| lock.is_exclusive).count(), 1);
    }

    #[test]
    fn what_is_held_is_not_taken_again() {
        let mut space = LockSpace::new("id", 10);
        assert_eq!(space.plan(&names("a", 0..3)).len(), 1 + 3);
        assert_eq!(space.plan(&names("a", 0..3)), []);
        assert_eq!(space.plan(&names("a", 2..4)).len(), 1);
        // Beyond the limit, the stripe replaces further names.
        assert_eq!(exclusive(&space.plan(&names("a", 0..20))), 1);
        assert_eq!(space.plan(&names("a", 100..120)), []);
    }
}
