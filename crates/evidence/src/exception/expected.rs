//! The exceptions that are expected now.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::ExceptionKind;
use crate::call::parameters::Parameters;
use crate::event::instant::{self, Millis};
use crate::fact::kinds::{CaptureType, JsonWord as _};
use crate::notice::consent::Consent;
use crate::report::disagreement::Disagreement;
use crate::report::evidence_report::EvidenceReport;
use crate::report::flag::Flag;
use crate::report::obligation::{Obligation, ObligationStatus};

/// An exception that should exist now.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedException {
    /// Its kind.
    pub kind: ExceptionKind,
    /// Distinguishes it from others of its kind in the same call, or in the same tenant.
    pub subject: String,
    /// When its cause began (Unix milliseconds), where one subject may have several.
    pub at: Option<Millis>,
    /// The facts of its sentence, without values that change with time alone: different facts are
    /// a change. Instants are in RFC 3339.
    pub facts: Map<String, Value>,
}

impl ExpectedException {
    fn new(kind: ExceptionKind, at: Option<Millis>, facts: Value) -> Self {
        let facts = members(facts);
        Self { kind, subject: kind.subject(&facts), at, facts }
    }

    /// What happened, in a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        self.kind.sentence(&self.facts)
    }

    /// The source that it concerns.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        self.facts.get("source")?.as_str()
    }

    /// Events with different contents have one key.
    #[must_use]
    pub fn conflicting_content(key: &str) -> Self {
        let kind = ExceptionKind::ConflictingContent;
        Self::new(kind, None, json!({ "key": key }))
    }

    /// One id appears in several calls.
    #[must_use]
    pub fn conflicting_identity(id: &str, calls: &[String]) -> Self {
        let kind = ExceptionKind::ConflictingIdentity;
        Self::new(kind, None, json!({ "id": id, "calls": calls }))
    }

    /// Clients disagreed.
    #[must_use]
    pub fn disagreeing_reporters(disagreement: &Disagreement) -> Self {
        let Disagreement { capture_type, from, stated, .. } = disagreement;
        let facts =
            json!({"type": capture_type, "started_at": instant::text(*from), "reporters": stated});
        Self::new(ExceptionKind::DisagreeingReporters, Some(*from), facts)
    }

    /// No event of a source has arrived since `last`.
    #[must_use]
    pub fn silent_source(source: &str, last: DateTime<Utc>) -> Self {
        let facts = json!({ "source": source, "last_at": instant::text(last.timestamp_millis()) });
        Self::new(ExceptionKind::SilentSource, None, facts)
    }

    /// Deliveries of a source are refused for this reason and none is accepted, since `began`.
    #[must_use]
    pub fn rejected_credentials(source: &str, reason: &str, began: DateTime<Utc>) -> Self {
        let started_at = instant::text(began.timestamp_millis());
        let facts = json!({ "source": source, "reason": reason, "started_at": started_at });
        Self::new(ExceptionKind::RejectedCredentials, None, facts)
    }

    /// The notice of an obligation is missing or late.
    fn unmet(obligation: &Obligation) -> Option<Self> {
        let kind = match obligation.status {
            ObligationStatus::Late => ExceptionKind::Late,
            ObligationStatus::Unconfirmed => ExceptionKind::Unconfirmed,
            ObligationStatus::Undelivered => ExceptionKind::Undelivered,
            ObligationStatus::NotSent => ExceptionKind::NotSent,
            ObligationStatus::NotOurs
            | ObligationStatus::Met
            | ObligationStatus::Brief
            | ObligationStatus::Pending => return None,
        };
        let mut facts = facts_of(obligation);
        // The first fact of each step; the lengths that grow with time are in the report.
        for (name, at) in [
            ("dispatched_at", obligation.dispatched_at),
            ("delivered_at", obligation.delivered_at),
            ("shown_at", obligation.shown_at),
        ] {
            if let Some(at) = at {
                facts[name] = json!(instant::text(at));
            }
        }
        Some(Self::new(kind, Some(obligation.due_at), facts))
    }

    /// A capture was known only from its file, and no participant of ours was notified.
    fn unnoticed_capture(flag: &Flag) -> Option<Self> {
        let Flag::UnnoticedCapture(capture) = flag else {
            return None;
        };
        let (capture_type, start) = capture.split_once('@')?;
        let start: Millis = start.parse().ok()?;
        let facts = json!({ "type": capture_type, "started_at": instant::text(start) });
        Some(Self::new(ExceptionKind::UnnoticedCapture, Some(start), facts))
    }

    /// A captured participant of ours declined; or, when the call is over, was to be asked and did
    /// not answer. Consent is per session and type, so its captures have one exception together;
    /// their first due time is its fact.
    fn consents(report: &EvidenceReport) -> Vec<Self> {
        let call_is_over = report.call.ended_at.is_some();
        let ours = report.obligations.iter().filter(|it| it.status != ObligationStatus::NotOurs);
        let expected = ours.filter_map(|obligation| {
            let kind = match obligation.consent {
                Consent::Declined => ExceptionKind::ConsentDeclined,
                Consent::Required if call_is_over => ExceptionKind::ConsentOutstanding,
                Consent::Required | Consent::Given | Consent::NotRequired => return None,
            };
            Some(Self::new(kind, None, facts_of(obligation)))
        });
        // By type and due time: the first obligation of a session and type is its earliest.
        let mut known = BTreeSet::new();
        expected.filter(|one| known.insert((one.kind, one.subject.clone()))).collect()
    }

    /// The call is over, and too much of it was not observed.
    fn observation_lapse(report: &EvidenceReport, parameters: &Parameters) -> Option<Self> {
        report.call.ended_at?;
        let observed = [
            (CaptureType::Recording, report.observation.recording),
            (CaptureType::Transcription, report.observation.transcription),
        ];
        let lapses = observed.iter().filter(|(_, observed)| !observed.is_enough(parameters.edge));
        let types: Vec<CaptureType> = lapses.map(|(capture_type, _)| *capture_type).collect();
        let kind = ExceptionKind::ObservationLapse;
        (!types.is_empty()).then(|| Self::new(kind, None, json!({ "types": types })))
    }
}

