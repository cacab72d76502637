//! The advisory locks of one transaction: a limited number, however many ids and calls it concerns.
//!
//! # Why
//!
//! The lock table of PostgreSQL has room for some thousand locks of all transactions together. A lock
//! for each id would let one call with very many ids fill it, and each transaction fail that needs one.
//! One lock for many ids would let one transaction at a time proceed. So a transaction that would take
//! more locks than its limit ends, and is made smaller. The limit is a share of the lock table: larger
//! transactions project a call with several events once, so a larger table lets a ledger that lags
//! append faster.

use std::collections::BTreeSet;

use sqlx::PgConnection;

use crate::postgres::StoreError;
use onrecord_evidence::event::ids::Digest;
use onrecord_evidence::identity::alias_graph::Anchor;

/// Minimum number of advisory locks that one transaction of the ledger may take, whatever the lock table.
pub const MIN_TRANSACTION_LOCKS: usize = 1_200;
/// Maximum number of advisory locks that one transaction of the ledger may take: enough for a full batch.
pub const MAX_TRANSACTION_LOCKS: usize = 5_400;

/// How many advisory locks one transaction may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockLimits {
    batch_ids: usize,
}

impl Default for LockLimits {
    fn default() -> Self {
        Self::of_total(MIN_TRANSACTION_LOCKS)
    }
}

impl LockLimits {
    /// The limits while this number of followers share a lock table: all of them together take at most two
    /// thirds of it, or the minimum each.
    #[must_use]
    pub fn of_lock_table(slots: i64, followers: usize) -> Self {
        let share = usize::try_from(slots).unwrap_or(0) / 3 * 2 / followers.max(1);
        Self::of_total(share.clamp(MIN_TRANSACTION_LOCKS, MAX_TRANSACTION_LOCKS))
    }

    fn of_total(total: usize) -> Self {
        Self { batch_ids: total / 3 }
    }

    /// Maximum number of ids that the messages of one batch name.
    #[must_use]
    pub fn batch_ids(self) -> usize {
        self.batch_ids
    }

    /// Maximum number of ids that a transaction moves besides those of its batch: the ids below one that
    /// resolves to another call now.
    pub(super) fn moved_ids(self) -> usize {
        self.batch_ids * 16 / 25
    }

    /// Maximum number of calls that one transaction projects.
    #[must_use]
    pub fn projected_calls(self) -> usize {
        self.batch_ids
    }

    /// Maximum number of calls that a transaction locks: those that it projects, and those that became part
    /// of others.
    fn calls(self) -> usize {
        self.projected_calls() + self.batch_ids * 9 / 25
    }
}

/// The advisory locks that a transaction holds until it ends.
#[derive(Debug)]
pub struct HeldLocks {
    limits: LockLimits,
    ids: LockSpace,
    calls: LockSpace,
}

impl HeldLocks {
    /// No locks yet, of a transaction with these limits.
    #[must_use]
    pub fn new(limits: LockLimits) -> Self {
        Self {
            limits,
            ids: LockSpace::new("id", limits.batch_ids() + limits.moved_ids()),
            calls: LockSpace::new("call", limits.calls()),
        }
    }

    /// The limits of the transaction.
    #[must_use]
    pub fn limits(&self) -> LockLimits {
        self.limits
    }

    /// Locks these ids: another transaction with one of them waits before it stores links.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooLarge`] if they are too many.
    pub async fn lock_ids(
        &mut self,
        connection: &mut PgConnection,
        ids: &BTreeSet<(String, Anchor)>,
    ) -> Result<(), StoreError> {
        lock(connection, &self.ids.plan(ids)?).await
    }

    /// How many more ids the transaction may lock.
    pub(crate) fn free_ids(&self) -> usize {
        self.ids.max.saturating_sub(self.ids.held.len())
    }

    /// Locks these calls: another transaction that stores rows of one of them waits.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooLarge`] if they are too many.
    pub async fn lock_calls(
        &mut self,
        connection: &mut PgConnection,
        calls: &BTreeSet<(String, Anchor)>,
    ) -> Result<(), StoreError> {
        lock(connection, &self.calls.plan(calls)?).await
    }
}

