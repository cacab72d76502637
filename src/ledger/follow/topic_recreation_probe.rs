//! Detects that a topic was deleted and created again while it is read.
//!
//! # Why
//!
//! Such a topic goes unnoticed if it grows past the position of the reader before the next fetch:
//! the client library reads on at the old offset, and the messages before it are never read. So the
//! probe remembers a message that was appended, and reads it again later. If another message is at
//! its offset, the topic was created again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::kafka::{ConsumerError, PartitionConsumer, PointRead};
use crate::ledger::append::decoded_message::digest_of;
use crate::ledger::context::is_due;
use crate::ledger::partition_leases::PartitionLeases;
use onrecord_evidence::event::ids::Digest;

/// Interval of the probe.
const INTERVAL: Duration = Duration::from_secs(10);

/// Per partition, offset and digest of a message that was appended before the last probe.
#[derive(Default)]
pub(crate) struct TopicRecreationProbe {
    appended: BTreeMap<i32, (i64, Digest)>,
    probed_at: Option<Instant>,
}

impl TopicRecreationProbe {
    /// Whether it is time to probe.
    pub(crate) fn is_due(&self) -> bool {
        is_due(self.probed_at, INTERVAL)
    }

    /// Forgets a partition that was rewound.
    pub(crate) fn forget(&mut self, partition: i32) {
        self.appended.remove(&partition);
    }

    /// Forgets a partition if its position was moved back, by its owner meanwhile.
    pub(crate) fn forget_rewound(&mut self, partition: i32, next_offset: i64) {
        if self.appended.get(&partition).is_some_and(|(offset, _)| *offset >= next_offset) {
            self.forget(partition);
        }
    }

    /// Remembers the message that was appended last in these partitions, unless an earlier one is
    /// remembered: a topic that is created again before the next probe shows by it.
    pub(crate) fn remember(&mut self, leases: &PartitionLeases, partitions: &BTreeSet<i32>) {
        for partition in partitions {
            if let Some(last) = last_appended(leases, *partition) {
                self.appended.entry(*partition).or_insert(last);
            }
        }
    }

    /// Reads the remembered messages again, and returns the partitions where another message is.
    /// Elsewhere the message that was appended last is remembered for the next probe: it was read
    /// before this one, so it is in the same log.
    pub(crate) async fn probe(
        &mut self,
        leases: &PartitionLeases,
        consumer: &PartitionConsumer,
        point_read: &mut PointRead,
    ) -> BTreeSet<i32> {
        self.probed_at = Some(Instant::now());
        let mut recreated = BTreeSet::new();
        for partition in leases.partitions() {
            let Some((offset, digest)) = self.appended.get(&partition).copied() else { continue };
            let last_appended = last_appended(leases, partition);
            let unchanged = has_message(consumer, point_read, partition, offset, digest).await;
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

/// Offset and digest of the message that was appended last.
fn last_appended(leases: &PartitionLeases, partition: i32) -> Option<(i64, Digest)> {
    let lease = leases.get(partition)?;
    Some((lease.next_offset - 1, lease.last_digest?))
}

/// Whether the log has this message at this offset, as far as the log can tell.
async fn has_message(
    consumer: &PartitionConsumer,
    point_read: &mut PointRead,
    partition: i32,
    offset: i64,
    digest: Digest,
) -> Result<bool, ConsumerError> {
    let (low, high) = consumer.watermarks(partition).await?;
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
