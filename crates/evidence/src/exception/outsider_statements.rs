//! What outsiders alone state in a call.
//!
//! # Why
//!
//! *An outsider opens no exception.* Any client with a token and a serverCallId may contradict itself, or use
//! one attachment in two calls. It would give the reviewers of each call work that is not about the call.
//! The flags of the call and of its entries show the contradiction all the same.

use std::collections::BTreeSet;

use crate::fact::kinds::{Fact, FactKind, Identity, Witness};
use crate::identity::alias_graph::Anchor;
use crate::report::evidence_report::EvidenceReport;
use crate::session::resolution::ResolvedSessions;

/// The keys and ids that outsiders alone state in a call.
#[derive(Debug, Default)]
pub struct OutsiderStatements {
    /// The ids of facts about the sessions of outsiders.
    facts: BTreeSet<String>,
    /// The anchors of attachments that no other client of the call has.
    attachments: BTreeSet<Anchor>,
}

impl OutsiderStatements {
    /// Those of a call by its sessions and its report.
    #[must_use]
    pub fn of(resolved: &ResolvedSessions, report: &EvidenceReport) -> Self {
        let sessions = report.sessions.iter();
        let outsiders: BTreeSet<&str> = sessions
            .filter(|session| session.identity == Identity::Outsider)
            .map(|session| session.id.as_str())
            .collect();
        if outsiders.is_empty() {
            return Self::default();
        }
        let facts = resolved.facts.iter();
        let of_outsiders =
            facts.filter(|fact| session_of(fact).is_some_and(|it| outsiders.contains(it)));
        let clients = || resolved.sessions.iter().flat_map(|who| &who.attachments);
        let belonging: BTreeSet<&str> = clients()
            .filter(|client| client.trust != Witness::Outsider)
            .map(|client| client.attachment.as_str())
            .collect();
        let attachments = clients().map(|client| client.attachment.as_str());
        Self {
            facts: of_outsiders.map(|fact| fact.id().to_owned()).collect(),
            attachments: attachments
                .filter(|attachment| !belonging.contains(attachment))
                .map(Anchor::attachment)
                .collect(),
        }
    }

    /// Whether the events with this key are of outsiders alone.
    #[must_use]
    pub fn has_key(&self, key: &str) -> bool {
        self.facts.contains(key)
    }

    /// Whether this id of the call is an attachment of outsiders alone.
    #[must_use]
    pub fn has_id(&self, id: &str) -> bool {
        self.attachments.contains(&Anchor::from_stored(id.to_owned()))
    }
}

/// The session that a statement of a client is about.
fn session_of(fact: &Fact) -> Option<&str> {
    match fact.kind() {
        FactKind::Report(report) => Some(&report.session),
        FactKind::Notice(notice) => Some(&notice.session),
        FactKind::Consent(consent) => Some(&consent.session),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::parameters::Parameters;
    use crate::event::calling_event::ObservedEvent;
    use crate::report::evidence_report::Evidence;
    use crate::session::resolution::resolve;
    use crate::tests::test_events::{joined, report};

    const ANNA: &str = "8:acs:res_anna";
    const MALLORY: &str = "8:acs:res_mallory";

    fn statements(events: &[ObservedEvent]) -> OutsiderStatements {
        let resolved = resolve(events);
        let evidence = Evidence::at(&resolved.facts, 9_000, &Parameters::default()).unwrap();
        OutsiderStatements::of(&resolved, &evidence.report)
    }

    #[test]
    fn an_outsiders_report_and_attachment_are_its_own_until_the_platform_names_it() {
        let hers = report("m1", MALLORY, 1, 2_000);
        let anna = report("a1", ANNA, 1, 2_000);
        let id = |attachment: &str| Anchor::attachment(attachment).to_string();
        let call = [joined("p1", ANNA, 1_000), anna.clone(), hers.clone()];
        let found = statements(&call);
        assert!(found.has_key(&hers.id.to_string()) && !found.has_key(&anna.id.to_string()));
        assert!(found.has_id(&id("m1")) && !found.has_id(&id("a1")));

        let named = [&call[..], &[joined("p9", MALLORY, 1_500)]].concat();
        let found = statements(&named);
        assert!(!found.has_key(&hers.id.to_string()) && !found.has_id(&id("m1")));
    }

    #[test]
    fn an_attachment_that_a_participant_has_too_is_not_an_outsiders() {
        let taken = report("a1", MALLORY, 1, 1_500);
        let call = [joined("p1", ANNA, 1_000), taken.clone(), report("a1", ANNA, 1, 2_000)];
        let found = statements(&call);
        assert!(found.has_key(&taken.id.to_string()));
        assert!(!found.has_id(Anchor::attachment("a1").as_str()));
    }
}
