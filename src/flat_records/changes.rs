//! Which records of a call are another one than those that were published, and which exist no longer.

use std::collections::BTreeMap;

use super::record::FlatRecord;
use crate::postgres::PublishedRecords;

/// What is to be published of one call.
#[derive(Debug, Default, PartialEq)]
pub(super) struct FlatRecordChanges {
    /// By key.
    pub changed: BTreeMap<String, FlatRecord>,
    /// The keys of records that exist no longer.
    pub gone: Vec<String>,
}

/// Compares the records that a call has now with those that were published under its id.
pub(super) fn changes(
    current: BTreeMap<String, FlatRecord>,
    published: &PublishedRecords,
) -> FlatRecordChanges {
    let gone = published.keys().filter(|key| !current.contains_key(*key)).cloned().collect();
    let is_changed = |key: &String, record: &FlatRecord| {
        // Without a digest it is not known which record the topic has.
        published.get(key).is_none_or(|digest| digest.as_ref() != Some(&record.digest))
    };
    let changed = current.into_iter().filter(|(key, record)| is_changed(key, record)).collect();
    FlatRecordChanges { changed, gone }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::FlatView;
    use onrecord_evidence::event::ids::Digest;

    fn record(value: &str) -> FlatRecord {
        let value = value.to_owned();
        FlatRecord { view: FlatView::Calls, digest: Digest::of(value.as_bytes()), value }
    }

    #[test]
    fn only_what_changed_is_published_and_what_is_gone_gets_a_tombstone() {
        let of = |value: &str| Some(Digest::of(value.as_bytes()));
        let published: PublishedRecords = [
            ("same".to_owned(), of("1")),
            ("other".to_owned(), of("1")),
            ("interrupted".to_owned(), None),
            ("gone".to_owned(), of("1")),
        ]
        .into();
        let current = ["same", "interrupted", "new"].map(|key| (key.to_owned(), record("1")));
        let current = current.into_iter().chain([("other".to_owned(), record("2"))]).collect();
        let found = changes(current, &published);
        assert_eq!(found.changed.keys().collect::<Vec<_>>(), ["interrupted", "new", "other"]);
        assert_eq!(found.gone, ["gone"]);
    }
}
