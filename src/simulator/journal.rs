//! What was posted when, what was heard, and whether that is what the scripts call for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;

use super::record::{Record, Told, Verdict};
use super::script::{DeliveryId, Script};

/// The journal of a run; its clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    calls: HashMap<u64, Record>,
    by_anchor: HashMap<String, u64>,
    /// Calls that somebody else makes, by their public id.
    strangers: HashMap<String, Record>,
}

impl Journal {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins.
    pub fn open(&self, script: &Script) {
        let mut state = self.lock();
        for anchor in &script.anchors {
            state.by_anchor.insert(anchor.to_string(), script.number);
        }
        state.calls.insert(script.number, Record::new(script));
    }

    /// A delivery is about to be posted for the first time.
    pub fn posting(&self, call: u64, delivery: DeliveryId, at: Instant) {
        if let Some(record) = self.lock().calls.get_mut(&call) {
            record.posting(delivery, at);
        }
    }

    /// A snapshot or notice was heard. Gives what changed by it, also of calls that are not ours.
    pub fn heard(&self, kind: &str, body: &Value, at: Instant) -> Vec<Told> {
        let aliases = body.get("aliases").and_then(Value::as_array);
        let names = || {
            let aliases = aliases.into_iter().flatten();
            let all = body.get("call").into_iter().chain(aliases);
            all.filter_map(Value::as_str)
        };
        let mut state = self.lock();
        let State {
            calls,
            by_anchor,
            strangers,
        } = &mut *state;
        let ours = names().find_map(|name| by_anchor.get(name));
        let record = match ours {
            Some(call) => calls.get_mut(call),
            None => names()
                .find(|name| strangers.contains_key(*name))
                .or(names().next())
                .map(|name| {
                    let stranger = || Record::of_a_stranger(name);
                    strangers.entry(name.to_owned()).or_insert_with(stranger)
                }),
        };
        record.map_or_else(Vec::new, |record| record.heard(kind, body, at))
    }

    /// Whether what was heard of a call so far is all that there is to hear.
    #[must_use]
    pub fn verdict(&self, call: u64) -> Verdict {
        self.lock()
            .calls
            .get(&call)
            .map(Record::verdict)
            .unwrap_or_default()
    }

