//! Takes and renews the leases of partitions, and tracks the position in each.
//!
//! A lease is taken in [`PartitionLeases::renew`]: `postgres::take_partitions` gives it a new epoch, which fences
//! off the former owner.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use uuid::Uuid;

use crate::failpoint;
use crate::ledger::context::{LedgerContext, is_due};
use crate::postgres::{self, LockLimits, PartitionLease, PartitionPosition, StoreError};
use onrecord_evidence::event::ids::Digest;

/// Time until a lease expires after its last renewal; a follower counts as alive for as long.
const LEASE: Duration = Duration::from_secs(10);
/// Interval of the renewal. Another node has the partitions of a dead one after the sum of both.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(2);

/// The leases of one follower.
pub(crate) struct PartitionLeases {
    /// The holder of these leases: each follower has its own.
    owner: String,
    leases: BTreeMap<i32, PartitionLease>,
    renewed_at: Option<Instant>,
    /// The followers that start together with this one, until its first renewal: each takes no more than
    /// its share from the beginning.
    starting: Vec<String>,
    lock_limits: LockLimits,
}

impl PartitionLeases {
    /// No leases yet, of each of the followers that start together.
    pub(crate) fn of_new_owners(followers: usize) -> Vec<Self> {
        let owners: Vec<String> = (0..followers).map(|_| Uuid::new_v4().to_string()).collect();
        let leases = owners.iter().map(|owner| Self {
            owner: owner.clone(),
            leases: BTreeMap::new(),
            renewed_at: None,
            starting: owners.clone(),
            lock_limits: LockLimits::default(),
        });
        leases.collect()
    }

    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    /// The lease of the partition, if this follower holds it.
    pub(crate) fn get(&self, partition: i32) -> Option<&PartitionLease> {
        self.leases.get(&partition)
    }

    /// How many locks a transaction of this follower may take, beside those of all others of its topic.
    pub(crate) fn lock_limits(&self) -> LockLimits {
        self.lock_limits
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = i32> + '_ {
        self.leases.keys().copied()
    }

    /// Whether it is time to renew.
    pub(crate) fn is_due(&self) -> bool {
        is_due(self.renewed_at, RENEWAL_INTERVAL)
    }

    /// Renews the leases, releases those above the fair share, and takes free partitions up to it.
    /// Returns the partitions that are gained and those that are lost.
    pub(crate) async fn renew(
        &mut self,
        ledger: &LedgerContext,
        topic: &str,
        partitions: i32,
    ) -> Result<(Vec<i32>, Vec<i32>), StoreError> {
        let owner = &*self.owner;
        let registered =
            if self.starting.is_empty() { vec![self.owner.clone()] } else { self.starting.clone() };
        let registered = &registered;
        let (held, lock_limits) = ledger
            .store
            .run_tx("lease", move |tx| {
                async move {
                    let followers =
                        postgres::register_followers(tx, topic, registered, LEASE).await?;
                    let share = fair_share(partitions, &followers, owner);
                    let slots = postgres::lock_slots(tx).await?;
                    let lock_limits = LockLimits::of_lock_table(slots, followers.len());
                    let mut held =
                        postgres::renew_partitions(tx, topic, partitions, owner, LEASE).await?;
                    if held.len() > share {
                        let surplus: Vec<i32> =
                            held.drain(share..).map(|lease| lease.partition).collect();
                        postgres::release_partitions(tx, topic, &surplus, owner).await?;
                    } else if held.len() < share {
                        let missing = i64::try_from(share - held.len()).unwrap_or(0);
                        let taken =
                            postgres::take_partitions(tx, topic, partitions, owner, LEASE, missing);
                        held.extend(taken.await?);
                    }
                    Ok((held, lock_limits))
                }
                .boxed()
            })
            .await?;
        failpoint::reached("ledger-lease-taken");
        self.renewed_at = Some(Instant::now());
        self.starting.clear();
        self.lock_limits = lock_limits;
        let is_known = |lease: &&PartitionLease| {
            self.leases.get(&lease.partition).is_some_and(|known| {
                known.epoch == lease.epoch && known.next_offset == lease.next_offset
            })
        };
        let gained = held.iter().filter(|lease| !is_known(lease)).map(|lease| lease.partition);
        let gained = gained.collect();
        let held: BTreeMap<i32, PartitionLease> =
            held.into_iter().map(|lease| (lease.partition, lease)).collect();
        let lost = self.partitions().filter(|partition| !held.contains_key(partition)).collect();
        self.leases = held;
        Ok((gained, lost))
    }

    /// Forgets one partition, so that the next renewal gains it again.
    pub(crate) fn forget(&mut self, partition: i32) {
        self.leases.remove(&partition);
    }

    /// Forgets every partition, and makes a renewal due.
    pub(crate) fn forget_all(&mut self) {
        self.renewed_at = None;
        self.leases.clear();
    }

    /// The move of the position to `next_offset`; `None` if the partition is not leased.
    pub(crate) fn position_at(
        &self,
        partition: i32,
        next_offset: i64,
        last_digest: Option<Digest>,
    ) -> Option<PartitionPosition> {
        let PartitionLease { epoch, next_offset: expected, .. } = *self.leases.get(&partition)?;
        Some(PartitionPosition { partition, epoch, expected, next_offset, last_digest })
    }

    /// Notes that a position was committed.
    pub(crate) fn committed(&mut self, position: &PartitionPosition) {
        if let Some(lease) = self.leases.get_mut(&position.partition) {
            lease.next_offset = position.next_offset;
            lease.last_digest = position.last_digest;
        }
    }
}

/// The number of partitions of one follower: all have the same number, give or take one, and the sum
/// is the number of partitions. An owner that is not among the followers has none.
fn fair_share(partitions: i32, followers: &[String], owner: &str) -> usize {
    let partitions = usize::try_from(partitions).unwrap_or(0);
    let Some(rank) = followers.iter().position(|follower| follower == owner) else {
        return 0;
    };
    partitions / followers.len() + usize::from(rank < partitions % followers.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn shares_differ_by_at_most_one_and_cover_every_partition(
            partitions in 0..64_i32,
            followers in proptest::collection::btree_set("[a-z]{1,3}", 1..20),
        ) {
            let followers: Vec<String> = followers.into_iter().collect();
            let shares: Vec<usize> = followers
                .iter()
                .map(|follower| fair_share(partitions, &followers, follower))
                .collect();
            proptest::prop_assert_eq!(shares.iter().sum::<usize>(), usize::try_from(partitions).unwrap());
            proptest::prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn an_owner_that_does_not_follow_has_no_share() {
        assert_eq!(fair_share(12, &["a".to_owned()], "b"), 0);
    }
}
