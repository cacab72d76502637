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
        Some(Self {
            xmin,
            xmax,
            in_progress,
            own,
        })
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
    use std::collections::BTreeSet;

    use super::*;
    use onrecord_evidence::call::call_facts::{CallFacts, StoredEntry};
    use onrecord_evidence::event::calling_event::{
        CallStarted, CallingEvent, ObservedEvent, Statement,
    };
    use onrecord_evidence::event::ids::{Digest, Ids};
    use onrecord_evidence::event::instant::Millis;

    fn line(xid: WriteId, t: Millis, past: &[(WriteId, Millis)]) -> StoredEntry<ObservedEvent> {
        let event = CallingEvent {
            statement: Statement::CallStarted(CallStarted {
                started_by: None,
                is_two_party: None,
                is_rooms_call: None,
                room_id: None,
            }),
            ids: Ids::default(),
            source_type: "test".to_owned(),
            generation: None,
            redacted: Vec::new(),
        };
        StoredEntry {
            anchor: "here".to_owned(),
            write: xid,
            previous_times: past.to_vec(),
            content: ObservedEvent::new(Digest::of(&xid.to_be_bytes()), t, event),
        }
    }

    fn instants(facts: &CallFacts, snapshot: &str, own: WriteId) -> Vec<Millis> {
        let snapshot = SnapshotRevision::parse(snapshot, own).unwrap();
        let mut instants: Vec<Millis> = facts
            .at_revision(&snapshot, &BTreeSet::from(["here"]))
            .instants()
            .collect();
        instants.sort_unstable();
        instants
    }

    #[test]
    fn a_version_includes_committed_facts_and_those_of_its_own_transaction() {
        let facts = CallFacts {
            events: [(5, 50), (7, 70), (8, 80), (9, 90), (12, 120)]
                .map(|(xid, t)| line(xid, t, &[]))
                .to_vec(),
            notices: Vec::new(),
        };
        // 7 and 9 were in progress, 9 is the own transaction; 12 had not begun.
        assert_eq!(instants(&facts, "7:10:7,9", 9), [50, 80, 90]);
        assert_eq!(instants(&facts, "13:13:", 13), [50, 70, 80, 90, 120]);
        let snapshot = SnapshotRevision::parse("13:13:", 13).unwrap();
        assert!(
            facts
                .at_revision(&snapshot, &BTreeSet::from(["elsewhere"]))
                .is_empty()
        );
    }

    #[test]
    fn a_version_uses_the_instant_from_before_an_earlier_copy_arrived() {
        let facts = CallFacts {
            events: vec![line(5, 10, &[(8, 30), (11, 20)])],
            notices: Vec::new(),
        };
        assert_eq!(instants(&facts, "6:6:", 6), [30]);
        assert_eq!(instants(&facts, "9:9:", 9), [20]);
        assert_eq!(instants(&facts, "12:12:", 12), [10]);
        // The transaction that wrote the copy could read it.
        assert_eq!(instants(&facts, "8:9:", 8), [20]);
    }

    #[test]
    fn a_text_that_is_no_snapshot_is_rejected() {
        for text in ["", "1", "1:2", "a:2:", "1:2:x"] {
            assert_eq!(SnapshotRevision::parse(text, 1), None, "{text}");
        }
    }
}
