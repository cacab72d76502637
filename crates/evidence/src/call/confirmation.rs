//! Which indications rest on asserted clients alone.
//!
//! # Why
//!
//! In a call in which the platform names nobody, the service believes a client about the level, because
//! a missed notice weighs more than a false one. A reader of the level must be able to tell. So the
//! indications are computed once more without the levels of asserted reports; a state that is then
//! another one rests on these reports alone. An unknown state claims nothing, so it counts as confirmed.

use std::collections::BTreeSet;

use crate::fact::fact_set::FactSet;
use crate::fact::kinds::{CaptureType, Fact, FactKind, ReportFact, Witness};
use crate::notice::indication::{IndicationState, Indications};

/// The facts without the levels of asserted reports, if a state of the indications may rest on them.
pub(super) enum Unasserted {
    /// No state rests on them.
    Same,
    /// No other source states a level, so nothing would be known.
    Nothing,
    /// The facts to evaluate, sorted by id.
    Facts(Vec<Fact>),
}

impl Unasserted {
    /// Of the facts from which the indications were computed.
    pub(super) fn of(facts: &FactSet<'_>, indications: Indications) -> Self {
        let mut asserted = false;
        let mut others = false;
        for fact in facts.iter() {
            match fact.kind() {
                FactKind::Report(report) if states_level(report) => {
                    asserted |= report.witness == Witness::Asserted;
                    others |= report.witness != Witness::Asserted;
                }
                FactKind::ProviderState(_) | FactKind::File(_) | FactKind::LegConnected { .. } => {
                    others = true;
                }
                _ => {}
            }
        }
        let is_known = indications.observed().next().is_some();
        if !asserted || !is_known {
            return Self::Same;
        }
        if !others {
            return Self::Nothing;
        }
        Self::Facts(facts.iter().map(without_asserted_level).collect())
    }
}

/// The types whose state is another one without the levels of asserted reports.
pub(super) fn unconfirmed(
    stated: Indications,
    without_asserted: Indications,
) -> BTreeSet<CaptureType> {
    CaptureType::ALL
        .into_iter()
        .filter(|&capture_type| {
            let state = stated.of(capture_type).state;
            state != IndicationState::Unknown && state != without_asserted.of(capture_type).state
        })
        .collect()
}

fn states_level(report: &ReportFact) -> bool {
    CaptureType::ALL.into_iter().any(|capture_type| report.level(capture_type).is_some())
}

fn without_asserted_level(fact: &Fact) -> Fact {
    match fact.kind() {
        FactKind::Report(report) if report.witness == Witness::Asserted => {
            let report = ReportFact { recording: None, transcription: None, ..report.clone() };
            Fact::new(fact.id(), fact.at(), FactKind::Report(report))
        }
        kind => Fact::new(fact.id(), fact.at(), kind.clone()).received(fact.received_at()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::call::parameters::Parameters;
    use crate::call::snapshot::call_snapshot;
    use crate::event::instant::Millis;
    use crate::fact::json::read_facts;

    /// The unconfirmed types at an instant.
    fn unconfirmed_at(facts: Value, now: Millis) -> Vec<CaptureType> {
        let facts = read_facts(facts).unwrap();
        let snapshot = call_snapshot(&facts, now, &Parameters::default());
        snapshot.unconfirmed.into_iter().collect()
    }

    fn report(reporter: &str, at: Millis, level: &str, witness: &str) -> Value {
        json!({
            "id": format!("{reporter}{at}"), "kind": "report", "at": at, "session": reporter,
            "reporter": reporter, "sequence": at, "recording": level, "witness": witness,
        })
    }

    fn active(at: Millis) -> Value {
        json!({
            "id": format!("p{at}"), "kind": "provider.state", "at": at, "type": "recording",
            "recording": "r1", "state": "active",
        })
    }

    const RECORDING: [CaptureType; 1] = [CaptureType::Recording];

    #[test]
    fn a_state_that_asserted_clients_alone_state_is_unconfirmed() {
        for level in ["on", "paused", "off"] {
            let asserted = report("a", 10, level, "asserted");
            assert_eq!(unconfirmed_at(json!([asserted]), 20), RECORDING, "{level}");
            let granted = report("b", 11, level, "granted");
            assert_eq!(unconfirmed_at(json!([asserted, granted]), 20), [], "{level}");
        }
        assert_eq!(unconfirmed_at(json!([report("a", 10, "on", "platform")]), 20), []);
        assert_eq!(unconfirmed_at(json!([report("a", 10, "on", "outsider")]), 20), []);
    }

    #[test]
    fn a_state_that_the_provider_states_too_is_confirmed() {
        let asserted = report("a", 10, "off", "asserted");
        assert_eq!(unconfirmed_at(json!([asserted, active(5)]), 20), []);
        let contradicted =
            json!([report("a", 10, "on", "asserted"), report("b", 11, "off", "granted")]);
        assert_eq!(unconfirmed_at(contradicted, 20), RECORDING);
        let leg = json!({"id": "l", "kind": "leg.connected", "at": 1, "leg": "leg"});
        assert_eq!(unconfirmed_at(json!([asserted, leg]), 20), []);
    }

    #[test]
    fn a_state_may_become_unconfirmed_by_time_alone() {
        // The granted client is no longer live, and the asserted one contradicts its "on"; without the
        // asserted one the "on" is stale.
        let facts =
            json!([report("b", 10, "on", "granted"), report("a", 80_000, "off", "asserted")]);
        assert_eq!(unconfirmed_at(facts.clone(), 90_009), []);
        assert_eq!(unconfirmed_at(facts.clone(), 90_010), RECORDING);
        let facts = read_facts(facts).unwrap();
        let snapshot = call_snapshot(&facts, 90_009, &Parameters::default());
        assert_eq!(snapshot.next_change, Some(90_010));
    }
}
