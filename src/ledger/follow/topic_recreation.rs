//! Decides what the positions of a topic tell about its log, and rewinds a topic that was deleted and created
//! again.
//!
//! # Why
//!
//! Only some partitions of such a topic show it by themselves: the log is shorter than the position, or
//! another message is before it. Where the ledger had read nothing, or lagged, the new log looks like the
//! old one. So one partition that shows it stands for all others that do not prove the contrary, and each
//! of them gets its gap.

use crate::kafka::{ConsumerError, PointRead};
use crate::ledger::append::decoded_message::digest_of;
use crate::postgres::{PartitionLease, RewoundPartition, StoredPosition};
use onrecord_evidence::event::ids::Digest;

/// Why a topic was created again.
pub(super) const OTHER_MESSAGE: &str =
    "another message is at the offset of an appended one: the topic was created again";
const SHORTER_LOG: &str =
    "the log ends before messages that were appended or acknowledged: the topic was created again";

/// Where reading of a gained partition starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadingStart {
    /// At the position. With a digest one message earlier: it must be the one that was appended last.
    Position { from: i64, predecessor: Option<Digest> },
    /// Behind messages that the log no longer has.
    Gap { from: i64, reason: &'static str },
    /// At the beginning of another log.
    Recreated { reason: &'static str },
}

/// The known ends of a partition: of its log, and of a former topic of this name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KnownEnds {
    log: i64,
    former: i64,
}

impl KnownEnds {
    pub(super) fn of(position: &StoredPosition) -> Self {
        Self { log: position.log_end, former: position.former_end }
    }
}

/// Where reading of a partition starts, whose log has the offsets `low..high`.
pub(super) fn reading_start(
    lease: &PartitionLease,
    low: i64,
    high: i64,
    ends: KnownEnds,
) -> ReadingStart {
    let next = lease.next_offset;
    // A message that was appended last shows by itself whether it is in the log.
    let is_former_unread = lease.last_digest.is_none() && ends.former > next;
    if next.max(ends.log) > high || is_former_unread {
        return ReadingStart::Recreated { reason: SHORTER_LOG };
    }
    match lease.last_digest {
        Some(digest) if next > low => {
            ReadingStart::Position { from: next - 1, predecessor: Some(digest) }
        }
        _ if next >= low => ReadingStart::Position { from: next, predecessor: None },
        _ if next == 0 => {
            ReadingStart::Gap { from: low, reason: "the log begins after the first position" }
        }
        _ => ReadingStart::Gap { from: low, reason: "the log no longer has the position" },
    }
}

/// What the log of a partition tells, once the topic was found to be created again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogIdentity {
    /// The message that was appended last is there.
    Same,
    /// The log is shorter than what was appended or acknowledged, or has another message.
    Other,
    /// Nothing was appended, or the log no longer has it.
    Unknown,
}

impl LogIdentity {
    /// By the digest of the message before the position, if the log has that message.
    fn of(position: &StoredPosition, high: i64, found: Option<Digest>) -> Self {
        if position.next_offset.max(position.log_end) > high {
            return Self::Other;
        }
        match (position.last_digest, found) {
            (Some(appended), Some(found)) if appended == found => Self::Same,
            (Some(_), Some(_)) => Self::Other,
            _ => Self::Unknown,
        }
    }

    /// Whether the partition is read from its beginning. One that was rewound and did not move since would
    /// only get the same gap again.
    fn is_rewound(self, position: &StoredPosition) -> bool {
        match self {
            Self::Same => false,
            Self::Other => true,
            Self::Unknown => !position.is_reset,
        }
    }
}

