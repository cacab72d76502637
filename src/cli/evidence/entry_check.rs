//! Compares the facts of a call with the entries of the audit trail: each fact has an entry with its key and
//! content, and each entry the original that its hashes say.
//!
//! # Why
//!
//! A report that equals the one that its facts give proves the arithmetic only. The facts could have been
//! changed, or have no event. The hash of the bytes as received can be compared where the original is these
//! bytes; of a redacted event, or one that was decoded, the hash of the content is what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;

use crate::ingest::content_of_original;
use crate::postgres::{EntryOriginal, FactWithEntry, StoreError, StoredNoticeFact, TenantSnapshot};
use onrecord_evidence::event::calling_event::event_key;
use onrecord_evidence::event::ids::{Digest, Tenant};
use onrecord_json::JsonIndex;

/// Number of hexadecimal digits of the key with which the id of a fact begins.
const KEY_DIGITS: usize = 64;

/// What a fact has in the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// An entry, and the hash of the bytes as received is that of its original.
    Hashed,
    /// An entry whose original is not the bytes as received.
    ContentOnly,
    /// Entries of its key, none of which is its origin, and why.
    Differs(String),
    /// No entry.
    Missing,
}

/// The result for the facts of some calls.
#[derive(Default)]
pub(super) struct EntryCheck {
    /// By key and digest of the content.
    facts: BTreeMap<(Vec<u8>, Vec<u8>), Origin>,
    /// By id: whether the digest of the content is that of the statement.
    notices: BTreeMap<Vec<u8>, bool>,
}

impl EntryCheck {
    /// Compares the facts at these anchors.
    pub(super) async fn of(
        snapshot: &mut TenantSnapshot,
        tenant: &Tenant,
        anchors: &[String],
    ) -> Result<Self, StoreError> {
        let mut check = Self::default();
        snapshot.check_facts(anchors, |fact| check.add(tenant, fact)).await?;
        snapshot.check_notice_facts(anchors, |notice| check.add_notice(&notice)).await?;
        Ok(check)
    }

    fn add(&mut self, tenant: &Tenant, fact: FactWithEntry) {
        let origin = origin(tenant, &fact);
        let known = self.facts.entry((fact.key, fact.content_digest)).or_insert(Origin::Missing);
        if origin < *known {
            *known = origin;
        }
    }

    fn add_notice(&mut self, notice: &StoredNoticeFact) {
        let is_same = notice.fact.content().as_bytes() == notice.content_digest.as_slice()
            && notice.fact.id.as_bytes() == notice.fact_id.as_slice();
        // Of several contents of one id each must be what its digest says.
        let known = self.notices.entry(notice.fact_id.clone()).or_insert(true);
        *known &= is_same;
    }

    /// What is wrong with the stored facts, and with these `facts` (by their ids): each must be among the
    /// stored ones.
    pub(super) fn wrong<'f>(&self, facts: impl IntoIterator<Item = &'f str>) -> Vec<String> {
        let mut wrong = Vec::new();
        for ((key, _), origin) in &self.facts {
            match origin {
                Origin::Hashed | Origin::ContentOnly => {}
                Origin::Differs(reason) => {
                    wrong.push(format!("the fact {}: {reason}", digits(key)))
                }
                Origin::Missing => {
                    wrong.push(format!("the fact {}: no entry has its event", digits(key)));
                }
            }
        }
        for (id, is_same) in &self.notices {
            if !is_same {
                let id = digits(id);
                wrong.push(format!(
                    "the notice fact {id}: its content is another than was appended"
                ));
            }
        }
        let keys = self.facts.keys().map(|(key, _)| key).chain(self.notices.keys());
        let stored: BTreeSet<String> = keys.map(|key| digits(key)).collect();
        for id in facts {
            if !id.get(..KEY_DIGITS).is_some_and(|key| stored.contains(key)) {
                wrong.push(format!("the fact {id}: the database has no such fact of the call"));
            }
        }
        wrong
    }

    pub(super) fn counts(&self) -> EntryCounts {
        let count = |wanted: &Origin| self.facts.values().filter(|it| *it == wanted).count();
        EntryCounts {
            hashed: count(&Origin::Hashed),
            content_only: count(&Origin::ContentOnly),
            notices: self.notices.values().filter(|is_same| **is_same).count(),
        }
    }
}

/// How many facts have their origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EntryCounts {
    /// The original has the hash of the bytes as received.
    hashed: usize,
    /// The hash of the bytes as received could not be checked.
    content_only: usize,
    /// Statements about notices, which have no entries.
    notices: usize,
}

impl EntryCounts {
    pub(super) fn add(&mut self, other: Self) {
        self.hashed += other.hashed;
        self.content_only += other.content_only;
        self.notices += other.notices;
    }
}

impl fmt::Display for EntryCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hashed, content_only, notices } = self;
        write!(
            f,
            "entries: {} facts of events have an entry with their key and content; the hash of the bytes as received is that of the original of {hashed}, and could not be checked of {content_only}, which were redacted or decoded, or had more around them; {notices} statements about notices have their content",
            hashed + content_only
        )
    }
}

/// Writes how many facts have their origin, and what is wrong. Returns whether nothing is.
pub(super) fn write_entries(
    counts: EntryCounts,
    wrong: &[String],
    out: &mut impl Write,
) -> std::io::Result<bool> {
    writeln!(out, "{counts}")?;
    for sentence in wrong {
        writeln!(out, "  {sentence}")?;
    }
    Ok(wrong.is_empty())
}

