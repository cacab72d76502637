//! Detects that a topic was deleted and created again while it is read.
//!
//! # Why
//!
//! Such a topic goes unnoticed if it grows past the position of the reader before the next fetch:
//! the client library reads on at the old offset, and the messages before it are never read. So the
//! probe remembers a message that was appended, and reads it again later. If another message is at
//! its offset, the topic was created again.

use std::collections::BTreeMap;
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

    /// Forgets a partition that was lost or rewound.
    pub(crate) fn forget(&mut self, partition: i32) {
        self.appended.remove(&partition);
    }

    /// Reads the remembered messages again, and returns the partitions where another message is.
    /// Elsewhere the message that was appended last is remembered for the next probe: it was read
    /// before this one, so it is in the same log.
    pub(crate) async fn probe(
        &mut self,
        leases: &PartitionLeases,
        consumer: &PartitionConsumer,
        point_read: &PointRead,
    ) -> Vec<i32> {
        self.probed_at = Some(Instant::now());
        let mut recreated = Vec::new();
        for partition in leases.partitions() {
            let last_appended = leases.get(partition).and_then(|lease| {
                let digest = lease.last_digest?;
                Some((lease.next_offset - 1, digest))
            });
            let unchanged = match self.appended.get(&partition) {
                None => Ok(true),
                Some((offset, digest)) => {
                    has_message(consumer, point_read, partition, *offset, *digest).await
                }
            };
            match (unchanged, last_appended) {
                (Ok(true), Some(last_appended)) => {
                    self.appended.insert(partition, last_appended);
                }
                (Ok(true), None) => {}
                // The message stays remembered until the rewind has succeeded.
                (Ok(false), _) => recreated.push(partition),
                (Err(error), _) => {
                    tracing::debug!(error = %error, topic.partition = partition, "partition {partition} cannot be probed for a recreated topic: {error}");
                }
            }
        }
        recreated
    }
}

/// Whether the log has this message at this offset, as far as the log can tell.
async fn has_message(
    consumer: &PartitionConsumer,
    point_read: &PointRead,
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
