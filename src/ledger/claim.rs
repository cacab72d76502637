//! Which partitions are ours, and where we are in each.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Ledger;
use crate::domain::ids::Digest;
use crate::failpoint;
use crate::store::{self, Position, StoreError};

/// A claim ends so long after its last renewal, and a node counts so long as alive.
const LEASE: Duration = Duration::from_secs(10);
/// And is renewed so often: whoever waits for a dead node's partitions waits for both at most.
const RENEW: Duration = Duration::from_secs(2);

/// A partition of ours.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub epoch: i64,
    pub next_offset: i64,
    pub last_digest: Option<Digest>,
}

/// All partitions of one topic that are one follower's.
pub(super) struct Claims {
    /// By which its claims are known.
    owner: String,
    owned: BTreeMap<i32, Owned>,
    renewed: Option<Instant>,
}

impl Claims {
    /// None yet, of somebody whom nobody knows.
    pub fn of_a_new_owner() -> Self {
        Self {
            owner: Uuid::new_v4().to_string(),
            owned: BTreeMap::new(),
            renewed: None,
        }
    }

    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The partition's state, if it is ours.
    pub fn get(&self, partition: i32) -> Option<&Owned> {
        self.owned.get(&partition)
    }

    pub fn is_empty(&self) -> bool {
        self.owned.is_empty()
    }

    pub fn partitions(&self) -> impl Iterator<Item = i32> + '_ {
        self.owned.keys().copied()
    }

    /// Whether it is time to renew.
    pub fn due(&self) -> bool {
        self.renewed
            .is_none_or(|renewed| renewed.elapsed() >= RENEW)
    }

    /// Renews what is ours, gives back what is more than our share, and takes what is free up to
    /// it. Returns the partitions that are newly ours and those that are lost.
    pub async fn renew(
        &mut self,
        ledger: &Ledger,
        topic: &str,
        partitions: i32,
    ) -> Result<(Vec<i32>, Vec<i32>), StoreError> {
        let owner = &*self.owner;
        let claims = ledger
            .store
            .run("claim", move |work| {
                async move {
                    let nodes = store::followers(work, topic, owner, LEASE).await?;
                    let share = fair_share(partitions, &nodes, owner);
                    let mut ours = store::renew(work, topic, partitions, owner, LEASE).await?;
                    if ours.len() > share {
                        let more: Vec<i32> =
                            ours.drain(share..).map(|claim| claim.partition).collect();
                        store::let_go(work, topic, &more, owner).await?;
                    } else if ours.len() < share {
                        let most = i64::try_from(share - ours.len()).unwrap_or(0);
                        ours.extend(
                            store::take(work, topic, partitions, owner, LEASE, most).await?,
                        );
                    }
                    Ok(ours)
                }
                .boxed()
            })
            .await?;
        failpoint::reached("ledger-claimed");
        self.renewed = Some(Instant::now());
        let mut gained = Vec::new();
        let mut still = BTreeMap::new();
        for claim in claims {
            let known = self.owned.get(&claim.partition).is_some_and(|owned| {
                owned.epoch == claim.epoch && owned.next_offset == claim.next_offset
            });
            if !known {
                gained.push(claim.partition);
            }
            let owned = Owned {
                epoch: claim.epoch,
                next_offset: claim.next_offset,
                last_digest: claim.last_digest,
            };
            still.insert(claim.partition, owned);
        }
        let lost = self
            .owned
            .keys()
            .filter(|partition| !still.contains_key(partition))
            .copied()
            .collect();
        self.owned = still;
        Ok((gained, lost))
    }

    /// Forgets one partition, so that the next renewal begins it anew.
    pub fn forget(&mut self, partition: i32) {
        self.owned.remove(&partition);
    }

    /// Forgets everything; what is on the way belongs to nobody of us.
    pub fn drop_all(&mut self) -> Vec<i32> {
        self.renewed = None;
        std::mem::take(&mut self.owned).into_keys().collect()
    }

    /// The move that entering messages up to `last` (offset, digest) means; `None` if not ours.
    pub fn position(&self, partition: i32, last: (i64, Digest)) -> Option<Position> {
        let owned = self.owned.get(&partition)?;
        Some(Position {
            partition,
            epoch: owned.epoch,
            expected: owned.next_offset,
            next_offset: last.0 + 1,
            last_digest: Some(last.1),
        })
    }

    /// The move happened.
    pub fn moved(&mut self, position: &Position) {
        if let Some(owned) = self.owned.get_mut(&position.partition) {
            owned.next_offset = position.next_offset;
            owned.last_digest = position.last_digest;
        }
    }

    /// The partition goes on elsewhere, after a gap.
    pub fn resumed(&mut self, partition: i32, next_offset: i64) {
        if let Some(owned) = self.owned.get_mut(&partition) {
            owned.next_offset = next_offset;
            owned.last_digest = None;
        }
    }
}

/// How many partitions a node may have: as many as every other, give or take one. The sum over all
/// nodes is the number of partitions.
fn fair_share(partitions: i32, nodes: &[String], owner: &str) -> usize {
    let partitions = usize::try_from(partitions).unwrap_or(0);
    let Some(rank) = nodes.iter().position(|node| node == owner) else {
        return 0;
    };
    partitions / nodes.len() + usize::from(rank < partitions % nodes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn shares_are_equal_but_for_one_and_cover_every_partition(
            partitions in 0..64_i32,
            nodes in proptest::collection::btree_set("[a-z]{1,3}", 1..20),
        ) {
            let nodes: Vec<String> = nodes.into_iter().collect();
            let shares: Vec<usize> = nodes
                .iter()
                .map(|node| fair_share(partitions, &nodes, node))
                .collect();
            proptest::prop_assert_eq!(shares.iter().sum::<usize>(), usize::try_from(partitions).unwrap());
            proptest::prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn a_node_that_is_not_known_to_follow_has_no_share() {
        assert_eq!(fair_share(12, &["a".to_owned()], "b"), 0);
    }
}
