//! The owner of each attachment: the person of its first report.

use std::collections::{BTreeSet, HashMap};

use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::Anchor;

/// All attachments with their owners.
#[derive(Default)]
pub(crate) struct AttachmentOwners {
    by_attachment: HashMap<Anchor, AttachmentOwner>,
    by_person: HashMap<String, BTreeSet<Anchor>>,
}

struct AttachmentOwner {
    since: Millis,
    person: String,
    /// The anchors at which its reports are stored.
    anchors: BTreeSet<Anchor>,
}

impl AttachmentOwners {
    /// Records a report of `person` at `attachment`, observed at `at` (ms) and stored at `anchor`.
    pub(crate) fn claim(&mut self, attachment: &Anchor, at: Millis, person: &str, anchor: &Anchor) {
        match self.by_attachment.get_mut(attachment) {
            Some(owner) => {
                if !owner.anchors.contains(anchor) {
                    owner.anchors.insert(anchor.clone());
                }
                if (owner.since, owner.person.as_str()) <= (at, person) {
                    return;
                }
                owner.since = at;
                if owner.person == person {
                    return;
                }
                let before = std::mem::replace(&mut owner.person, person.to_owned());
                self.remove_from_person(&before, attachment);
            }
            None => {
                let owner = AttachmentOwner {
                    since: at,
                    person: person.to_owned(),
                    anchors: BTreeSet::from([anchor.clone()]),
                };
                self.by_attachment.insert(attachment.clone(), owner);
            }
        }
        self.by_person.entry(person.to_owned()).or_default().insert(attachment.clone());
    }

    /// The person of an attachment with the instant of its first report (ms), and the anchors at which its
    /// reports are stored.
    pub(crate) fn get(
        &self,
        attachment: &Anchor,
    ) -> Option<(&str, Millis, impl Iterator<Item = &Anchor>)> {
        let owner = self.by_attachment.get(attachment)?;
        Some((&owner.person, owner.since, owner.anchors.iter()))
    }

    pub(crate) fn forget(&mut self, attachment: &Anchor) {
        if let Some(owner) = self.by_attachment.remove(attachment) {
            self.remove_from_person(&owner.person, attachment);
        }
    }

    fn remove_from_person(&mut self, person: &str, attachment: &Anchor) {
        if let Some(attachments) = self.by_person.get_mut(person) {
            attachments.remove(attachment);
            if attachments.is_empty() {
                self.by_person.remove(person);
            }
        }
    }

    /// The owner; `None`: no report names the anchor, or it is no attachment.
    pub(crate) fn owner(&self, attachment: &Anchor) -> Option<&str> {
        self.by_attachment.get(attachment).map(|owner| owner.person.as_str())
    }

    /// When the first report of an attachment was observed, ms.
    pub(crate) fn since(&self, attachment: &Anchor) -> Option<Millis> {
        self.by_attachment.get(attachment).map(|owner| owner.since)
    }

    /// The anchors at which the reports of an attachment are stored.
    pub(crate) fn anchors(&self, attachment: &Anchor) -> impl Iterator<Item = &Anchor> {
        let owner = self.by_attachment.get(attachment);
        owner.into_iter().flat_map(|owner| &owner.anchors)
    }

    pub(crate) fn attachments(&self, person: &str) -> impl Iterator<Item = &Anchor> {
        self.by_person.get(person).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_belongs_to_the_person_of_the_earliest_report_in_any_order_of_arrival() {
        let attachment = Anchor::attachment("a");
        for order in [[(5, "anna"), (9, "ben")], [(9, "ben"), (5, "anna")]] {
            let mut owners = AttachmentOwners::default();
            for (t, person) in order {
                owners.claim(&attachment, t, person, &attachment);
            }
            assert_eq!(owners.owner(&attachment), Some("anna"));
            assert_eq!(owners.attachments("anna").count(), 1);
            assert_eq!(owners.attachments("ben").count(), 0);
            owners.forget(&attachment);
            assert_eq!(owners.owner(&attachment), None);
            assert_eq!(owners.attachments("anna").count(), 0);
        }
    }
}