    /// The same, and forgets the call.
    #[must_use]
    pub fn close(&self, call: u64) -> Verdict {
        let mut state = self.lock();
        let Some(record) = state.calls.remove(&call) else {
            return Verdict::default();
        };
        for anchor in record.anchors() {
            state.by_anchor.remove(anchor);
        }
        record.verdict()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use serde_json::json;

    use super::super::record::Latency;
    use super::super::script::{Cause, Change};
    use super::*;
    use crate::domain::alias::Anchor;
    use crate::domain::fact::CaptureType;
    use crate::domain::indication::IndicationState;

    const RECORDING: CaptureType = CaptureType::Recording;
    const CALL: &str = "c0000000-0000-4000-8000-000000000001";

    fn journal(causes: &[(IndicationState, Cause)]) -> Journal {
        let journal = Journal::default();
        let change = |(state, cause): &(IndicationState, Cause)| Change {
            capture: RECORDING,
            state: *state,
            cause: cause.clone(),
        };
        journal.open(&Script {
            number: 1,
            title: "call",
            public_id: CALL.to_owned(),
            anchors: BTreeSet::from([Anchor::correlation(CALL), Anchor::server("https://s")]),
            deliveries: Vec::new(),
            changes: causes.iter().map(change).collect(),
            length: 0,
        });
        journal
    }

    /// A message of the stream, each with an id of its own.
    fn message(call: &str, recording: &str, id: u32) -> Value {
        json!({ "id": id.to_string(), "call": call, "aliases": [],
            "indication": { "recording": { "state": recording, "kinds": ["teams"], "sources": ["provider"] }, "transcription": { "state": "unknown" } } })
    }

    fn hear(journal: &Journal, kind: &str, states: &[&str], at: Instant) {
        for (state, id) in states.iter().zip(100..) {
            journal.heard(kind, &message(CALL, state, id), at);
        }
    }

    use IndicationState::{Off, On};

    #[test]
    fn what_is_heard_is_measured_from_the_delivery_that_made_it() {
        let journal = journal(&[
            (On, Cause::First(vec![3, 4])),
            (Off, Cause::Settled(vec![5, 6])),
        ]);
        let begin = Instant::now();
        for (id, after) in [(4, 10), (3, 20), (5, 1000), (6, 1200)] {
            journal.posting(1, id, begin + Duration::from_millis(after));
        }
        let on = journal.heard(
            "notice",
            &message(Anchor::server("https://s").as_str(), "on", 1),
            begin + Duration::from_millis(17),
        );
        assert_eq!(on.len(), 1);
        assert_eq!(
            on[0].latency,
            Some(Latency::OfDelivery(Duration::from_millis(7)))
        );
        assert_eq!(on[0].sources, ["provider", "teams"]);
        let off = journal.heard(
            "notice",
            &message(CALL, "off", 2),
            begin + Duration::from_millis(6230),
        );
        assert_eq!(
            off[0].latency,
            Some(Latency::AfterBridge(Duration::from_millis(30)))
        );
        assert_eq!(
            journal.close(1),
            Verdict {
                expected: 2,
                heard: 2,
                differences: Vec::new()
            }
        );
        assert_eq!(journal.close(1), Verdict::default());
    }

    #[test]
    fn what_is_missing_too_much_or_only_stated_is_a_difference() {
        let causes = [(On, Cause::First(vec![1])), (Off, Cause::CallOver(vec![2]))];
        for (kind, states, differs) in [
            ("notice", vec!["unknown", "off", "on", "off"], false),
            ("notice", vec!["on"], true),
            ("notice", vec![], true),
            ("notice", vec!["on", "off", "on", "off"], true),
            ("snapshot", vec!["on", "off"], true),
        ] {
            let journal = journal(&causes);
            hear(&journal, kind, &states, Instant::now());
            assert_eq!(
                !journal.verdict(1).differences.is_empty(),
                differs,
                "{states:?}"
            );
        }
        let journal = journal(&causes);
        let now = Instant::now();
        journal.heard("notice", &message(CALL, "on", 1), now);
        journal.heard("snapshot", &message(CALL, "off", 2), now);
        assert_eq!(journal.verdict(1).differences, Vec::<String>::new());
    }

    #[test]
    fn calls_that_somebody_else_makes_are_heard_too() {
        let journal = journal(&[]);
        let now = Instant::now();
        let heard: Vec<usize> = ["off", "on", "on", "off"]
            .into_iter()
            .zip(1..)
            .map(|(state, id)| {
                journal
                    .heard("notice", &message("stranger", state, id), now)
                    .len()
            })
            .collect();
        assert_eq!(heard, [0, 1, 0, 1]);
        assert_eq!(journal.verdict(1), Verdict::default());
    }

    #[test]
    fn a_notice_that_is_told_twice_is_heard_once() {
        let journal = journal(&[(On, Cause::First(vec![1])), (Off, Cause::Last(vec![2]))]);
        let now = Instant::now();
        for id in [1, 2, 1, 2] {
            journal.heard(
                "notice",
                &message(CALL, if id == 1 { "on" } else { "off" }, id),
                now,
            );
        }
        assert_eq!(
            journal.verdict(1),
            Verdict {
                expected: 2,
                heard: 2,
                differences: Vec::new()
            }
        );
    }

    #[test]
    fn an_off_that_is_soon_taken_back_must_not_be_heard() {
        let causes = [
            (On, Cause::First(vec![1])),
            (Off, Cause::Flapped { off: 2, on: 3 }),
            (Off, Cause::CallOver(vec![4])),
        ];
        for (apart, states, differs) in [
            (1_000, vec!["on", "off"], false),
            (1_000, vec!["on", "off", "on", "off"], true),
            (4_500, vec!["on", "off"], false),
            (4_500, vec!["on", "off", "on", "off"], false),
        ] {
            let journal = journal(&causes);
            let begin = Instant::now();
            journal.posting(1, 2, begin);
            journal.posting(1, 3, begin + Duration::from_millis(apart));
            hear(&journal, "notice", &states, begin);
            assert_eq!(
                !journal.verdict(1).differences.is_empty(),
                differs,
                "{apart} {states:?}"
            );
        }
    }
}
