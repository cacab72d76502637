//! [`Revision`] for PostgreSQL: which rows were visible in a snapshot of transactions.

use std::collections::BTreeSet;

use onrecord_evidence::call::call_facts::{Revision, WriteId};

/// The transactions whose rows a statement could read: those in its `pg_snapshot`, and its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotRevision {
    /// All transactions before this one had ended.
    xmin: WriteId,
    /// No transaction from this one on had begun.
    xmax: WriteId,
    in_progress: BTreeSet<WriteId>,
    own: WriteId,
}

impl SnapshotRevision {
    /// Parses `xmin:xmax:xip,…`; `None` for any other text.
    #[must_use]
    pub(crate) fn parse(snapshot: &str, own: WriteId) -> Option<Self> {
        let mut parts = snapshot.splitn(3, ':');
        let xmin = parts.next()?.parse().ok()?;
        let xmax = parts.next()?.parse().ok()?;
        let in_progress = parts
            .next()?
            .split(',')
            .filter(|xid| !xid.is_empty())
            .map(|xid| xid.parse().ok())
            .collect::<Option<_>>()?;
        Some(Self { xmin, xmax, in_progress, own })
    }
}

impl Revision for SnapshotRevision {
    fn includes(&self, write: WriteId) -> bool {
        write == self.own
            || write < self.xmin
            || (write < self.xmax && !self.in_progress.contains(&write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn included(snapshot: &str, own: WriteId, writes: &[WriteId]) -> Vec<WriteId> {
        let snapshot = SnapshotRevision::parse(snapshot, own).unwrap();
        writes.iter().copied().filter(|write| snapshot.includes(*write)).collect()
    }

    #[test]
    fn a_version_includes_committed_writes_and_those_of_its_own_transaction() {
        let writes = [5, 7, 8, 9, 12];
        // 7 and 9 were in progress, 9 is the own transaction; 12 had not begun.
        assert_eq!(included("7:10:7,9", 9, &writes), [5, 8, 9]);
        assert_eq!(included("13:13:", 13, &writes), writes);
        assert_eq!(included("6:6:", 6, &writes), [5]);
        // A transaction includes its own write, whatever its snapshot states.
        assert_eq!(included("8:9:", 8, &writes), [5, 7, 8]);
    }

    #[test]
    fn a_text_that_is_no_snapshot_is_rejected() {
        for text in ["", "1", "1:2", "a:2:", "1:2:x"] {
            assert_eq!(SnapshotRevision::parse(text, 1), None, "{text}");
        }
    }
}