fn digits(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What an entry says about a fact with its key.
fn origin(tenant: &Tenant, fact: &FactWithEntry) -> Origin {
    let Some(entry) = &fact.entry else {
        return Origin::Missing;
    };
    let EntryOriginal { id, ce_source, source_type, ce_id, .. } = entry;
    let differs = |what: &str| Origin::Differs(format!("the entry {id} has {what}"));
    let key = event_key(tenant.as_str(), ce_source, source_type, ce_id);
    if key.as_bytes() != fact.key.as_slice() {
        return differs("another key than its source, type and id give");
    }
    let Ok(original) = str::from_utf8(&entry.original) else {
        return differs("an original that is not text");
    };
    let is_of_azure = matches!(&*entry.provenance, "eg" | "ca");
    let content = if is_of_azure {
        content_of_original(original).map(|content| content.as_bytes().to_vec())
    } else {
        // The content of a report is its bytes.
        Some(entry.sha256.clone())
    };
    if content.as_ref() != Some(&fact.content_digest) {
        return differs("an original with another content than was appended");
    }
    if serde_json::from_str(&fact.event).ok().as_ref() != Some(&entry.entry_event) {
        return differs("another event than the rules read");
    }
    let redacted = entry.entry_event.get("redacted").and_then(|list| list.as_array());
    if is_hash_of(&entry.sha256, original) {
        Origin::Hashed
    } else if is_of_azure || redacted.is_some_and(|list| !list.is_empty()) {
        Origin::ContentOnly
    } else {
        differs("an original that is not the bytes as received")
    }
}

/// Whether the hash is that of the original, or of its data: in binary mode the body is the data.
fn is_hash_of(sha256: &[u8], original: &str) -> bool {
    let is = |text: &str| Digest::of(text.as_bytes()).as_bytes() == sha256;
    let data_is =
        |index: JsonIndex<'_>| index.root().member("data").is_some_and(|(_, data)| is(data.raw()));
    is(original) || JsonIndex::parse(original).is_ok_and(data_is)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    fn tenant() -> Tenant {
        Tenant::parse("t").unwrap()
    }

    /// A report whose original is what was received.
    fn reported() -> FactWithEntry {
        let original = r#"{"report_id":"1"}"#;
        let sha256 = Digest::of(original.as_bytes()).as_bytes().to_vec();
        let event = json!({"type": "report"});
        FactWithEntry {
            key: event_key("t", "s", "r", "1").as_bytes().to_vec(),
            content_digest: sha256.clone(),
            event: event.to_string(),
            entry: Some(EntryOriginal {
                id: Uuid::nil(),
                provenance: "client".to_owned(),
                source_type: "r".to_owned(),
                ce_source: "s".to_owned(),
                ce_id: "1".to_owned(),
                sha256,
                original: original.as_bytes().to_vec(),
                entry_event: event,
            }),
        }
    }

    fn checked(change: impl Fn(&mut FactWithEntry, &mut EntryOriginal)) -> Origin {
        let mut fact = reported();
        let mut entry = fact.entry.take().unwrap();
        change(&mut fact, &mut entry);
        fact.entry = Some(entry);
        origin(&tenant(), &fact)
    }

    #[test]
    fn an_entry_is_the_origin_of_a_fact_by_key_content_event_and_hash() {
        assert_eq!(checked(|_, _| {}), Origin::Hashed);
        for (what, changed) in [
            ("another key", checked(|_, entry| entry.ce_id = "2".to_owned())),
            ("another content", checked(|fact, _| fact.content_digest[0] ^= 1)),
            ("another content", checked(|_, entry| entry.sha256[0] ^= 1)),
            ("another event", checked(|_, entry| entry.entry_event = Value::Null)),
            ("not the bytes as received", checked(|_, entry| entry.original.push(b' '))),
            ("not text", checked(|_, entry| entry.original.push(0xff))),
        ] {
            let Origin::Differs(reason) = &changed else { panic!("{what}: {changed:?}") };
            assert!(reason.contains(what), "{what}: {reason}");
        }
        assert_eq!(
            origin(&tenant(), &FactWithEntry { entry: None, ..reported() }),
            Origin::Missing
        );
    }

    #[test]
    fn the_hash_of_a_redacted_original_is_not_checked_and_this_is_said() {
        let redacted = checked(|fact, entry| {
            entry.original = br#"{"report_id":null}"#.to_vec();
            entry.entry_event = json!({"redacted": ["/report_id"]});
            fact.event = entry.entry_event.to_string();
        });
        assert_eq!(redacted, Origin::ContentOnly);
        let mut check = EntryCheck::default();
        check.facts.insert((vec![1; 32], Vec::new()), redacted);
        let id = format!("{}:report:s", digits(&[1; 32]));
        assert!(check.wrong([&*id]).is_empty());
        assert!(check.counts().to_string().contains("could not be checked of 1"));
        let wrong = check.wrong(["f1"]);
        assert!(wrong[0].contains("the fact f1: the database has no such fact"), "{wrong:?}");
    }

    #[test]
    fn of_several_entries_with_one_key_the_one_with_the_content_is_the_origin() {
        let mut check = EntryCheck::default();
        let mut other = reported();
        if let Some(entry) = &mut other.entry {
            entry.original.push(b' ');
        }
        check.add(&tenant(), other);
        check.add(&tenant(), reported());
        assert_eq!(check.facts.values().collect::<Vec<_>>(), [&Origin::Hashed]);
    }
}
