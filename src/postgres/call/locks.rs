//! The advisory locks of one transaction: a limited number, however many ids and calls it concerns.
//!
//! # Why
//!
//! The lock table of PostgreSQL has room for some thousand locks of all transactions together. A lock
//! for each id would let one call with very many ids fill it, and each transaction fail that needs one.
//! One lock for many ids would let one transaction at a time proceed. So a transaction that would take
//! more locks than its limit ends, and is made smaller.

use std::collections::BTreeSet;

use sqlx::PgConnection;

use crate::postgres::StoreError;
use onrecord_evidence::event::ids::Digest;
use onrecord_evidence::identity::alias_graph::Anchor;

/// Maximum number of ids that the messages of one batch name.
pub const MAX_BATCH_IDS: usize = 400;
/// Maximum number of ids that a transaction locks: those of its batch, and those that change their call.
const MAX_ID_LOCKS: usize = MAX_BATCH_IDS + 256;
/// Maximum number of calls that a transaction locks.
const MAX_CALL_LOCKS: usize = 544;
/// Maximum number of advisory locks of one transaction of the ledger.
pub const MAX_TRANSACTION_LOCKS: usize = MAX_ID_LOCKS + MAX_CALL_LOCKS;

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

statements! {
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