/// The partition, if it is read from its beginning; `found` states that its log is another one. Without
/// `watermarks` it has no leader now: its own follower compares it later, unless there is nothing to compare.
pub(super) async fn rewound(
    position: &StoredPosition,
    watermarks: Option<(i64, i64)>,
    found: bool,
    point_read: &mut PointRead,
) -> Result<Option<RewoundPartition>, ConsumerError> {
    let identity = match (watermarks, position.last_digest) {
        _ if found => LogIdentity::Other,
        (None, Some(_)) => LogIdentity::Same,
        (None, None) => LogIdentity::Unknown,
        (Some((low, high)), digest) => {
            let before = position.next_offset - 1;
            let message = if digest.is_some() && (low..high).contains(&before) {
                point_read.at(position.partition, before).await?
            } else {
                None
            };
            LogIdentity::of(position, high, message.map(|wire| digest_of(wire.as_ref())))
        }
    };
    // Where the log begins later, the owner finds that when it starts to read.
    let resumed = watermarks.map_or(0, |(low, _)| low);
    Ok(identity.is_rewound(position).then_some(RewoundPartition {
        partition: position.partition,
        epoch: position.epoch,
        resumed,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(next_offset: i64, last: Option<&[u8]>, log_end: i64) -> StoredPosition {
        StoredPosition {
            partition: 0,
            epoch: 1,
            next_offset,
            last_digest: last.map(Digest::of),
            log_end,
            former_end: 0,
            is_reset: false,
        }
    }

    fn start(next_offset: i64, last: Option<&[u8]>, log: (i64, i64), log_end: i64) -> ReadingStart {
        let last_digest = last.map(Digest::of);
        let lease = PartitionLease { partition: 0, epoch: 1, next_offset, last_digest };
        reading_start(&lease, log.0, log.1, KnownEnds { log: log_end, former: 0 })
    }

    #[test]
    fn reading_starts_at_the_position_or_tells_why_it_cannot() {
        let at = |from, last: Option<&[u8]>| ReadingStart::Position {
            from,
            predecessor: last.map(Digest::of),
        };
        assert_eq!(start(0, None, (0, 0), 0), at(0, None));
        assert_eq!(start(5, Some(b"last"), (0, 5), 5), at(4, Some(b"last")));
        assert_eq!(start(5, None, (0, 9), 9), at(5, None));
        // Retention deleted the message before the position, which is no gap.
        assert_eq!(start(5, Some(b"last"), (5, 9), 9), at(5, None));
        for (next, low) in [(0, 3), (5, 7)] {
            assert!(
                matches!(start(next, None, (low, 9), 9), ReadingStart::Gap { from, .. } if from == low)
            );
        }
    }

    #[test]
    fn a_log_that_is_shorter_than_what_was_appended_or_acknowledged_is_another_one() {
        for (next, log_end) in [(5, 0), (0, 5), (3, 5)] {
            let recreated = ReadingStart::Recreated { reason: SHORTER_LOG };
            assert_eq!(start(next, Some(b"last"), (0, 4), log_end), recreated);
        }
        let lease =
            |last_digest| PartitionLease { partition: 0, epoch: 1, next_offset: 3, last_digest };
        let ends = KnownEnds { log: 9, former: 7 };
        let is_recreated = |lease: PartitionLease| {
            matches!(reading_start(&lease, 0, 9, ends), ReadingStart::Recreated { .. })
        };
        assert!(is_recreated(lease(None)));
        assert!(!is_recreated(lease(Some(Digest::of(b"last")))), "the message before it tells");
    }

    #[test]
    fn a_partition_is_rewound_unless_its_log_is_the_same_or_it_was_rewound_before() {
        let found = Some(Digest::of(b"found"));
        for (position, expected) in [
            (position(5, Some(b"found"), 9), LogIdentity::Same),
            (position(5, Some(b"appended"), 9), LogIdentity::Other),
            (position(12, Some(b"found"), 9), LogIdentity::Other),
            (position(0, None, 11), LogIdentity::Other),
            (position(0, None, 9), LogIdentity::Unknown),
        ] {
            assert_eq!(LogIdentity::of(&position, 10, found), expected, "{position:?}");
            assert_eq!(expected.is_rewound(&position), expected != LogIdentity::Same);
        }
        let reset = StoredPosition { is_reset: true, ..position(0, None, 9) };
        assert!(!LogIdentity::Unknown.is_rewound(&reset));
        assert!(LogIdentity::Other.is_rewound(&reset));
    }
}
