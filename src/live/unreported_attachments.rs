//! The attachments of acknowledgements that no report names yet.
//!
//! # Why
//!
//! An acknowledgement may be earlier than the report of its attachment: it reaches another node, or a
//! node that has not read the log yet. It must not be lost, so the attachment is admitted. In the
//! ledger it is a call by itself until a report links it, so the number of such attachments is limited
//! like that of reports.

use std::collections::{HashMap, HashSet};

use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::Anchor;

/// Retention of an attachment that no report names, ms: as long as a call that ended.
const RETENTION: Millis = 24 * 60 * 60 * 1000;

/// All such attachments, each with its person and when it was acknowledged first.
#[derive(Default)]
pub(crate) struct UnreportedAttachments {
    first: HashMap<Anchor, (Millis, String)>,
    by_person: HashMap<String, HashSet<Anchor>>,
}

impl UnreportedAttachments {
    /// Records an acknowledgement of `person` at `attachment`, received at `at` (ms).
    pub(crate) fn add(&mut self, attachment: Anchor, person: &str, at: Millis) {
        if !self.is_of(&attachment, person) {
            self.remove(&attachment);
            self.by_person.entry(person.to_owned()).or_default().insert(attachment.clone());
            self.first.insert(attachment, (at, person.to_owned()));
        }
    }

    /// A report names the attachment.
    pub(crate) fn remove(&mut self, attachment: &Anchor) {
        let Some((_, person)) = self.first.remove(attachment) else {
            return;
        };
        if let Some(attachments) = self.by_person.get_mut(&person) {
            attachments.remove(attachment);
            if attachments.is_empty() {
                self.by_person.remove(&person);
            }
        }
    }

    /// Removes those that were acknowledged first longer ago than [`RETENTION`].
    pub(crate) fn expire(&mut self, now: Millis) {
        let expired = self.first.iter().filter(|(_, (at, _))| now - at > RETENTION);
        let expired: Vec<Anchor> = expired.map(|(attachment, _)| attachment.clone()).collect();
        for attachment in expired {
            self.remove(&attachment);
        }
    }

    /// Whether the person acknowledged at the attachment.
    pub(crate) fn is_of(&self, attachment: &Anchor, person: &str) -> bool {
        self.by_person.get(person).is_some_and(|attachments| attachments.contains(attachment))
    }

    /// How many attachments of the person there are.
    pub(crate) fn count(&self, person: &str) -> usize {
        self.by_person.get(person).map_or(0, HashSet::len)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_counts_once_until_a_report_names_it_or_a_day_has_passed() {
        let [a, b] = ["a", "b"].map(Anchor::attachment);
        let mut unreported = UnreportedAttachments::default();
        unreported.add(a.clone(), "anna", 0);
        unreported.add(a.clone(), "anna", RETENTION);
        unreported.add(b.clone(), "anna", 1);
        assert_eq!((unreported.count("anna"), unreported.count("ben")), (2, 0));
        unreported.remove(&a);
        assert!(!unreported.is_of(&a, "anna") && unreported.is_of(&b, "anna"));
        unreported.expire(RETENTION + 1);
        assert_eq!(unreported.count("anna"), 1);
        unreported.expire(RETENTION + 2);
        assert!(unreported.is_empty() && unreported.by_person.is_empty());
    }

    #[test]
    fn the_person_of_the_last_acknowledgement_counts() {
        let a = Anchor::attachment("a");
        let mut unreported = UnreportedAttachments::default();
        unreported.add(a.clone(), "anna", 0);
        unreported.add(a, "ben", 0);
        assert_eq!((unreported.count("anna"), unreported.count("ben")), (0, 1));
    }
}
