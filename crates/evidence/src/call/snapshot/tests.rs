use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fact::json::read_facts;
use crate::notice::indication::IndicationState;
use crate::tests::random_call::{self, AFTER_ALL, PARAMETERS, shuffled};
use crate::tests::random_json::{almost_a_fact, any_json};

/// Scenarios with the answers of two implementations that were written independently.
const SCENARIOS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/evidence.json"));

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

fn snapshot_json(facts: &[Fact], now: &Value) -> Value {
    let snapshot = call_snapshot(facts, now.as_i64().unwrap(), &Parameters::default());
    serde_json::to_value(snapshot).unwrap()
}

#[test]
fn every_scenario_has_the_expected_call_sessions_captures_and_flags() {
    let scenarios = scenarios();
    assert_eq!(scenarios.len(), 206);
    for (name, facts, scenario) in scenarios {
        let snapshot = snapshot_json(&facts, &scenario["now"]);
        let report = &scenario["report"];
        for part in ["call", "sessions", "captures"] {
            assert_eq!(snapshot[part], report[part], "{part} of {name}");
        }
        // The only flag that depends on obligations.
        let of_obligations =
            |flag: &&Value| flag.as_str().unwrap().starts_with("UNNOTICED_CAPTURE");
        let flags: Vec<&Value> = report["flags"].as_array().unwrap().iter().collect();
        let flags: Vec<&Value> = flags.into_iter().filter(|it| !of_obligations(it)).collect();
        assert_eq!(snapshot["flags"], json!(flags), "flags of {name}");
    }
}

#[test]
fn every_scenario_has_the_expected_indications() {
    for (name, facts, scenario) in scenarios() {
        for asked in scenario["indications"].as_array().unwrap() {
            let snapshot = snapshot_json(&facts, &asked["now"]);
            let now = &asked["now"];
            assert_eq!(snapshot["indications"], asked["answer"], "{name} at {now}");
        }
    }
}

#[test]
fn without_facts_nothing_is_known() {
    let snapshot = call_snapshot(&[], 1_000, &Parameters::default());
    assert_eq!(snapshot.call, None);
    assert_eq!(snapshot.indications, Indications::default());
    assert_eq!(snapshot.next_change, None);
}

#[test]
fn a_fact_of_the_future_is_the_next_change() {
    let started = [Fact::new("f1", 2_000, FactKind::CallStarted)];
    let snapshot = call_snapshot(&started, 1_000, &Parameters::default());
    assert_eq!(snapshot.call, None);
    assert_eq!(snapshot.next_change, Some(2_000));
}

#[test]
fn facts_of_unknown_kinds_make_no_call_but_may_be_in_conflict() {
    let facts = json!([
        {"id": "f1", "kind": "other", "at": 1, "extra": false},
        {"id": "f1", "kind": "other", "at": 1, "extra": true},
    ]);
    let snapshot = snapshot_json(&read_facts(facts).unwrap(), &json!(10));
    assert_eq!(snapshot["call"], Value::Null);
    assert_eq!(snapshot["flags"], json!(["CONFLICT:f1"]));
}

#[test]
fn the_next_change_of_an_off_is_its_settling() {
    let facts = json!([
        {"id": "f1", "kind": "report", "at": 1_000, "session": "a", "reporter": "a1", "sequence": 1, "recording": "on"},
        {"id": "f2", "kind": "report", "at": 2_000, "session": "a", "reporter": "a1", "sequence": 2, "recording": "off"},
    ]);
    let facts = read_facts(facts).unwrap();
    let snapshot = call_snapshot(&facts, 2_000, &Parameters::default());
    assert_eq!(snapshot.indications.recording.state, IndicationState::On);
    assert_eq!(snapshot.next_change, Some(7_000));
    let settled = call_snapshot(&facts, 7_000, &Parameters::default());
    assert_eq!(settled.indications.recording.state, IndicationState::Off);
}

#[test]
fn the_next_change_of_a_single_reporter_is_when_it_becomes_stale() {
    let facts = json!([
        {"id": "f1", "kind": "session.joined", "at": 1_000, "session": "a"},
        {"id": "f2", "kind": "report", "at": 1_000, "session": "a", "reporter": "a1", "sequence": 1, "recording": "on"},
    ]);
    let facts = read_facts(facts).unwrap();
    let snapshot = call_snapshot(&facts, 1_000, &Parameters::default());
    assert_eq!(snapshot.next_change, Some(91_001));
    assert!(!snapshot.indications.recording.stale);
    let stale = call_snapshot(&facts, 91_001, &Parameters::default());
    assert!(stale.indications.recording.stale);
    assert_eq!(stale.next_change, None);
}

#[test]
fn an_ended_call_has_no_next_change() {
    let facts = json!([
        {"id": "f1", "kind": "report", "at": 1_000, "session": "a", "reporter": "a1", "sequence": 1, "recording": "on"},
        {"id": "f2", "kind": "call.ended", "at": 2_000},
    ]);
    let snapshot = call_snapshot(&read_facts(facts).unwrap(), 2_000, &Parameters::default());
    assert_eq!(snapshot.next_change, None);
}

