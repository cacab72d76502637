//! Whether the log is still the one that was read a while ago.
//!
//! # Why
//!
//! A topic that is deleted and made anew while it is read goes unnoticed if it grows past our
//! position before anybody looks: the client library reads on at the old offset, and what stands
//! before it is never seen. So a message that was entered is looked at again a while later. If
//! another one stands there, the log is another one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::claim::Claims;
use super::prepared::digest_of;
use crate::domain::ids::Digest;
use crate::stream::{Peek, Reader, ReaderError};

/// So long after a look the next one is due.
const EVERY: Duration = Duration::from_secs(10);

/// Per partition, a message that was entered before the last look.
#[derive(Default)]
pub(super) struct Landmarks {
    marks: BTreeMap<i32, (i64, Digest)>,
    looked: Option<Instant>,
}

impl Landmarks {
    /// Whether it is time to look.
    pub fn due(&self) -> bool {
        self.looked.is_none_or(|looked| looked.elapsed() >= EVERY)
    }

    /// Forgets one partition, or what is not ours any more.
    pub fn forget(&mut self, partition: i32) {
        self.marks.remove(&partition);
    }

    /// Looks at every landmark, and gives the partitions where another message stands. Where all
    /// is well, the message that was entered last is the next landmark: it was read before this
    /// look, so it is of the same log.
    pub async fn look(&mut self, claims: &Claims, reader: &Reader, peek: &Peek) -> Vec<i32> {
        self.looked = Some(Instant::now());
        let mut made_anew = Vec::new();
        for partition in claims.partitions() {
            let next = claims.get(partition).and_then(|owned| {
                let digest = owned.last_digest?;
                Some((owned.next_offset - 1, digest))
            });
            let standing = match self.marks.get(&partition) {
                None => Ok(true),
                Some((offset, digest)) => stands(reader, peek, partition, *offset, *digest).await,
            };
            match (standing, next) {
                (Ok(true), Some(next)) => {
                    self.marks.insert(partition, next);
                }
                (Ok(true), None) => {}
                // It stays until the rewind has succeeded.
                (Ok(false), _) => made_anew.push(partition),
                (Err(error), _) => {
                    tracing::debug!(error = %error, topic.partition = partition, "the landmark of partition {partition} cannot be looked at: {error}");
                }
            }
        }
        made_anew
    }
}

async fn stands(
    reader: &Reader,
    peek: &Peek,
    partition: i32,
    offset: i64,
    digest: Digest,
) -> Result<bool, ReaderError> {
    let (low, high) = reader.watermarks(partition).await?;
    // Its retention has ended: nothing can be said, and nothing is lost.
    if offset < low {
        return Ok(true);
    }
    if offset >= high {
        return Ok(false);
    }
    let found = peek.at(partition, offset).await?;
    Ok(found.is_none_or(|wire| digest_of(wire.as_ref()) == digest))
}
