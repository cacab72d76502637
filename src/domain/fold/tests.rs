use proptest::prelude::*;
use serde_json::{Value, json};

use super::random_call::{self, AFTER_ALL, PARAMETERS, shuffled};
use super::random_json::{almost_a_fact, any_json};
use super::*;
use crate::domain::fact_json::read_facts;
use crate::domain::indication::IndicationState;

/// Scenarios with the answers of two implementations that were written independently.
const SCENARIOS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/evidence.json"
));

fn scenarios() -> Vec<(String, Vec<Fact>, Value)> {
    let vectors: Value = serde_json::from_str(SCENARIOS).unwrap();
    vectors["scenarios"]
        .as_array()
        .unwrap()
        .iter()
        .map(|scenario| {
            let name = scenario["name"].as_str().unwrap().to_owned();
            let facts = read_facts(scenario["facts"].clone()).unwrap();
            (name, facts, scenario.clone())
        })
        .collect()
}

fn folded(facts: &[Fact], now: &Value) -> Value {
    let picture = fold(facts, now.as_i64().unwrap(), &Parameters::default());
    serde_json::to_value(picture).unwrap()
}

#[test]
fn every_scenario_has_the_expected_call_sessions_stretches_and_flags() {
    let scenarios = scenarios();
    assert_eq!(scenarios.len(), 176);
    for (name, facts, scenario) in scenarios {
        let picture = folded(&facts, &scenario["now"]);
        let report = &scenario["report"];
        for part in ["call", "sessions", "stretches"] {
            assert_eq!(picture[part], report[part], "{part} of {name}");
        }
        // The only flag that rests on what participants were told.
        let of_obligations =
            |flag: &&Value| flag.as_str().unwrap().starts_with("UNNOTICED_CAPTURE");
        let flags: Vec<&Value> = report["flags"].as_array().unwrap().iter().collect();
        let flags: Vec<&Value> = flags.into_iter().filter(|it| !of_obligations(it)).collect();
        assert_eq!(picture["flags"], json!(flags), "flags of {name}");
    }
}

#[test]
fn every_scenario_has_the_expected_indications() {
    for (name, facts, scenario) in scenarios() {
        for asked in scenario["indications"].as_array().unwrap() {
            let picture = folded(&facts, &asked["now"]);
            let now = &asked["now"];
            assert_eq!(picture["indications"], asked["answer"], "{name} at {now}");
        }
    }
}

#[test]
fn without_facts_nothing_is_known() {
    let picture = fold(&[], 1_000, &Parameters::default());
    assert_eq!(picture.call, None);
    assert_eq!(picture.indications, Indications::default());
    assert_eq!(picture.next_change, None);
}

#[test]
fn a_fact_of_the_future_is_announced_as_the_next_change() {
    let started = [Fact::new("f1", 2_000, FactKind::CallStarted)];
    let picture = fold(&started, 1_000, &Parameters::default());
    assert_eq!(picture.call, None);
    assert_eq!(picture.next_change, Some(2_000));
}

#[test]
fn facts_of_unknown_kinds_make_no_call_but_may_be_in_conflict() {
    let facts = json!([
        {"id": "f1", "kind": "whisper", "t": 1, "loud": false},
        {"id": "f1", "kind": "whisper", "t": 1, "loud": true},
    ]);
    let picture = folded(&read_facts(facts).unwrap(), &json!(10));
    assert_eq!(picture["call"], Value::Null);
    assert_eq!(picture["flags"], json!(["CONFLICT:f1"]));
}

#[test]
fn the_next_change_of_an_off_is_its_settling() {
    let facts = json!([
        {"id": "f1", "kind": "report", "t": 1_000, "session": "a", "reporter": "a1", "sequence": 1, "recording": "on"},
        {"id": "f2", "kind": "report", "t": 2_000, "session": "a", "reporter": "a1", "sequence": 2, "recording": "off"},
    ]);
    let facts = read_facts(facts).unwrap();
    let picture = fold(&facts, 2_000, &Parameters::default());
    assert_eq!(picture.indications.recording.state, IndicationState::On);
    assert_eq!(picture.next_change, Some(7_000));
    let settled = fold(&facts, 7_000, &Parameters::default());
    assert_eq!(settled.indications.recording.state, IndicationState::Off);
}