proptest! {
    #[test]
    fn any_order_and_repetition_of_the_facts_gives_the_same_snapshot(
        (facts, disordered) in random_call::facts().prop_flat_map(shuffled),
        now in 0..AFTER_ALL,
    ) {
        prop_assert_eq!(call_snapshot(&facts, now, &PARAMETERS), call_snapshot(&disordered, now, &PARAMETERS));
    }

    #[test]
    fn facts_read_back_from_their_json_give_the_same_snapshot(
        facts in random_call::facts(),
        now in 0..AFTER_ALL,
    ) {
        let stored = serde_json::to_value(&facts).unwrap();
        let read = read_facts(stored).unwrap();
        prop_assert_eq!(call_snapshot(&facts, now, &PARAMETERS), call_snapshot(&read, now, &PARAMETERS));
    }

    #[test]
    fn indications_do_not_change_before_the_next_change(
        facts in random_call::facts(),
        now in -10..AFTER_ALL,
    ) {
        let snapshot = call_snapshot(&facts, now, &PARAMETERS);
        let next = snapshot.next_change.unwrap_or(AFTER_ALL + 100);
        prop_assert!(next > now);
        for later in now..next {
            let then = call_snapshot(&facts, later, &PARAMETERS);
            prop_assert_eq!(then.indications, snapshot.indications, "at {}", later);
        }
    }

    #[test]
    fn without_new_facts_a_stale_on_stays_on(
        facts in random_call::facts(),
        now in 0..AFTER_ALL,
        later in 0..10_000_i64,
    ) {
        let known: Vec<Fact> = facts.into_iter().filter(|fact| fact.at() <= now).collect();
        let before = call_snapshot(&known, now, &PARAMETERS).indications;
        let after = call_snapshot(&known, now + later, &PARAMETERS).indications;
        for capture_type in CaptureType::ALL {
            if before.of(capture_type).stale {
                prop_assert_eq!(before.of(capture_type), after.of(capture_type));
            }
        }
    }

    #[test]
    fn captures_do_not_overlap_and_lie_within_the_call(
        facts in random_call::facts(),
        now in 0..AFTER_ALL,
    ) {
        let snapshot = call_snapshot(&facts, now, &PARAMETERS);
        for capture_type in CaptureType::ALL {
            let captures = snapshot.captures.iter().filter(|it| it.capture_type == capture_type);
            let mut previous: Option<&Capture> = None;
            for capture in captures {
                prop_assert!(capture.ended_at.is_none_or(|end| capture.started_at < end && end <= now));
                if let Some(previous) = previous {
                    let gap = previous.ended_at.map(|end| capture.started_at - end);
                    prop_assert!(gap.is_some_and(|gap| gap > PARAMETERS.bridge));
                }
                previous = Some(capture);
            }
            if let Some(end) = snapshot.call.and_then(|call| call.ended_at) {
                prop_assert!(previous.is_none_or(|last| last.ended_at.is_some_and(|it| it <= end)));
            }
        }
    }

    #[test]
    fn no_json_makes_the_snapshot_panic(facts in any_json(), now in any::<i64>()) {
        let facts = match facts {
            Value::Array(_) => facts,
            other => json!([other]),
        };
        if let Ok(facts) = read_facts(facts) {
            let snapshot = call_snapshot(&facts, now, &Parameters::default());
            prop_assert!(snapshot.next_change.is_none_or(|next| next > now));
        }
    }

    #[test]
    fn no_number_makes_the_snapshot_panic(
        facts in proptest::collection::vec(almost_a_fact(), 0..12),
        now in prop_oneof![Just(i64::MIN), Just(0), Just(i64::MAX), any::<i64>()],
    ) {
        let facts: Vec<Fact> = facts.into_iter().map(Fact::from_json).filter_map(Result::ok).collect();
        let snapshot = call_snapshot(&facts, now, &Parameters::default());
        prop_assert!(snapshot.next_change.is_none_or(|next| next > now));
    }
}

#[test]
fn a_recording_that_is_stated_to_precede_its_call_by_more_than_clocks_differ_begins_with_it() {
    let facts = |started_at: i64, file: bool| {
        let capture = if file {
            json!({"id": "f2", "kind": "file", "at": 9_000_000, "recording": "r", "index": 0, "started_at": started_at, "duration_ms": 8_500_000})
        } else {
            json!({"id": "f2", "kind": "provider.state", "at": 8_100_000, "type": "recording", "recording": "r", "state": "active", "started_at": started_at})
        };
        read_facts(json!([{"id": "f1", "kind": "call.started", "at": 8_000_000}, capture])).unwrap()
    };
    for file in [false, true] {
        for (started_at, begins_at, is_cut) in
            [(7_700_000, 7_700_000, false), (7_699_999, 8_000_000, true), (1, 8_000_000, true)]
        {
            let snapshot =
                call_snapshot(&facts(started_at, file), 9_000_000, &Parameters::default());
            assert_eq!(snapshot.captures[0].started_at, begins_at, "{started_at} {file}");
            let cut = Flag::StartCut("r".to_owned());
            assert_eq!(snapshot.flags.contains(&cut), is_cut, "{started_at} {file}");
        }
    }
}