/// The exceptions that are expected for a report.
#[must_use]
pub fn expected_of_report(
    report: &EvidenceReport,
    parameters: &Parameters,
) -> Vec<ExpectedException> {
    let obligations = report.obligations.iter();
    let flags = report.flags.iter();
    obligations
        .filter_map(ExpectedException::unmet)
        .chain(ExpectedException::consents(report))
        .chain(flags.filter_map(ExpectedException::unnoticed_capture))
        .chain(ExpectedException::observation_lapse(report, parameters))
        .collect()
}

/// The status of each obligation, by the subject of its exception and its due time.
#[must_use]
pub fn obligation_statuses(report: &EvidenceReport) -> BTreeMap<(String, Millis), &'static str> {
    let obligations = report.obligations.iter();
    obligations
        .map(|one| {
            let subject = format!("{} {}", one.capture_type.as_str(), one.session);
            ((subject, one.due_at), one.status.as_str())
        })
        .collect()
}

fn facts_of(obligation: &Obligation) -> Value {
    let Obligation { session, capture_type, due_at, .. } = obligation;
    json!({"session": session, "type": capture_type, "due_at": instant::text(*due_at)})
}

pub(crate) fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::exception::{ExceptionChange, ExceptionState, ExistingException, reconcile};
    use crate::fact::json::read_facts;
    use crate::notice::consent::ReportConsent;
    use crate::report::evidence_report::evidence;
    use crate::tests::random_call::{self, AFTER_ALL, PARAMETERS};

    fn expected(facts: Value, now: Millis) -> Vec<(ExceptionKind, String, Option<Millis>)> {
        let facts = read_facts(facts).unwrap();
        let parameters = Parameters::default();
        let report = evidence(&facts, now, &parameters).unwrap();
        expected_of_report(&report, &parameters)
            .into_iter()
            .map(|one| (one.kind, one.subject, one.at))
            .collect()
    }

    #[test]
    fn the_status_of_an_obligation_is_found_by_the_subject_of_its_exception() {
        let facts = read_facts(json!([
            {"id": "s", "kind": "call.started", "at": 0},
            {"id": "j", "kind": "session.joined", "at": 0, "session": "a", "identity": "acs"},
            {"id": "f", "kind": "file", "at": 90_000, "recording": "r", "index": 0, "started_at": 10_000, "duration_ms": 40_000},
        ]));
        let report = evidence(&facts.unwrap(), 100_000, &Parameters::default()).unwrap();
        let statuses = obligation_statuses(&report);
        let expected = expected_of_report(&report, &Parameters::default());
        let not_sent = &expected[0];
        let key = (not_sent.subject.clone(), not_sent.at.unwrap());
        assert_eq!(statuses[&key], not_sent.kind.as_str());
    }

    #[test]
    fn a_recording_known_only_from_its_file_is_unnoticed_and_no_notice_was_sent() {
        let facts = json!([
            {"id": "s", "kind": "call.started", "at": 0},
            {"id": "j", "kind": "session.joined", "at": 0, "session": "a", "identity": "acs"},
            {"id": "f", "kind": "file", "at": 90_000, "recording": "r", "index": 0, "started_at": 10_000, "duration_ms": 40_000},
            {"id": "e", "kind": "call.ended", "at": 60_000},
        ]);
        let those = [
            (ExceptionKind::NotSent, "recording a".to_owned(), Some(10_000)),
            (ExceptionKind::UnnoticedCapture, "recording".to_owned(), Some(10_000)),
            (ExceptionKind::ObservationLapse, String::new(), None),
        ];
        assert_eq!(expected(facts, 100_000), those);
    }

    #[test]
    fn an_open_call_without_captures_has_no_expected_exception() {
        let facts = json!([
            {"id": "s", "kind": "call.started", "at": 0},
            {"id": "j", "kind": "session.joined", "at": 0, "session": "a", "identity": "acs"},
        ]);
        assert_eq!(expected(facts, 600_000), []);
    }

    /// A call of `a` and `b` of ours and `c` of Teams, recorded twice, in which `a` and `c` must be
    /// asked and all are shown the notice at once.
    fn asked(more: &[Value]) -> Vec<Value> {
        let joined = |session: &str, identity: &str| {
            json!({
                "id": format!("j{session}"), "kind": "session.joined", "at": 0,
                "session": session, "identity": identity,
            })
        };
        let report = |session: &str, at: Millis, level: &str, required: Value| {
            json!({
                "id": format!("r{session}{at}"), "kind": "report", "at": at, "session": session,
                "reporter": session, "sequence": at, "recording": level, "transcription": "off",
                "consent_required": required, "shown": [{"type": "recording", "state": level}],
            })
        };
        let mut facts = vec![
            json!({"id": "s", "kind": "call.started", "at": 0}),
            joined("a", "acs"),
            joined("b", "acs"),
            joined("c", "teams_user"),
        ];
        for (at, level) in
            [(0, "off"), (10_000, "on"), (20_000, "off"), (40_000, "on"), (60_000, "off")]
        {
            facts.push(report("a", at, level, json!(["recording"])));
            facts.push(report("b", at, level, json!([])));
            facts.push(report("c", at, level, json!(["recording"])));
        }
        facts.extend_from_slice(more);
        facts
    }

    fn answer(decision: &str, at: Millis) -> Value {
        json!({
            "id": format!("{decision}{at}"), "kind": format!("consent.{decision}"), "at": at,
            "session": "a", "type": "recording",
        })
    }

    fn call_ended() -> Value {
        json!({"id": "e", "kind": "call.ended", "at": 70_000})
    }

    #[test]
    fn an_outstanding_consent_is_expected_once_per_session_and_type_when_the_call_is_over() {
        assert_eq!(expected(json!(asked(&[])), 70_000), []);
        let outstanding = [(ExceptionKind::ConsentOutstanding, "recording a".to_owned(), None)];
        assert_eq!(expected(json!(asked(&[call_ended()])), 70_000), outstanding);
        let answered = asked(&[call_ended(), answer("given", 80_000)]);
        assert_eq!(expected(json!(answered), 90_000), []);
    }

    #[test]
    fn a_declined_consent_is_expected_while_the_call_is_open_and_until_it_is_given() {
        let declined = [(ExceptionKind::ConsentDeclined, "recording a".to_owned(), None)];
        let open = asked(&[answer("declined", 12_000)]);
        assert_eq!(expected(json!(open), 15_000), declined);
        let over = asked(&[answer("declined", 12_000), call_ended()]);
        assert_eq!(expected(json!(over), 90_000), declined);
        let given = asked(&[answer("declined", 12_000), answer("given", 13_000)]);
        assert_eq!(expected(json!(given), 15_000), []);
    }

    #[test]
    fn the_sentence_of_a_consent_names_the_first_due_time_of_the_session() {
        let facts = read_facts(json!(asked(&[call_ended()]))).unwrap();
        let parameters = Parameters::default();
        let report = evidence(&facts, 90_000, &parameters).unwrap();
        let expected = expected_of_report(&report, &parameters);
        assert_eq!(
            expected[0].sentence(),
            "a was captured (recording) from 1970-01-01T00:00:10.000Z on and was to be asked for \
             consent; no answer is known."
        );
    }

    #[test]
    fn a_consent_exception_opens_with_its_cause_and_closes_when_the_cause_ends() {
        let parameters = Parameters::default();
        let expected = |more: &[Value]| {
            let facts = read_facts(json!(asked(more))).unwrap();
            expected_of_report(&evidence(&facts, 90_000, &parameters).unwrap(), &parameters)
        };
        let declined = expected(&[call_ended(), answer("declined", 80_000)]);
        let opened = reconcile(&[], &declined);
        assert_eq!(opened.len(), 1);
        assert_eq!(opened[0].change, ExceptionChange::Opened);
        let existing = [ExistingException {
            id: Uuid::from_u128(1),
            state: ExceptionState::Open,
            content: declined[0].clone(),
        }];
        let given = expected(&[call_ended(), answer("declined", 80_000), answer("given", 81_000)]);
        let closed = reconcile(&existing, &given);
        assert_eq!(closed.len(), 1);
        assert_eq!(closed[0].change, ExceptionChange::Closed);
    }

    proptest! {
        #[test]
        fn consent_exceptions_agree_with_the_consent_of_the_report(
            facts in random_call::facts(),
            now in 0..AFTER_ALL,
        ) {
            let Ok(report) = evidence(&facts, now, &PARAMETERS) else {
                return Ok(());
            };
            let expected = expected_of_report(&report, &PARAMETERS);
            let has = |kind| expected.iter().any(|one| one.kind == kind);
            let over = report.call.ended_at.is_some();
            prop_assert_eq!(
                has(ExceptionKind::ConsentDeclined),
                report.consent == ReportConsent::Declined
            );
            if report.consent == ReportConsent::Outstanding {
                prop_assert_eq!(has(ExceptionKind::ConsentOutstanding), over);
            }
            let mut keys: Vec<_> = expected
                .iter()
                .map(|one| (one.kind, &one.subject, one.at))
                .collect();
            keys.sort();
            keys.dedup();
            prop_assert_eq!(keys.len(), expected.len());
        }
    }
}
