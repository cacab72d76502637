use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::fact::{CaptureType, FactKind, Level, NoticeStep};
use crate::domain::fact_json::read_facts;
use crate::domain::fold::fold;
use crate::domain::fold::random_call::{self, AFTER_ALL, PARAMETERS, shuffled};
use crate::domain::fold::random_json::{almost_a_fact, any_json};
use crate::domain::obligation::{Status, of_type};

/// Scenarios with the answers of two implementations that were written independently.
const SCENARIOS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/evidence.json"
));

#[test]
fn every_scenario_has_the_expected_report() {
    let vectors: Value = serde_json::from_str(SCENARIOS).unwrap();
    let scenarios = vectors["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), 176);
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
fn there_is_no_report_on_nothing() {
    let later = [Fact::new("f1", 2_000, FactKind::CallStarted)];
    let parameters = Parameters::default();
    assert_eq!(evidence(&[], 1_000, &parameters), Err(NoFacts));
    assert_eq!(evidence(&later, 1_000, &parameters), Err(NoFacts));
}

/// Two hours, many people who all report, are shown notices and receipt them.
fn long_call(sessions: usize, rounds: i64) -> Vec<Fact> {
    let mut facts = vec![json!({"id": "start", "kind": "call.started", "t": 0})];
    for session in 0..sessions {
        let name = format!("s{session}");
        for round in 0..rounds {
            let t = round * 7_200_000 / rounds + session as i64;
            // Some fall silent again and again, and what is captured flaps.
            let level = if round % 7 == 0 { "off" } else { "on" };
            facts.push(json!({
                "id": format!("{name}-r{round}"), "kind": "report", "t": t, "session": name,
                "reporter": name, "sequence": round, "recording": level,
                "shown": [{"type": "recording", "state": level, "elapsed": 40}],
            }));
            facts.push(json!({
                "id": format!("{name}-d{round}"), "kind": "notice.dispatched", "t": t + 30,
                "session": name, "type": "recording", "state": level,
            }));
        }
    }
    read_facts(json!(facts)).unwrap()
}

#[test]
fn a_long_call_of_many_people_takes_no_square_of_its_facts() {
    for (sessions, rounds) in [(300, 33), (1, 10_000), (3_300, 3)] {
        let facts = long_call(sessions, rounds);
        let began = std::time::Instant::now();
        let evidence = Evidence::at(&facts, 7_200_000, &Parameters::default()).unwrap();
        assert_eq!(evidence.report.sessions.len(), sessions);
        assert_eq!(evidence.whys().len(), evidence.report.obligations.len());
        // A square would take minutes; this is without optimization, beside others.
        let took = began.elapsed();
        assert!(took.as_secs() < 20, "{sessions} × {rounds}: {took:?}");
    }
}

/// Whether a notice of on is on the screen at an instant, straight from the words of the rules.
struct Words<'a, 'f> {
    evidence: &'a Evidence<'f>,
    session: &'a str,
    capture: CaptureType,
}

impl Words<'_, '_> {
    /// Every statement about the screen: when, since when, and whether it is on.
    fn statements(&self) -> Vec<(Millis, Millis, bool)> {
        let mut statements = Vec::new();
        for fact in self.evidence.facts.iter() {
            if let FactKind::Notice(notice) = fact.kind()
                && (notice.session.as_str(), notice.capture) == (self.session, self.capture)
            {
                let since = fact.t() - notice.elapsed.unwrap_or(0) as i64;
                match notice.step {
                    NoticeStep::Displayed | NoticeStep::Acknowledged => {
                        statements.push((fact.t(), since, notice.state == Level::On));
                    }
                    NoticeStep::Hidden => statements.push((fact.t(), since, false)),
                    NoticeStep::Dispatched | NoticeStep::Delivered => {}
                }
            }
        }
        for reporter in &self.evidence.reporters {
            for counted in reporter.reports() {
                for shown in &counted.report.shown {
                    if (reporter.session(), shown.capture) == (self.session, self.capture) {
                        let since = counted.at - shown.elapsed.unwrap_or(0) as i64;
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
        let stretches = of_type(&self.evidence.report.stretches, self.capture);
        let on = statements.iter().filter(|&&(_, _, on)| on);
        on.map(|&(t, since, _)| {
            let mut to = Millis::MAX;
            for &(other, _, on) in &statements {
                if !on && other > t {
                    to = to.min(other);
                }
            }
            let ends = |end: Option<Millis>| end.is_none_or(|end| end > since);
            let first = stretches.iter().find(|stretch| ends(stretch.end));
            to = to.min(first.and_then(|it| it.end).unwrap_or(Millis::MAX));
            let holds = stretches
                .iter()
                .any(|stretch| stretch.start <= since && ends(stretch.end));
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
fn at_rest(mut report: EvidenceReport) -> EvidenceReport {
    for obligation in &mut report.obligations {
        obligation.exposure = None;
        obligation.exposure_min = None;
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
    fn a_look_at_every_millisecond_gives_the_same_tellings(
        facts in random_call::facts(),
        now in 0..AFTER_ALL,
    ) {
        let Ok(evidence) = Evidence::at(&facts, now, &PARAMETERS) else {
            return Ok(());
        };
        for obligation in &evidence.report.obligations {
            let words = Words {
                evidence: &evidence,
                session: &obligation.session,
                capture: obligation.capture,
            };
            let (latest, earliest) = (words.spans(false), words.spans(true));
            let (due, to) = (obligation.due, obligation.end.unwrap_or(now));
            prop_assert!(due < to);
            let told = (due..=to).find(|&t| on_screen(&latest, t));
            prop_assert_eq!(obligation.told, told);
            let already = told == Some(due)
                && latest.iter().any(|&(from, to)| from < due && due < to);
            prop_assert_eq!(obligation.already_shown, already);
            if obligation.status == Status::NotOurs {
                prop_assert_eq!(obligation.exposure, None);
                continue;
            }
            let shown = (due..to).filter(|&t| on_screen(&latest, t)).count();
            prop_assert_eq!(obligation.shown_ms, Some(shown as i64));
            prop_assert_eq!(obligation.exposure, Some(told.unwrap_or(to) - due));
            let told = (due..=to).find(|&t| on_screen(&earliest, t));
            prop_assert_eq!(obligation.exposure_min, Some(told.unwrap_or(to) - due));
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
        let (observation, report) = (report.observation, at_rest(report));
        let next = next_change.unwrap_or(AFTER_ALL + 100);
        prop_assert!(next > now);
        for later in now..next {
            let mut then = at_rest(evidence(&facts, later, &PARAMETERS).unwrap());
            then.observation = observation;
            prop_assert_eq!(&then, &report, "at {}", later);
        }
    }

    #[test]
    fn every_obligation_has_its_why_and_every_why_rests_on_known_facts(
        facts in random_call::facts(),
        now in 0..AFTER_ALL,
    ) {
        let Ok(evidence) = Evidence::at(&facts, now, &PARAMETERS) else {
            return Ok(());
        };
        let known: BTreeSet<&str> = facts.iter().map(Fact::id).collect();
        let whys = evidence.whys();
        prop_assert_eq!(whys.len(), evidence.report.obligations.len());
        for (obligation, why) in evidence.report.obligations.iter().zip(whys) {
            prop_assert_eq!(evidence.why(obligation), Some(why.clone()));
            prop_assert!(why.facts.iter().all(|id| known.contains(id.as_str())));
            prop_assert!(!why.facts.is_empty(), "{:?}", obligation);
            let mut deciding = facts.iter().filter(|fact| why.facts.iter().any(|id| id == fact.id()));
            let told = |fact: &Fact| matches!(fact.kind(), FactKind::Notice(_) | FactKind::Report(_));
            prop_assert!(obligation.told.is_none() || deciding.any(told));
        }
    }

    #[test]
    fn a_report_agrees_with_the_picture_and_with_itself(
        facts in random_call::facts(),
        now in 0..AFTER_ALL,
    ) {
        let Ok(report) = evidence(&facts, now, &PARAMETERS) else {
            return Ok(());
        };
        let picture = fold(&facts, now, &PARAMETERS);
        prop_assert_eq!(&picture.sessions, &report.sessions);
        prop_assert_eq!(&picture.stretches, &report.stretches);
        prop_assert!(report.flags.is_superset(&picture.flags));
        let mut keys: Vec<_> = report.obligations.iter().map(|it| (it.capture, it.due, &it.session)).collect();
        prop_assert!(keys.is_sorted());
        keys.dedup();
        prop_assert_eq!(keys.len(), report.obligations.len());
        let observed = report.observation;
        for watched in [observed.recording, observed.transcription] {
            prop_assert!(0 <= watched.observed_ms && watched.observed_ms <= watched.watch_ms);
        }
        for obligation in &report.obligations {
            prop_assert!(obligation.exposure_min <= obligation.exposure);
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
                prop_assert!(obligation.exposure.is_none_or(|it| it >= 0));
                prop_assert!(obligation.shown_ms.is_none_or(|it| it >= 0));
            }
            prop_assert_eq!(evidence.whys().len(), evidence.report.obligations.len());
        }
    }

    #[test]
    fn mutilated_facts_are_refused_or_reported_on(
        facts in random_call::facts(),
        mutilations in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any_json()), 1..6),
        now in 0..AFTER_ALL,
    ) {
        let mut facts: Vec<Value> = facts.iter().map(|fact| json!(fact)).collect();
        for (which, member, anything) in mutilations {
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
            prop_assert_eq!(evidence.whys().len(), evidence.report.obligations.len());
        }
    }
}
