//! What proves the notices of a session: how its clients belong to the call.
//!
//! # Why
//!
//! *Beside the report.* The form of the report is that of the rules. The proof is a function of the same
//! facts, so an auditor computes it from the exported facts as well.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::evidence_report::Evidence;
use crate::fact::kinds::Witness;

/// The proof of each session with a report that counts: the best witness of its reports. As JSON it is
/// an object: `{session: witness}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionProofs(BTreeMap<String, Witness>);

impl SessionProofs {
    /// The proof of a session; `None` if no report of it counts.
    #[must_use]
    pub fn of(&self, session: &str) -> Option<Witness> {
        self.0.get(session).copied()
    }
}

impl Evidence<'_> {
    /// The proof of each session.
    #[must_use]
    pub fn proofs(&self) -> SessionProofs {
        let mut proofs: BTreeMap<String, Witness> = BTreeMap::new();
        for reporter in &self.reporters {
            let best = reporter.reports.iter().map(|counted| counted.report.witness).min();
            if let Some(best) = best {
                let proof = proofs.entry(reporter.session.to_owned()).or_insert(best);
                *proof = (*proof).min(best);
            }
        }
        SessionProofs(proofs)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::call::parameters::Parameters;
    use crate::event::calling_event::ObservedEvent;
    use crate::event::instant::Millis;
    use crate::fact::json::read_facts;
    use crate::identity::grant::Grant;
    use crate::session::resolution::{ResolvedSessions, resolve};
    use crate::tests::test_events::{joined, report, report_with, roster};

    const ANNA: &str = "8:acs:res_anna";
    const BEN: &str = "8:acs:res_ben";
    const NOW: Millis = 100_000;

    fn proofs(facts: &Value) -> SessionProofs {
        let facts = read_facts(facts.clone()).unwrap();
        Evidence::at(&facts, NOW, &Parameters::default()).unwrap().proofs()
    }

    #[test]
    fn the_proof_of_a_session_is_the_best_witness_of_the_reports_of_all_its_clients() {
        let report = |session: &str, reporter: &str, sequence: i64, witness: &str| {
            json!({
                "id": format!("{session} {reporter} {sequence}"), "kind": "report", "at": sequence,
                "session": session, "reporter": reporter, "sequence": sequence, "witness": witness,
            })
        };
        let later = report("a", "a1", NOW + 1, "platform");
        let facts = json!([
            {"id": "j", "kind": "session.joined", "at": 0, "session": "c", "identity": "acs"},
            report("a", "a1", 1, "outsider"), report("a", "a1", 2, "asserted"), report("a", "a2", 1, "granted"),
            report("b", "b1", 1, "outsider"), later,
        ]);
        let proofs = proofs(&facts);
        assert_eq!(proofs.of("a"), Some(Witness::Granted));
        assert_eq!(proofs.of("b"), Some(Witness::Outsider));
        assert_eq!(proofs.of("c"), None, "no client reports");
        let json = serde_json::to_value(&proofs).unwrap();
        assert_eq!(json, json!({ "a": "granted", "b": "outsider" }));
        assert_eq!(serde_json::from_value::<SessionProofs>(json).unwrap(), proofs);
    }

    fn trust(resolved: &ResolvedSessions) -> Vec<(String, Option<Witness>)> {
        let best = |clients: &[crate::session::resolution::AttachmentDescription]| {
            clients.iter().map(|client| client.trust).min()
        };
        let sessions = resolved.sessions.iter();
        sessions.map(|who| (who.session.clone(), best(&who.attachments))).collect()
    }

    #[test]
    fn the_proof_of_a_session_is_the_trust_of_its_best_client() {
        let granted = report_with("a2", ANNA, 1, 3_000, |report, ids| {
            ids.participant_id = Some("p1".to_owned());
            report.grant = Grant::new([], ["p1".to_owned()]);
        });
        let all = [
            joined("p1", ANNA, 1_000),
            report("a1", ANNA, 1, 2_000),
            granted,
            report("b1", BEN, 1, 2_000),
            roster("leg", Some(1), 4_000, &[BEN]),
        ];
        for arrived in 1..=all.len() {
            for first in 0..arrived {
                let events: Vec<ObservedEvent> = all[first..arrived].to_vec();
                let resolved = resolve(&events);
                let evidence = Evidence::at(&resolved.facts, NOW, &Parameters::default());
                let Ok(evidence) = evidence else { continue };
                let proofs = evidence.proofs();
                for (session, best) in trust(&resolved) {
                    assert_eq!(proofs.of(&session), best, "{session}");
                }
            }
        }
    }
}
