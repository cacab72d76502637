//! What the account of a call calls for.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Called, ExceptionKind, facts};
use crate::domain::evidence::EvidenceReport;
use crate::domain::fact::CaptureType;
use crate::domain::flag::Flag;
use crate::domain::instant::Millis;
use crate::domain::obligation::{Obligation, Status};
use crate::domain::parameters::Parameters;

/// Everything that a report calls for.
#[must_use]
pub fn called_for_by(report: &EvidenceReport, parameters: &Parameters) -> Vec<Called> {
    let obligations = report.obligations.iter().filter_map(Called::untold);
    let unnoticed = report.flags.iter().filter_map(Called::unnoticed);
    let lapse = Called::lapse(report, parameters);
    obligations.chain(unnoticed).chain(lapse).collect()
}

/// How each obligation stands, by the subject of its exception and its due.
#[must_use]
pub fn statuses(report: &EvidenceReport) -> BTreeMap<(String, Millis), &'static str> {
    let obligations = report.obligations.iter();
    obligations
        .map(|one| ((subject(one), one.due), one.status.as_str()))
        .collect()
}

fn subject(obligation: &Obligation) -> String {
    format!("{} {}", obligation.capture.as_str(), obligation.session)
}

impl Called {
    /// Somebody who was not told, or late.
    fn untold(obligation: &Obligation) -> Option<Self> {
        let kind = match obligation.status {
            Status::Late => ExceptionKind::Late,
            Status::Unconfirmed => ExceptionKind::Unconfirmed,
            Status::Undelivered => ExceptionKind::Undelivered,
            Status::NotSent => ExceptionKind::NotSent,
            Status::NotOurs | Status::Met | Status::Brief | Status::Pending => return None,
        };
        let mut facts = facts(json!({
            "session": obligation.session, "type": obligation.capture.as_str(), "due": obligation.due,
        }));
        // What it is by the first proof; the lengths that grow with time are in the report.
        for (name, at) in [
            ("dispatched", obligation.dispatched),
            ("delivered", obligation.delivered),
            ("told", obligation.told),
        ] {
            facts.extend(at.map(|at| (name.to_owned(), json!(at))));
        }
        Some(Self {
            kind,
            subject: subject(obligation),
            at: Some(obligation.due),
            facts,
        })
    }

    fn unnoticed(flag: &Flag) -> Option<Self> {
        let Flag::UnnoticedCapture(stretch) = flag else {
            return None;
        };
        let (capture, start) = stretch.split_once('@')?;
        let start: Millis = start.parse().ok()?;
        Some(Self {
            kind: ExceptionKind::UnnoticedCapture,
            subject: capture.to_owned(),
            at: Some(start),
            facts: facts(json!({ "type": capture, "start": start })),
        })
    }

    /// A call that is over, and of which too much could have gone unseen.
    fn lapse(report: &EvidenceReport, parameters: &Parameters) -> Option<Self> {
        report.call.end?;
        let watched = [
            (CaptureType::Recording, report.observation.recording),
            (CaptureType::Transcription, report.observation.transcription),
        ];
        let types: Vec<&str> = watched
            .iter()
            .filter(|(_, watched)| !watched.is_enough(parameters.edge))
            .map(|(capture, _)| capture.as_str())
            .collect();
        (!types.is_empty()).then(|| Self {
            kind: ExceptionKind::ObservationLapse,
            subject: String::new(),
            at: None,
            facts: facts(json!({ "types": types })),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::domain::evidence::evidence;
    use crate::domain::fact_json::read_facts;

    fn called(facts: Value, now: Millis) -> Vec<(ExceptionKind, String, Option<Millis>)> {
        let facts = read_facts(facts).unwrap();
        let parameters = Parameters::default();
        let report = evidence(&facts, now, &parameters).unwrap();
        called_for_by(&report, &parameters)
            .into_iter()
            .map(|one| (one.kind, one.subject, one.at))
            .collect()
    }

    #[test]
    fn a_recording_that_only_its_file_tells_of_is_unnoticed_and_nobody_was_told() {
        let facts = json!([
            {"id": "s", "kind": "call.started", "t": 0},
            {"id": "j", "kind": "session.joined", "t": 0, "session": "a", "identity": "acs"},
            {"id": "f", "kind": "file", "t": 90_000, "recording": "r", "index": 0, "start": 10_000, "duration": 40_000},
            {"id": "e", "kind": "call.ended", "t": 60_000},
        ]);
        let expected = [
            (
                ExceptionKind::NotSent,
                "recording a".to_owned(),
                Some(10_000),
            ),
            (
                ExceptionKind::UnnoticedCapture,
                "recording".to_owned(),
                Some(10_000),
            ),
            (ExceptionKind::ObservationLapse, String::new(), None),
        ];
        assert_eq!(called(facts, 100_000), expected);
    }

    #[test]
    fn a_call_that_goes_on_and_of_which_nothing_is_known_yet_calls_for_nothing() {
        let facts = json!([
            {"id": "s", "kind": "call.started", "t": 0},
            {"id": "j", "kind": "session.joined", "t": 0, "session": "a", "identity": "acs"},
        ]);
        assert_eq!(called(facts, 600_000), []);
    }
}
