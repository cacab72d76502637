//! What was posted and observed of the calls of a run, and the comparison with their scripts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;

use crate::call::script::{CallScript, DeliveryNumber};
use crate::observe::call_observation::{CallObservation, ObservationCheck, ObservedChange};

/// The observations of a run. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct ObservationLog {
    state: Arc<Mutex<ObservationState>>,
}

#[derive(Debug, Default)]
struct ObservationState {
    calls: HashMap<u64, CallObservation>,
    by_anchor: HashMap<String, u64>,
    /// Calls without a script, by their public id.
    others: HashMap<String, CallObservation>,
}

impl ObservationLog {
    fn lock(&self) -> MutexGuard<'_, ObservationState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the record of a call.
    pub fn open(&self, script: &CallScript) {
        let mut state = self.lock();
        for anchor in &script.anchors {
            state.by_anchor.insert(anchor.to_string(), script.number);
        }
        state.calls.insert(script.number, CallObservation::new(script));
    }

    /// Records that a delivery is posted for the first time.
    pub fn record_post(&self, call: u64, delivery: DeliveryNumber, at: Instant) {
        if let Some(record) = self.lock().calls.get_mut(&call) {
            record.posted.entry(delivery).or_insert(at);
        }
    }

    /// Records a snapshot or notice. Returns the changes in it, also those of calls without a
    /// script.
    pub fn record_message(&self, kind: &str, body: &Value, at: Instant) -> Vec<ObservedChange> {
        let aliases = body.get("aliases").and_then(Value::as_array);
        let names = || {
            let aliases = aliases.into_iter().flatten();
            let all = body.get("call").into_iter().chain(aliases);
            all.filter_map(Value::as_str)
        };
        let mut state = self.lock();
        let ObservationState { calls, by_anchor, others } = &mut *state;
        let scripted = names().find_map(|name| by_anchor.get(name));
        let record = match scripted {
            Some(call) => calls.get_mut(call),
            None => {
                names().find(|name| others.contains_key(*name)).or(names().next()).map(|name| {
                    let other = || CallObservation::without_script(name);
                    others.entry(name.to_owned()).or_insert_with(other)
                })
            }
        };
        record.map(|record| record.record_message(kind, body, at)).unwrap_or_default()
    }

    /// Compares the observed changes of a call so far with its script.
    #[must_use]
    pub fn check(&self, call: u64) -> ObservationCheck {
        self.lock().calls.get(&call).map(CallObservation::check).unwrap_or_default()
    }

