//! Whom each attachment belongs to.

use std::collections::{BTreeSet, HashMap};

use crate::domain::alias::Anchor;
use crate::domain::instant::Millis;

/// Every attachment with the person of its first report.
#[derive(Default)]
pub(super) struct Owners {
    by_attachment: HashMap<Anchor, Owner>,
    by_person: HashMap<String, BTreeSet<Anchor>>,
}

struct Owner {
    since: Millis,
    person: String,
    /// Where its reports lie.
    anchors: BTreeSet<Anchor>,
}

impl Owners {
    /// A report of this person at this attachment, at `t` (ms); it lies at `anchor`.
    pub fn claim(&mut self, attachment: &Anchor, t: Millis, person: &str, anchor: &Anchor) {
        if let Some(owner) = self.by_attachment.get_mut(attachment)
            && !owner.anchors.contains(anchor)
        {
            owner.anchors.insert(anchor.clone());
        }
        match self.by_attachment.get_mut(attachment) {
            Some(owner) if (owner.since, owner.person.as_str()) <= (t, person) => return,
            Some(owner) => {
                owner.since = t;
                if owner.person == person {
                    return;
                }
                let before = std::mem::replace(&mut owner.person, person.to_owned());
                self.leave(&before, attachment);
            }
            None => {
                let owner = Owner {
                    since: t,
                    person: person.to_owned(),
                    anchors: BTreeSet::from([anchor.clone()]),
                };
                self.by_attachment.insert(attachment.clone(), owner);
            }
        }
        self.by_person
            .entry(person.to_owned())
            .or_default()
            .insert(attachment.clone());
    }

    pub fn forget(&mut self, attachment: &Anchor) {
        if let Some(owner) = self.by_attachment.remove(attachment) {
            self.leave(&owner.person, attachment);
        }
    }

    fn leave(&mut self, person: &str, attachment: &Anchor) {
        if let Some(attachments) = self.by_person.get_mut(person) {
            attachments.remove(attachment);
            if attachments.is_empty() {
                self.by_person.remove(person);
            }
        }
    }

    /// `None`: no report named it, or it is no attachment.
    pub fn person(&self, attachment: &Anchor) -> Option<&str> {
        self.by_attachment
            .get(attachment)
            .map(|owner| owner.person.as_str())
    }

    /// Where the reports of an attachment lie.
    pub fn anchors(&self, attachment: &Anchor) -> impl Iterator<Item = &Anchor> {
        let owner = self.by_attachment.get(attachment);
        owner.into_iter().flat_map(|owner| &owner.anchors)
    }

    pub fn attachments(&self, person: &str) -> impl Iterator<Item = &Anchor> {
        self.by_person.get(person).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_belongs_to_whoever_reported_first_whatever_came_first() {
        let attachment = Anchor::attachment("a");
        for order in [[(5, "anna"), (9, "ben")], [(9, "ben"), (5, "anna")]] {
            let mut owners = Owners::default();
            for (t, person) in order {
                owners.claim(&attachment, t, person, &attachment);
            }
            assert_eq!(owners.person(&attachment), Some("anna"));
            assert_eq!(owners.attachments("anna").count(), 1);
            assert_eq!(owners.attachments("ben").count(), 0);
            owners.forget(&attachment);
            assert_eq!(owners.person(&attachment), None);
            assert_eq!(owners.attachments("anna").count(), 0);
        }
    }
}
