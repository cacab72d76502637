use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::call::snapshot::call_snapshot;
use crate::fact::json::read_facts;
use crate::fact::kinds::{CaptureType, FactKind, JsonWord as _, Level, NoticeStep};
use crate::report::obligation::{ObligationStatus, of_type};
use crate::tests::random_call::{self, AFTER_ALL, PARAMETERS, shuffled};
use crate::tests::random_json::{almost_a_fact, any_json};

/// Scenarios with the answers of two implementations that were written independently.
const SCENARIOS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/evidence.json"));

#[test]
fn every_scenario_has_the_expected_report() {
    let vectors: Value = serde_json::from_str(SCENARIOS).unwrap();
    let scenarios = vectors["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), 206);
    assert_eq!(vectors["params"], json!(Parameters::default()));
    for scenario in scenarios {
        let facts = read_facts(scenario["facts"].clone()).unwrap();
        let now = scenario["now"].as_i64().unwrap();
        let report = evidence(&facts, now, &Parameters::default()).unwrap();
        let report = serde_json::to_value(report).unwrap();
        assert_eq!(report, scenario["report"], "{}", scenario["name"]);
    }
}

#[test]
fn without_facts_there_is_no_report() {
    let later = [Fact::new("f1", 2_000, FactKind::CallStarted)];
    let parameters = Parameters::default();
    assert_eq!(evidence(&[], 1_000, &parameters), Err(NoFacts));
    assert_eq!(evidence(&later, 1_000, &parameters), Err(NoFacts));
}

fn report_on(facts: Value, now: Millis) -> EvidenceReport {
    evidence(&read_facts(facts).unwrap(), now, &Parameters::default()).unwrap()
}

/// A call of `a`, which the platform names, from 0 to 60 s.
fn call_of_a(more: &[Value]) -> Value {
    let mut facts = vec![
        json!({"id": "s", "kind": "call.started", "at": 0}),
        json!({"id": "j", "kind": "session.joined", "at": 0, "session": "a", "identity": "acs"}),
        json!({"id": "e", "kind": "call.ended", "at": 60_000}),
    ];
    facts.extend_from_slice(more);
    json!(facts)
}

fn reported(session: &str, at: Millis, witness: &str, more: Value) -> Value {
    let mut report = json!({
        "id": format!("{session}{at}"), "kind": "report", "at": at, "session": session,
        "reporter": session, "sequence": at, "witness": witness,
    });
    let members = report.as_object_mut().unwrap();
    if let Value::Object(more) = more {
        members.extend(more);
    }
    report
}

fn flags(report: &EvidenceReport) -> Vec<String> {
    report.flags.iter().map(ToString::to_string).collect()
}

#[test]
fn an_outsider_starts_no_capture_and_observes_nothing() {
    let says_on = |witness: &str| {
        let on = reported("x", 1_000, witness, json!({"recording": "on", "transcription": "off"}));
        report_on(call_of_a(&[on]), 100_000)
    };
    let by_outsider = says_on("outsider");
    assert_eq!(by_outsider.captures, []);
    assert_eq!(by_outsider.obligations, []);
    assert_eq!(by_outsider.observation.recording.observed_ms, 0);
    assert_eq!(flags(&by_outsider), ["OUTSIDER:x"]);
    for witness in ["platform", "granted", "asserted"] {
        let accepted = says_on(witness);
        assert_eq!(accepted.captures.len(), 1, "{witness}");
        assert_eq!(accepted.obligations.len(), 2, "{witness}");
        assert!(accepted.observation.recording.observed_ms > 0);
        assert_eq!(flags(&accepted), [] as [&str; 0]);
    }
}

#[test]
fn an_outsider_closes_no_capture() {
    let on = reported("a", 1_000, "platform", json!({"recording": "on"}));
    let off = reported("x", 10_000, "outsider", json!({"recording": "off"}));
    let report = report_on(call_of_a(&[on, off]), 20_000);
    assert_eq!(report.captures[0].ended_at, None);
}

#[test]
fn an_outsider_keeps_no_call_open() {
    let open = |witness: &str| {
        let facts = json!([
            {"id": "s", "kind": "call.started", "at": 0},
            {"id": "e", "kind": "call.ended", "at": 10_000, "presumed": true},
            reported("x", 20_000, witness, json!({})),
        ]);
        report_on(facts, 30_000).call.ended_at.is_none()
    };
    assert!(!open("outsider"));
    assert!(open("asserted"));
}

#[test]
fn an_outsider_has_no_obligation_of_ours_until_the_platform_names_it() {
    let on = reported("a", 1_000, "platform", json!({"recording": "on"}));
    let outsider = reported("x", 1_000, "outsider", json!({"consent_required": ["recording"]}));
    let unnamed = report_on(call_of_a(&[on.clone(), outsider.clone()]), 100_000);
    let status = |report: &EvidenceReport| {
        let of_x = report.obligations.iter().find(|it| it.session == "x");
        of_x.map(|it| it.status)
    };
    assert_eq!(status(&unnamed), Some(ObligationStatus::NotOurs));
    assert_eq!(flags(&unnamed), ["OUTSIDER:x"]);
    // A consent that an outsider requires is not outstanding.
    assert_eq!(unnamed.consent, ReportConsent::NotRequired);
    let named =
        json!({"id": "n", "kind": "session.joined", "at": 500, "session": "x", "identity": "acs"});
    let named = report_on(call_of_a(&[on, outsider, named]), 100_000);
    assert_eq!(status(&named), Some(ObligationStatus::NotSent));
    assert_eq!(flags(&named), [] as [&str; 0]);
    assert_eq!(named.consent, ReportConsent::Outstanding);
}

#[test]
fn an_outsider_is_explained_as_one() {
    let on = reported("a", 1_000, "platform", json!({"recording": "on"}));
    let outsider = reported("x", 1_000, "outsider", json!({}));
    let facts = read_facts(call_of_a(&[on, outsider])).unwrap();
    let evidence = Evidence::at(&facts, 100_000, &Parameters::default()).unwrap();
    let of_x = evidence.report.obligations.iter().find(|it| it.session == "x");
    let explanation = evidence.explanation(of_x.unwrap()).unwrap();
    assert!(explanation.rule.contains("by its own word alone"), "{}", explanation.rule);
}

#[test]
fn a_stop_with_an_unseen_start_is_flagged_if_an_interval_of_it_is_left() {
    let stopped = |started_at: Value, at: Millis| {
        let state = json!({
            "id": "p", "kind": "provider.state", "at": at, "type": "recording", "recording": "r1",
            "state": "inactive", "started_at": started_at,
        });
        report_on(call_of_a(&[state]), 100_000)
    };
    let unseen = stopped(json!(10_000), 20_000);
    assert_eq!(flags(&unseen), ["START_UNSEEN:r1"]);
    assert_eq!(unseen.captures[0].started_at, 10_000);
    assert_eq!(unseen.captures[0].ended_at, Some(20_000));
    let after_the_call = stopped(json!(70_000), 80_000);
    assert_eq!((flags(&after_the_call), after_the_call.captures), (vec![], vec![]));
    let without_start = stopped(Value::Null, 20_000);
    assert_eq!(flags(&without_start), ["STOP_WITHOUT_START:r1"]);
}

#[test]
fn the_consent_of_a_report_is_the_worst_of_its_obligations_that_are_ours() {
    let on = || reported("a", 1_000, "platform", json!({"recording": "on"}));
    let asked = || reported("a", 2_000, "platform", json!({"consent_required": ["recording"]}));
    let answers = |session: &str, decision: &str, capture_type: &str| {
        json!({
            "id": format!("{session} {decision}"), "kind": format!("consent.{decision}"), "at": 3_000,
            "session": session, "type": capture_type,
        })
    };
    let joins = |session: &str, identity: &str| {
        json!({
            "id": format!("{session} joins"), "kind": "session.joined", "at": 0, "session": session,
            "identity": identity,
        })
    };
    for (more, consent) in [
        (vec![on()], "NOT_REQUIRED"),
        (vec![on(), asked()], "OUTSTANDING"),
        (vec![on(), asked(), answers("a", "given", "recording")], "GIVEN"),
        // An answer for one type is no answer for the other.
        (vec![on(), asked(), answers("a", "given", "transcription")], "OUTSTANDING"),
        (vec![on(), asked(), joins("b", "acs"), answers("b", "declined", "recording")], "DECLINED"),
        (vec![on(), asked(), joins("b", "acs"), answers("b", "given", "recording")], "OUTSTANDING"),
        // Participants who are not ours are asked by another party.
        (
            vec![on(), joins("b", "teams_user"), answers("b", "declined", "recording")],
            "NOT_REQUIRED",
        ),
        // Without a capture there is nothing to consent to.
        (vec![asked()], "NOT_REQUIRED"),
    ] {
        let report = report_on(call_of_a(&more), 100_000);
        assert_eq!(report.consent.as_str(), consent, "{more:?}");
        assert_eq!(json!(report.consent), consent);
    }
}

#[test]
fn consent_never_changes_the_verdict() {
    let on = reported("a", 1_000, "platform", json!({"recording": "on"}));
    let verdict = |more: &[Value]| report_on(call_of_a(more), 100_000).verdict;
    let without = verdict(std::slice::from_ref(&on));
    let declined = json!({
        "id": "c", "kind": "consent.declined", "at": 3_000, "session": "a", "type": "recording",
    });
    assert_eq!(verdict(&[on, declined]), without);
}

/// Two hours with many clients that all report, are sent notices and show them.
fn long_call(sessions: usize, rounds: i64) -> Vec<Fact> {
    let mut facts = vec![json!({"id": "start", "kind": "call.started", "at": 0})];
    for session in 0..sessions {
        let name = format!("s{session}");
        for round in 0..rounds {
            let t = round * 7_200_000 / rounds + session as i64;
            // The level flaps.
            let level = if round % 7 == 0 { "off" } else { "on" };
            facts.push(json!({
                "id": format!("{name}-r{round}"), "kind": "report", "at": t, "session": name,
                "reporter": name, "sequence": round, "recording": level,
                "shown": [{"type": "recording", "state": level, "elapsed_ms": 40}],
            }));
            facts.push(json!({
                "id": format!("{name}-d{round}"), "kind": "notice.dispatched", "at": t + 30,
                "session": name, "type": "recording", "state": level,
            }));
        }
    }
    read_facts(json!(facts)).unwrap()
}

#[test]
fn a_report_on_a_long_call_does_not_take_quadratic_time() {
    for (sessions, rounds) in [(300, 33), (1, 10_000), (3_300, 3)] {
        let facts = long_call(sessions, rounds);
        let began = std::time::Instant::now();
        let evidence = Evidence::at(&facts, 7_200_000, &Parameters::default()).unwrap();
        assert_eq!(evidence.report.sessions.len(), sessions);
        assert_eq!(evidence.explanations().len(), evidence.report.obligations.len());
        // Quadratic time would take minutes. The build is not optimized and other tests run beside it.
        let took = began.elapsed();
        assert!(took.as_secs() < 20, "{sessions} × {rounds}: {took:?}");
    }
}

/// Whether a notice of on is on the screen at an instant, computed directly from the text of the
/// rules.
struct ScreenReading<'a, 'f> {
    evidence: &'a Evidence<'f>,
    session: &'a str,
    capture_type: CaptureType,
}

impl ScreenReading<'_, '_> {
    /// Every statement about the screen: its instant, the earliest instant, and whether it is on.
    fn statements(&self) -> Vec<(Millis, Millis, bool)> {
        let mut statements = Vec::new();
        for fact in self.evidence.facts.iter() {
            if let FactKind::Notice(notice) = fact.kind()
                && (notice.session.as_str(), notice.capture_type)
                    == (self.session, self.capture_type)
            {
                let since = fact.at() - notice.elapsed_ms.unwrap_or(0) as i64;
                match notice.step {
                    NoticeStep::Displayed | NoticeStep::Acknowledged => {
                        statements.push((fact.at(), since, notice.state == Level::On));
                    }
                    NoticeStep::Hidden => statements.push((fact.at(), since, false)),
                    NoticeStep::Dispatched | NoticeStep::Delivered => {}
                }
            }
        }
        for reporter in &self.evidence.reporters {
            for counted in &reporter.reports {
                for shown in &counted.report.shown {
                    if (reporter.session, shown.capture_type) == (self.session, self.capture_type) {
                        let since = counted.at - shown.elapsed_ms.unwrap_or(0) as i64;
                        statements.push((counted.at, since, shown.state == Level::On));
                    }
                }
            }
        }
        statements
    }

    /// The half-open spans of one reading.
    fn spans(&self, earliest: bool) -> Vec<(Millis, Millis)> {
        let statements = self.statements();
        let captures = of_type(&self.evidence.report.captures, self.capture_type);
        let on = statements.iter().filter(|&&(_, _, on)| on);
        on.map(|&(t, since, _)| {
            let mut to = Millis::MAX;
            for &(other, _, on) in &statements {
                if !on && other > t {
                    to = to.min(other);
                }
            }
            let ends = |end: Option<Millis>| end.is_none_or(|end| end > since);
            let first = captures.iter().find(|capture| ends(capture.ended_at));
            to = to.min(first.and_then(|it| it.ended_at).unwrap_or(Millis::MAX));
            let holds = captures
                .iter()
                .any(|capture| capture.started_at <= since && ends(capture.ended_at));
            if !holds {
                to = to.min(t + PARAMETERS.stale);
            }
            (if earliest { since } else { t }, to)
        })
        .collect()
    }
}

fn on_screen(spans: &[(Millis, Millis)], t: Millis) -> bool {
    spans.iter().any(|&(from, to)| from <= t && t < to)
}

/// A report without the lengths that reach to now.
fn without_growing_lengths(mut report: EvidenceReport) -> EvidenceReport {
    for obligation in &mut report.obligations {
        obligation.exposure_ms = None;
        obligation.exposure_min_ms = None;
        obligation.shown_ms = None;
    }
    report
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn any_order_and_repetition_of_the_facts_gives_the_same_report(
        (facts, disordered) in random_call::facts().prop_flat_map(shuffled),
        now in 0..AFTER_ALL,
    ) {
        let report = evidence(&facts, now, &PARAMETERS);
        prop_assert_eq!(report, evidence(&disordered, now, &PARAMETERS));
    }
}

proptest! {
    #[test]
    fn an_evaluation_of_every_millisecond_gives_the_same_screen_times(
        facts in random_call::facts(),
        now in 0..AFTER_ALL,
    ) {
        let Ok(evidence) = Evidence::at(&facts, now, &PARAMETERS) else {
            return Ok(());
        };
        for obligation in &evidence.report.obligations {
            let reading = ScreenReading {
                evidence: &evidence,
                session: &obligation.session,
                capture_type: obligation.capture_type,
            };
            let (latest, earliest) = (reading.spans(false), reading.spans(true));
            let (due, to) = (obligation.due_at, obligation.ends_at.unwrap_or(now));
            prop_assert!(due < to);
            let shown_at = (due..=to).find(|&t| on_screen(&latest, t));
            prop_assert_eq!(obligation.shown_at, shown_at);
            let already = shown_at == Some(due)
                && latest.iter().any(|&(from, to)| from < due && due < to);
            prop_assert_eq!(obligation.already_shown, already);
            if obligation.status == ObligationStatus::NotOurs {
                prop_assert_eq!(obligation.exposure_ms, None);
                continue;
            }
            let shown = (due..to).filter(|&t| on_screen(&latest, t)).count();
            prop_assert_eq!(obligation.shown_ms, Some(shown as i64));
            prop_assert_eq!(obligation.exposure_ms, Some(shown_at.unwrap_or(to) - due));
            let shown_at = (due..=to).find(|&t| on_screen(&earliest, t));
            prop_assert_eq!(obligation.exposure_min_ms, Some(shown_at.unwrap_or(to) - due));
        }
    }

    #[test]
    fn only_lengths_change_before_the_next_change(
        facts in random_call::facts(),
        now in -10..AFTER_ALL,
    ) {
        let at = |now| Evidence::at(&facts, now, &PARAMETERS);
        let Ok(Evidence { report, next_change, .. }) = at(now) else {
            return Ok(());
        };
        let (observation, report) = (report.observation, without_growing_lengths(report));
        let next = next_change.unwrap_or(AFTER_ALL + 100);
        prop_assert!(next > now);
        for later in now..next {
            let mut then = without_growing_lengths(evidence(&facts, later, &PARAMETERS).unwrap());
            then.observation = observation;
            prop_assert_eq!(&then, &report, "at {}", later);
        }
    }

    #[test]
    fn every_obligation_has_an_explanation_by_facts_of_the_call(
        facts in random_call::facts(),
        now in 0..AFTER_ALL,
    ) {
        let Ok(evidence) = Evidence::at(&facts, now, &PARAMETERS) else {
            return Ok(());
        };
        let known: BTreeSet<&str> = facts.iter().map(Fact::id).collect();
        let explanations = evidence.explanations();
        prop_assert_eq!(explanations.len(), evidence.report.obligations.len());
        for (obligation, explanation) in evidence.report.obligations.iter().zip(explanations) {
            prop_assert_eq!(evidence.explanation(obligation), Some(explanation.clone()));
            prop_assert!(explanation.facts.iter().all(|id| known.contains(id.as_str())));
            prop_assert!(!explanation.facts.is_empty(), "{:?}", obligation);
            let mut deciding = facts.iter().filter(|fact| explanation.facts.iter().any(|id| id == fact.id()));
            let shows = |fact: &Fact| matches!(fact.kind(), FactKind::Notice(_) | FactKind::Report(_));
            prop_assert!(obligation.shown_at.is_none() || deciding.any(shows));
        }
    }

    #[test]
    fn a_report_agrees_with_the_snapshot_and_with_itself(
        facts in random_call::facts(),
        now in 0..AFTER_ALL,
    ) {
        let Ok(report) = evidence(&facts, now, &PARAMETERS) else {
            return Ok(());
        };
        let snapshot = call_snapshot(&facts, now, &PARAMETERS);
        prop_assert_eq!(&snapshot.sessions, &report.sessions);
        prop_assert_eq!(&snapshot.captures, &report.captures);
        prop_assert!(report.flags.is_superset(&snapshot.flags));
        let mut keys: Vec<_> = report.obligations.iter().map(|it| (it.capture_type, it.due_at, &it.session)).collect();
        prop_assert!(keys.is_sorted());
        keys.dedup();
        prop_assert_eq!(keys.len(), report.obligations.len());
        let observed = report.observation;
        for watched in [observed.recording, observed.transcription] {
            prop_assert!(0 <= watched.observed_ms && watched.observed_ms <= watched.watch_ms);
        }
        for obligation in &report.obligations {
            prop_assert!(obligation.exposure_min_ms <= obligation.exposure_ms);
        }
    }

    #[test]
    fn no_json_makes_a_report_panic(facts in any_json(), now in any::<i64>()) {
        let facts = match facts {
            Value::Array(_) => facts,
            other => json!([other]),
        };
        if let Ok(facts) = read_facts(facts)
            && let Ok(evidence) = Evidence::at(&facts, now, &Parameters::default())
        {
            prop_assert!(evidence.next_change.is_none_or(|next| next > now));
        }
    }

    #[test]
    fn no_number_makes_a_report_panic_or_a_length_negative(
        facts in proptest::collection::vec(almost_a_fact(), 0..12),
        now in prop_oneof![Just(i64::MIN), Just(0), Just(i64::MAX), any::<i64>()],
        length in prop_oneof![Just(0), Just(i64::MAX), Just(5_000)],
    ) {
        let facts: Vec<Fact> = facts.into_iter().map(Fact::from_json).filter_map(Result::ok).collect();
        let extreme = Parameters { slo: length, deadline: length, bridge: length, stale: length, edge: length };
        for parameters in [Parameters::default(), extreme] {
            let Ok(evidence) = Evidence::at(&facts, now, &parameters) else {
                continue;
            };
            prop_assert!(evidence.next_change.is_none_or(|next| next > now));
            let observed = evidence.report.observation;
            prop_assert!(observed.recording.observed_ms >= 0 && observed.recording.watch_ms >= 0);
            for obligation in &evidence.report.obligations {
                prop_assert!(obligation.exposure_ms.is_none_or(|it| it >= 0));
                prop_assert!(obligation.shown_ms.is_none_or(|it| it >= 0));
            }
            prop_assert_eq!(evidence.explanations().len(), evidence.report.obligations.len());
        }
    }

    #[test]
    fn damaged_facts_are_rejected_or_reported_on(
        facts in random_call::facts(),
        damages in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any_json()), 1..6),
        now in 0..AFTER_ALL,
    ) {
        let mut facts: Vec<Value> = facts.iter().map(|fact| json!(fact)).collect();
        for (which, member, anything) in damages {
            if facts.is_empty() {
                break;
            }
            let index = which.index(facts.len());
            if let Some(object) = facts[index].as_object_mut() {
                let names: Vec<String> = object.keys().cloned().collect();
                object.insert(member.get(&names).clone(), anything);
            }
        }
        let facts: Vec<Fact> = facts.into_iter().map(Fact::from_json).filter_map(Result::ok).collect();
        if let Ok(evidence) = Evidence::at(&facts, now, &PARAMETERS) {
            prop_assert_eq!(evidence.explanations().len(), evidence.report.obligations.len());
        }
    }
}