/// Locks of one kind of names.
#[derive(Debug)]
struct LockSpace {
    kind: &'static str,
    max: usize,
    held: BTreeSet<i64>,
}

impl LockSpace {
    fn new(kind: &'static str, max: usize) -> Self {
        Self { kind, max, held: BTreeSet::new() }
    }

    /// The locks that are missing for these names, sorted as in every transaction. They count as held
    /// from now on.
    fn plan(&mut self, names: &BTreeSet<(String, Anchor)>) -> Result<Vec<i64>, StoreError> {
        let keys = names.iter().map(|(tenant, name)| lock_key(&[self.kind, tenant, name.as_str()]));
        let missing: BTreeSet<i64> = keys.filter(|key| !self.held.contains(key)).collect();
        if self.held.len() + missing.len() > self.max {
            return Err(StoreError::TooLarge);
        }
        self.held.extend(&missing);
        Ok(missing.into_iter().collect())
    }
}

/// Takes locks in the given order.
async fn lock(connection: &mut PgConnection, keys: &[i64]) -> Result<(), StoreError> {
    if !keys.is_empty() {
        sqlx::query(TAKE_LOCKS).bind(keys).execute(connection).await?;
    }
    Ok(())
}

/// The key of an advisory lock. Two names with the same key only wait for each other unnecessarily.
pub(crate) fn lock_key(parts: &[&str]) -> i64 {
    let digest = Digest::of_parts(parts);
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.as_bytes()[..8]);
    i64::from_be_bytes(bytes)
}

/// The size of the lock table, shared by all transactions.
///
/// # Errors
///
/// [`StoreError`].
pub async fn lock_slots(connection: &mut PgConnection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(SELECT_LOCK_SLOTS).fetch_one(connection).await?)
}

statements! {
    const SELECT_LOCK_SLOTS: &str =
        "select current_setting('max_locks_per_transaction')::bigint
             * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint)";
    const TAKE_LOCKS: &str = "select pg_advisory_xact_lock(key) from unnest($1::bigint[]) as _ (key)";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tenant: &str, names: std::ops::Range<usize>) -> BTreeSet<(String, Anchor)> {
        let anchor = |number: usize| Anchor::from_stored(number.to_string());
        names.map(|number| (tenant.to_owned(), anchor(number))).collect()
    }

    #[test]
    fn a_transaction_that_would_take_more_locks_than_its_limit_is_too_large() {
        let mut space = LockSpace::new("id", 10);
        assert_eq!(space.plan(&names("a", 0..6)).unwrap().len(), 6);
        assert!(matches!(space.plan(&names("b", 0..5)), Err(StoreError::TooLarge)));
        assert_eq!(space.plan(&names("b", 0..4)).unwrap().len(), 4);
    }

    #[test]
    fn the_followers_share_two_thirds_of_the_lock_table() {
        let total = |slots, followers| {
            let locks = HeldLocks::new(LockLimits::of_lock_table(slots, followers));
            locks.ids.max + locks.calls.max
        };
        assert_eq!(total(5_000, 3), MIN_TRANSACTION_LOCKS);
        assert_eq!(total(9_000, 3), 1_997);
        assert_eq!(total(9_000, 0), MAX_TRANSACTION_LOCKS);
        assert_eq!(total(25_600, 3), MAX_TRANSACTION_LOCKS);
        assert_eq!(total(-1, 3), MIN_TRANSACTION_LOCKS);
        assert_eq!(LockLimits::default(), LockLimits::of_lock_table(0, 1));
    }

    #[test]
    fn locks_are_sorted_and_what_is_held_is_not_taken_again() {
        let mut space = LockSpace::new("id", 100);
        assert!(space.plan(&names("a", 0..50)).unwrap().is_sorted());
        assert!(space.plan(&names("a", 0..50)).unwrap().is_empty());
        assert_eq!(space.plan(&names("a", 49..52)).unwrap().len(), 2);
    }

    #[test]
    fn different_ids_of_one_tenant_have_different_locks() {
        let mut space = LockSpace::new("id", 10_000);
        let one = space.plan(&names("a", 0..2_000)).unwrap();
        let other = space.plan(&names("a", 2_000..4_000)).unwrap();
        assert_eq!((one.len(), other.len()), (2_000, 2_000));
    }
}
