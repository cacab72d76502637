//! Which partitions are ours, and where we are in each.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use super::Ledger;
use crate::domain::ids::Digest;
use crate::store::{self, Position, StoreError};

/// A claim ends so long after its last renewal.
const LEASE: TimeDelta = TimeDelta::seconds(15);
/// And is renewed so often.
const RENEW: Duration = Duration::from_secs(4);

/// A partition of ours.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub epoch: i64,
    pub next_offset: i64,
    pub last_digest: Option<Digest>,
}

/// All partitions of one topic that are ours.
#[derive(Default)]
pub(super) struct Claims {
    owned: BTreeMap<i32, Owned>,
    renewed: Option<Instant>,
}

impl Claims {
    /// The partition's state, if it is ours.
    pub fn get(&self, partition: i32) -> Option<&Owned> {
        self.owned.get(&partition)
    }

    pub fn partitions(&self) -> impl Iterator<Item = i32> + '_ {
        self.owned.keys().copied()
    }

    /// Whether it is time to renew.
    pub fn due(&self) -> bool {
        self.renewed
            .is_none_or(|renewed| renewed.elapsed() >= RENEW)
    }

    /// Claims what is free and renews what is ours. Returns the partitions that are newly ours and
    /// those that are lost.
    pub async fn renew(
        &mut self,
        ledger: &Ledger,
        topic: &str,
        partitions: i32,
        now: DateTime<Utc>,
    ) -> Result<(Vec<i32>, Vec<i32>), StoreError> {
        let all: Vec<i32> = (0..partitions).collect();
        let claims =
            store::claim(&ledger.store, topic, &all, &ledger.owner, now, now + LEASE).await?;
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