    /// The same, and removes the call.
    #[must_use]
    pub fn close(&self, call: u64) -> ObservationCheck {
        let mut state = self.lock();
        let Some(record) = state.calls.remove(&call) else {
            return ObservationCheck::default();
        };
        for anchor in &record.anchors {
            state.by_anchor.remove(anchor);
        }
        record.check()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::call::script::{ChangeTrigger, ExpectedChange};
    use crate::observe::call_observation::ChangeLatency;
    use onrecord_evidence::fact::kinds::CaptureType;
    use onrecord_evidence::identity::alias_graph::Anchor;
    use onrecord_evidence::notice::indication::IndicationState;

    const RECORDING: CaptureType = CaptureType::Recording;
    const CALL: &str = "c0000000-0000-4000-8000-000000000001";

    fn log_of(triggers: &[(IndicationState, ChangeTrigger)]) -> ObservationLog {
        let observations = ObservationLog::default();
        let change = |(state, trigger): &(IndicationState, ChangeTrigger)| ExpectedChange {
            capture_type: RECORDING,
            state: *state,
            trigger: trigger.clone(),
        };
        observations.open(&CallScript {
            number: 1,
            title: "call",
            public_id: CALL.to_owned(),
            anchors: BTreeSet::from([Anchor::correlation(CALL), Anchor::server("https://s")]),
            deliveries: Vec::new(),
            changes: triggers.iter().map(change).collect(),
            length: 0,
        });
        observations
    }

    /// A message of the stream, each with an id of its own.
    fn message(call: &str, recording: &str, id: u32) -> Value {
        json!({ "id": id.to_string(), "call": call, "aliases": [],
            "indication": { "recording": { "state": recording, "kinds": ["teams"], "sources": ["provider"] }, "transcription": { "state": "unknown" } } })
    }

    fn observe(observations: &ObservationLog, kind: &str, states: &[&str], at: Instant) {
        for (state, id) in states.iter().zip(100..) {
            observations.record_message(kind, &message(CALL, state, id), at);
        }
    }

    use IndicationState::{Off, On};

    #[test]
    fn latency_is_measured_from_the_delivery_that_caused_the_change() {
        let observations = log_of(&[
            (On, ChangeTrigger::FirstOf(vec![3, 4])),
            (Off, ChangeTrigger::SettledOff(vec![5, 6])),
        ]);
        let begin = Instant::now();
        for (id, after) in [(4, 10), (3, 20), (5, 1000), (6, 1200)] {
            observations.record_post(1, id, begin + Duration::from_millis(after));
        }
        let on = observations.record_message(
            "notice",
            &message(Anchor::server("https://s").as_str(), "on", 1),
            begin + Duration::from_millis(17),
        );
        assert_eq!(on.len(), 1);
        assert_eq!(on[0].latency, Some(ChangeLatency::OfDelivery(Duration::from_millis(7))));
        assert_eq!(on[0].sources, ["provider", "teams"]);
        let off = observations.record_message(
            "notice",
            &message(CALL, "off", 2),
            begin + Duration::from_millis(6230),
        );
        assert_eq!(off[0].latency, Some(ChangeLatency::AfterBridge(Duration::from_millis(30))));
        assert_eq!(
            observations.close(1),
            ObservationCheck { expected: 2, observed: 2, differences: Vec::new() }
        );
        assert_eq!(observations.close(1), ObservationCheck::default());
    }

    #[test]
    fn a_missing_additional_or_unannounced_change_is_a_difference() {
        let triggers =
            [(On, ChangeTrigger::FirstOf(vec![1])), (Off, ChangeTrigger::CallEnded(vec![2]))];
        for (kind, states, differs) in [
            ("notice", vec!["unknown", "off", "on", "off"], false),
            ("notice", vec!["on"], true),
            ("notice", vec![], true),
            ("notice", vec!["on", "off", "on", "off"], true),
            ("snapshot", vec!["on", "off"], true),
        ] {
            let observations = log_of(&triggers);
            observe(&observations, kind, &states, Instant::now());
            assert_eq!(!observations.check(1).differences.is_empty(), differs, "{states:?}");
        }
        let observations = log_of(&triggers);
        let now = Instant::now();
        observations.record_message("notice", &message(CALL, "on", 1), now);
        observations.record_message("snapshot", &message(CALL, "off", 2), now);
        assert_eq!(observations.check(1).differences, Vec::<String>::new());
    }

    #[test]
    fn calls_without_a_script_are_observed_too() {
        let observations = log_of(&[]);
        let now = Instant::now();
        let observed: Vec<usize> = ["off", "on", "on", "off"]
            .into_iter()
            .zip(1..)
            .map(|(state, id)| {
                observations.record_message("notice", &message("other", state, id), now).len()
            })
            .collect();
        assert_eq!(observed, [0, 1, 0, 1]);
        assert_eq!(observations.check(1), ObservationCheck::default());
    }

    #[test]
    fn a_repeated_notice_is_observed_once() {
        let observations =
            log_of(&[(On, ChangeTrigger::FirstOf(vec![1])), (Off, ChangeTrigger::LastOf(vec![2]))]);
        let now = Instant::now();
        for id in [1, 2, 1, 2] {
            observations.record_message(
                "notice",
                &message(CALL, if id == 1 { "on" } else { "off" }, id),
                now,
            );
        }
        assert_eq!(
            observations.check(1),
            ObservationCheck { expected: 2, observed: 2, differences: Vec::new() }
        );
    }

    #[test]
    fn an_off_that_is_soon_taken_back_must_not_be_observed() {
        let triggers = [
            (On, ChangeTrigger::FirstOf(vec![1])),
            (Off, ChangeTrigger::Flapped { off: 2, on: 3 }),
            (Off, ChangeTrigger::CallEnded(vec![4])),
        ];
        for (apart, states, differs) in [
            (1_000, vec!["on", "off"], false),
            (1_000, vec!["on", "off", "on", "off"], true),
            (4_500, vec!["on", "off"], false),
            (4_500, vec!["on", "off", "on", "off"], false),
        ] {
            let observations = log_of(&triggers);
            let begin = Instant::now();
            observations.record_post(1, 2, begin);
            observations.record_post(1, 3, begin + Duration::from_millis(apart));
            observe(&observations, "notice", &states, begin);
            assert_eq!(
                !observations.check(1).differences.is_empty(),
                differs,
                "{apart} {states:?}"
            );
        }
    }
}
