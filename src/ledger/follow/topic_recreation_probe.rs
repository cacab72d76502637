//! Detects that a topic was deleted and created again while it is read.
//!
//! # Why
//!
//! Such a topic goes unnoticed if it grows past the position of the reader before the next fetch:
//! the client library reads on at the old offset, and the messages before it are never read. So the
//! probe remembers a message that was appended, and reads it again later. If another message is at
//! its offset, the topic was created again.
//!
//! Reading a message may take long, so the probe runs beside its follower, which uses the result later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::kafka::{ConsumerError, PointRead};
use crate::ledger::append::decoded_message::digest_of;
use crate::ledger::context::is_due;
use crate::ledger::partition_leases::PartitionLeases;
use crate::lifecycle::detached::spawn_detached;
use onrecord_evidence::event::ids::Digest;

/// Interval of the probe.
const INTERVAL: Duration = Duration::from_secs(10);

/// Offset and digest of a message that was appended.
type Appended = (i64, Digest);

/// A partition that a probe compares.
#[derive(Clone, Copy)]
struct RememberedPartition {
    partition: i32,
    /// The epoch of its lease.
    epoch: i64,
    remembered: Appended,
    /// The message that was appended last when the probe began.
    last_appended: Option<Appended>,
}

/// Whether the log has the remembered message still; an error tells nothing.
type Comparison = Result<bool, ConsumerError>;

/// The probes of one follower.
pub(super) struct TopicRecreationProbe {
    /// Per partition a message that was appended before the last probe.
    appended: BTreeMap<i32, Appended>,
    probed_at: Option<Instant>,
    /// The probe that runs now.
    running: Option<JoinHandle<Vec<(RememberedPartition, Comparison)>>>,
    point_read: Arc<Mutex<PointRead>>,
}

impl TopicRecreationProbe {
    pub(super) fn new(point_read: Arc<Mutex<PointRead>>) -> Self {
        Self { appended: BTreeMap::new(), probed_at: None, running: None, point_read }
    }

    /// Forgets a partition that was rewound.
    pub(super) fn forget(&mut self, partition: i32) {
        self.appended.remove(&partition);
    }

    /// Forgets a partition if its position was moved back, by its owner meanwhile.
    pub(super) fn forget_rewound(&mut self, partition: i32, next_offset: i64) {
        if self.appended.get(&partition).is_some_and(|(offset, _)| *offset >= next_offset) {
            self.forget(partition);
        }
    }

    /// Remembers the message that was appended last in these partitions, unless an earlier one is
    /// remembered: a topic that is created again before the next probe shows by it.
    pub(super) fn remember(&mut self, leases: &PartitionLeases, partitions: &BTreeSet<i32>) {
        for partition in partitions {
            if let Some(last) = last_appended(leases, *partition) {
                self.appended.entry(*partition).or_insert(last);
            }
        }
    }

    /// Begins a probe if it is time, which reads the remembered messages again. Of a probe that has ended, returns
    /// the partitions where another message is.
    pub(super) async fn step(&mut self, leases: &PartitionLeases) -> BTreeSet<i32> {
        match self.running.take() {
            Some(running) if running.is_finished() => match running.await {
                Ok(compared) => return self.recreated(leases, compared),
                Err(error) => {
                    tracing::error!(error = %error, "a probe for a recreated topic ended early, the next one compares again: {error}");
                }
            },
            running => self.running = running,
        }
        if self.running.is_none() && is_due(self.probed_at, INTERVAL) {
            self.probed_at = Some(Instant::now());
            let compared = leases.partitions().filter_map(|partition| {
                // Of a partition without a remembered message nothing can be compared.
                let remembered = *self.appended.get(&partition)?;
                let epoch = leases.get(partition)?.epoch;
                let last_appended = last_appended(leases, partition);
                Some(RememberedPartition { partition, epoch, remembered, last_appended })
            });
            let compared: Vec<RememberedPartition> = compared.collect();
            self.running = Some(spawn_detached(probe(Arc::clone(&self.point_read), compared)));
        }
        BTreeSet::new()
    }

    /// The partitions that are recreated. Elsewhere the message that was appended last is remembered for the next
    /// probe: it was read before this one, so it is in the same log.
    fn recreated(
        &mut self,
        leases: &PartitionLeases,
        compared: Vec<(RememberedPartition, Comparison)>,
    ) -> BTreeSet<i32> {
        let mut recreated = BTreeSet::new();
        for (RememberedPartition { partition, epoch, remembered, last_appended }, unchanged) in
            compared
        {
            // The lease was lost meanwhile, or another message is remembered since.
            if leases.get(partition).is_none_or(|lease| lease.epoch != epoch)
                || self.appended.get(&partition) != Some(&remembered)
            {
                continue;
            }
            match (unchanged, last_appended) {
                (Ok(true), Some(last_appended)) => {
                    self.appended.insert(partition, last_appended);
                }
                (Ok(true), None) => {}
                // The message stays remembered until the rewind has succeeded.
                (Ok(false), _) => {
                    recreated.insert(partition);
                }
                (Err(error), _) => {
                    tracing::debug!(error = %error, topic.partition = partition, "partition {partition} cannot be probed for a recreated topic: {error}");
                }
            }
        }
        recreated
    }
}

/// Reads the remembered messages again. The lock is free between two partitions, for a rewind that waits.
async fn probe(
    point_read: Arc<Mutex<PointRead>>,
    remembered: Vec<RememberedPartition>,
) -> Vec<(RememberedPartition, Comparison)> {
    let mut compared = Vec::with_capacity(remembered.len());
    for one in remembered {
        let unchanged =
            has_message(&mut *point_read.lock().await, one.partition, one.remembered).await;
        compared.push((one, unchanged));
    }
    compared
}

/// Offset and digest of the message that was appended last.
fn last_appended(leases: &PartitionLeases, partition: i32) -> Option<Appended> {
    let lease = leases.get(partition)?;
    Some((lease.next_offset - 1, lease.last_digest?))
}

/// Whether the log has this message, as far as the log can tell.
async fn has_message(
    point_read: &mut PointRead,
    partition: i32,
    (offset, digest): Appended,
) -> Result<bool, ConsumerError> {
    let (low, high) = point_read.watermarks(partition).await?;
    // Retention deleted the message: the log tells nothing about it, and it was appended.
    if offset < low {
        return Ok(true);
    }
    if offset >= high {
        return Ok(false);
    }
    let found = point_read.at(partition, offset).await?;
    Ok(found.is_none_or(|wire| digest_of(wire.as_ref()) == digest))
}