#[test]
fn the_next_change_of_a_lone_reporter_is_its_falling_silent() {
    let facts = json!([
        {"id": "f1", "kind": "session.joined", "t": 1_000, "session": "a"},
        {"id": "f2", "kind": "report", "t": 1_000, "session": "a", "reporter": "a1", "sequence": 1, "recording": "on"},
    ]);
    let facts = read_facts(facts).unwrap();
    let picture = fold(&facts, 1_000, &Parameters::default());
    assert_eq!(picture.next_change, Some(91_001));
    assert!(!picture.indications.recording.stale);
    let silent = fold(&facts, 91_001, &Parameters::default());
    assert!(silent.indications.recording.stale);
    assert_eq!(silent.next_change, None);
}

#[test]
fn an_ended_call_changes_no_more() {
    let facts = json!([
        {"id": "f1", "kind": "report", "t": 1_000, "session": "a", "reporter": "a1", "sequence": 1, "recording": "on"},
        {"id": "f2", "kind": "call.ended", "t": 2_000},
    ]);
    let picture = fold(&read_facts(facts).unwrap(), 2_000, &Parameters::default());
    assert_eq!(picture.next_change, None);
}

proptest! {
    #[test]
    fn any_order_and_repetition_of_the_facts_gives_the_same_picture(
        (facts, disordered) in random_call::facts().prop_flat_map(shuffled),
        now in 0..AFTER_ALL,
    ) {
        prop_assert_eq!(fold(&facts, now, &PARAMETERS), fold(&disordered, now, &PARAMETERS));
    }

    #[test]
    fn facts_read_back_from_their_json_give_the_same_picture(
        facts in random_call::facts(),
        now in 0..AFTER_ALL,
    ) {
        let stored = serde_json::to_value(&facts).unwrap();
        let read = read_facts(stored).unwrap();
        prop_assert_eq!(fold(&facts, now, &PARAMETERS), fold(&read, now, &PARAMETERS));
    }

    #[test]
    fn indications_do_not_change_before_the_next_change(
        facts in random_call::facts(),
        now in -10..AFTER_ALL,
    ) {
        let picture = fold(&facts, now, &PARAMETERS);
        let next = picture.next_change.unwrap_or(AFTER_ALL + 100);
        prop_assert!(next > now);
        for later in now..next {
            let then = fold(&facts, later, &PARAMETERS);
            prop_assert_eq!(then.indications, picture.indications, "at {}", later);
        }
    }

    #[test]
    fn silence_never_turns_a_stale_on_into_off(
        facts in random_call::facts(),
        now in 0..AFTER_ALL,
        silence in 0..10_000_i64,
    ) {
        let known: Vec<Fact> = facts.into_iter().filter(|fact| fact.t() <= now).collect();
        let before = fold(&known, now, &PARAMETERS).indications;
        let after = fold(&known, now + silence, &PARAMETERS).indications;
        for capture in CaptureType::ALL {
            if before.of(capture).stale {
                prop_assert_eq!(before.of(capture), after.of(capture));
            }
        }
    }

    #[test]
    fn stretches_are_apart_and_within_the_call(
        facts in random_call::facts(),
        now in 0..AFTER_ALL,
    ) {
        let picture = fold(&facts, now, &PARAMETERS);
        for capture in CaptureType::ALL {
            let stretches = picture.stretches.iter().filter(|it| it.capture == capture);
            let mut previous: Option<&Stretch> = None;
            for stretch in stretches {
                prop_assert!(stretch.end.is_none_or(|end| stretch.start < end && end <= now));
                if let Some(previous) = previous {
                    let gap = previous.end.map(|end| stretch.start - end);
                    prop_assert!(gap.is_some_and(|gap| gap > PARAMETERS.bridge));
                }
                previous = Some(stretch);
            }
            if let Some(end) = picture.call.and_then(|call| call.end) {
                prop_assert!(previous.is_none_or(|last| last.end.is_some_and(|it| it <= end)));
            }
        }
    }

    #[test]
    fn no_json_makes_the_fold_panic(facts in any_json(), now in any::<i64>()) {
        let facts = match facts {
            Value::Array(_) => facts,
            other => json!([other]),
        };
        if let Ok(facts) = read_facts(facts) {
            let picture = fold(&facts, now, &Parameters::default());
            prop_assert!(picture.next_change.is_none_or(|next| next > now));
        }
    }

    #[test]
    fn no_number_makes_the_fold_panic(
        facts in proptest::collection::vec(almost_a_fact(), 0..12),
        now in prop_oneof![Just(i64::MIN), Just(0), Just(i64::MAX), any::<i64>()],
    ) {
        let facts: Vec<Fact> = facts.into_iter().map(Fact::from_json).filter_map(Result::ok).collect();
        let picture = fold(&facts, now, &Parameters::default());
        prop_assert!(picture.next_change.is_none_or(|next| next > now));
    }
}
