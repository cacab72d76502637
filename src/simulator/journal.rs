//! What was posted when, what was heard, and whether that is what the scripts call for.
//!
//! # Why
//!
//! What must be heard is told by the script alone, never by the service that is put to the proof;
//! only whether a client's off lasted long enough to be believed depends on when it was posted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::script::{Cause, Change, DeliveryId, Script};
use crate::domain::fact::CaptureType;
use crate::domain::indication::IndicationState;
use crate::domain::parameters::Parameters;

/// An off that lasted this much less than the bridge was certainly not believed.
const CERTAIN: Duration = Duration::from_secs(1);

/// The journal of a run; its clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    calls: HashMap<u64, Record>,
    by_anchor: HashMap<String, u64>,
}

/// One call.
#[derive(Debug)]
struct Record {
    title: &'static str,
    correlation_id: String,
    anchors: Vec<String>,
    changes: Vec<Change>,
    posted: BTreeMap<DeliveryId, Instant>,
    /// The ids of notices: a stream that is taken up again tells some twice.
    ids: HashSet<String>,
    heard: Vec<Told>,
}

/// A change that was heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub call: u64,
    pub title: &'static str,
    pub correlation_id: String,
    pub capture: CaptureType,
    pub state: IndicationState,
    /// It came as a notice, not as a snapshot.
    pub announced: bool,
    pub latency: Option<Latency>,
    /// While it is on: who tells of it, and the provider's kinds.
    pub sources: Vec<String>,
}

/// How long a change took to be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// Since the delivery that made it was posted.
    OfDelivery(Duration),
    /// Since the bridge was over, which begins with the posting of the last client's off.
    AfterBridge(Duration),
}

/// Whether what was heard of a call is what its script calls for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Changes that had to be heard.
    pub expected: usize,
    /// Those that were.
    pub heard: usize,
    /// A sentence each.
    pub differences: Vec<String>,
}

impl Journal {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins.
    pub fn open(&self, script: &Script) {
        let anchors: Vec<String> = script.anchors.iter().map(ToString::to_string).collect();
        let mut state = self.lock();
        for anchor in &anchors {
            state.by_anchor.insert(anchor.clone(), script.number);
        }
        let record = Record {
            title: script.title,
            correlation_id: script.correlation_id.clone(),
            anchors,
            changes: script.changes.clone(),
            posted: BTreeMap::new(),
            ids: HashSet::new(),
            heard: Vec::new(),
        };
        state.calls.insert(script.number, record);
    }

    /// A delivery is about to be posted for the first time.
    pub fn posting(&self, call: u64, delivery: DeliveryId, at: Instant) {
        if let Some(record) = self.lock().calls.get_mut(&call) {
            record.posted.entry(delivery).or_insert(at);
        }
    }

    /// A snapshot or notice was heard. Gives what changed by it.
    pub fn heard(&self, kind: &str, body: &Value, at: Instant) -> Vec<Told> {
        let mut state = self.lock();
        let aliases = body.get("aliases").and_then(Value::as_array).into_iter().flatten();
        let names = body.get("call").into_iter().chain(aliases).filter_map(Value::as_str);
        let call = names.filter_map(|name| state.by_anchor.get(name).copied()).next();
        let Some((call, record)) = call.and_then(|call| Some((call, state.calls.get_mut(&call)?))) else {
            return Vec::new();
        };
        let id = body.get("id").and_then(Value::as_str).unwrap_or_default();
        if !record.ids.insert(id.to_owned()) {
            return Vec::new();
        }
        CaptureType::ALL.into_iter().filter_map(|capture| record.hear(call, capture, kind, body, at)).collect()
    }

    /// Whether what was heard of a call so far is all that there is to hear.
    #[must_use]
    pub fn verdict(&self, call: u64) -> Verdict {
        self.lock().calls.get(&call).map(Record::verdict).unwrap_or_default()
    }

    /// The same, and forgets the call.
    #[must_use]
    pub fn close(&self, call: u64) -> Verdict {
        let mut state = self.lock();
        let Some(record) = state.calls.remove(&call) else { return Verdict::default() };
        for anchor in &record.anchors {
            state.by_anchor.remove(anchor);
        }
        record.verdict()
    }
}

impl Record {
    fn hear(&mut self, call: u64, capture: CaptureType, kind: &str, body: &Value, at: Instant) -> Option<Told> {
        let view = body.get("indication")?.get(capture.as_str())?;
        let state: IndicationState = serde_json::from_value(view.get("state")?.clone()).ok()?;
        let heard = || self.heard.iter().filter(|told| told.capture == capture);
        let before = heard().next_back().map_or(IndicationState::Off, |told| told.state);
        let is_first_word = heard().next().is_none();
        // Not knowing yet is no change of anything.
        if state == before || (is_first_word && state == IndicationState::Unknown) {
            return None;
        }
        let number = heard().count();
        let expected = self.expected(capture, false).nth(number).filter(|change| change.state == state);
        let list = |name| view.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let told = Told {
            call,
            title: self.title,
            correlation_id: self.correlation_id.clone(),
            capture,
            state,
            announced: kind == "notice",
            latency: expected.and_then(|change| self.latency(change.cause, at)),
            sources: list("sources").chain(list("kinds")).map(str::to_owned).collect(),
        };
        self.heard.push(told.clone());
        Some(told)
    }

    fn latency(&self, cause: &Cause, at: Instant) -> Option<Latency> {
        let posted = |ids: &[DeliveryId]| -> Vec<Instant> { ids.iter().filter_map(|id| self.posted.get(id).copied()).collect() };
        match cause {
            Cause::First(ids) => posted(ids).into_iter().min().map(|posted| Latency::OfDelivery(at.saturating_duration_since(posted))),
            Cause::Last(ids) => posted(ids).into_iter().max().map(|posted| Latency::OfDelivery(at.saturating_duration_since(posted))),
            Cause::Settled(ids) => {
                let due = posted(ids).into_iter().max()? + bridge();
                Some(Latency::AfterBridge(at.saturating_duration_since(due)))
            }
            // Several deliveries end a call, and which of them does it is theirs to say.
            Cause::Flapped { .. } | Cause::CallOver(_) => None,
        }
    }

    /// What must be heard of a type. A client's off that was soon taken back is not, unless
    /// `with_flaps`.
    fn expected(&self, capture: CaptureType, with_flaps: bool) -> impl Iterator<Item = Expected<'_>> {
        let of_type = self.changes.iter().filter(move |change| change.capture == capture);
        of_type.flat_map(move |change| {
            let cause = &change.cause;
            match cause {
                Cause::Flapped { .. } if with_flaps => {
                    vec![Expected { state: IndicationState::Off, cause }, Expected { state: IndicationState::On, cause }]
                }
                Cause::Flapped { .. } => Vec::new(),
                _ => vec![Expected { state: change.state, cause }],
            }
        })
    }

    /// Whether an off may have lasted long enough to be believed before it was taken back.
    fn may_have_flapped(&self) -> bool {
        self.changes.iter().any(|change| match change.cause {
            Cause::Flapped { off, on } => match (self.posted.get(&off), self.posted.get(&on)) {
                (Some(off), Some(on)) => on.saturating_duration_since(*off) + CERTAIN > bridge(),
                _ => false,
            },
            _ => false,
        })
    }

    fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for capture in CaptureType::ALL {
            let heard: Vec<&Told> = self.heard.iter().filter(|told| told.capture == capture).collect();
            let mut expected: Vec<Expected<'_>> = self.expected(capture, false).collect();
            if !fits(&expected, &heard) && self.may_have_flapped() {
                expected = self.expected(capture, true).collect();
            }
            verdict.expected += expected.len();
            let agreeing = expected.iter().zip(&heard).take_while(|(expected, heard)| expected.state == heard.state);
            let agreeing = agreeing.filter(|(expected, heard)| expected.may_be_stated() || heard.announced).count();
            verdict.heard += agreeing;
            if agreeing != expected.len() || heard.len() != expected.len() {
                verdict.differences.push(self.difference(capture, &expected, &heard));
            }
        }
        verdict
    }

    fn difference(&self, capture: CaptureType, expected: &[Expected<'_>], heard: &[&Told]) -> String {
        let list = |words: Vec<String>| if words.is_empty() { "nothing".to_owned() } else { words.join(", ") };
        let expected = list(expected.iter().map(|expected| expected.state.as_str().to_owned()).collect());
        let heard = list(
            heard
                .iter()
                .map(|told| {
                    let state = told.state.as_str();
                    if told.announced { state.to_owned() } else { format!("{state} (stated, not announced)") }
                })
                .collect(),
        );
        format!(
            "call {} ({}), {}: {expected} had to be heard, {heard} was",
            self.correlation_id,
            self.title,
            capture.as_str()
        )
    }
}

/// A change that must be heard.
struct Expected<'r> {
    state: IndicationState,
    cause: &'r Cause,
}

impl Expected<'_> {
    /// When a call is over, nothing is announced any more (law 8).
    fn may_be_stated(&self) -> bool {
        matches!(self.cause, Cause::CallOver(_))
    }
}

fn fits(expected: &[Expected<'_>], heard: &[&Told]) -> bool {
    expected.iter().map(|expected| expected.state).eq(heard.iter().map(|told| told.state))
}

fn bridge() -> Duration {
    Duration::from_millis(u64::try_from(Parameters::default().bridge).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::domain::alias::Anchor;

    const RECORDING: CaptureType = CaptureType::Recording;
    const CALL: &str = "c0000000-0000-4000-8000-000000000001";

    fn journal(causes: &[(IndicationState, Cause)]) -> Journal {
        let journal = Journal::default();
        let change = |(state, cause): &(IndicationState, Cause)| Change { capture: RECORDING, state: *state, cause: cause.clone() };
        journal.open(&Script {
            number: 1,
            title: "call",
            correlation_id: CALL.to_owned(),
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
        let journal = journal(&[(On, Cause::First(vec![3, 4])), (Off, Cause::Settled(vec![5, 6]))]);
        let begin = Instant::now();
        for (id, after) in [(4, 10), (3, 20), (5, 1000), (6, 1200)] {
            journal.posting(1, id, begin + Duration::from_millis(after));
        }
        let on = journal.heard("notice", &message(Anchor::server("https://s").as_str(), "on", 1), begin + Duration::from_millis(17));
        assert_eq!(on.len(), 1);
        assert_eq!(on[0].latency, Some(Latency::OfDelivery(Duration::from_millis(7))));
        assert_eq!(on[0].sources, ["provider", "teams"]);
        let off = journal.heard("notice", &message(CALL, "off", 2), begin + Duration::from_millis(6230));
        assert_eq!(off[0].latency, Some(Latency::AfterBridge(Duration::from_millis(30))));
        assert_eq!(journal.close(1), Verdict { expected: 2, heard: 2, differences: Vec::new() });
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
            assert_eq!(!journal.verdict(1).differences.is_empty(), differs, "{states:?}");
        }
        let journal = journal(&causes);
        let now = Instant::now();
        journal.heard("notice", &message(CALL, "on", 1), now);
        journal.heard("snapshot", &message(CALL, "off", 2), now);
        assert_eq!(journal.verdict(1).differences, Vec::<String>::new());
    }

    #[test]
    fn a_notice_that_is_told_twice_is_heard_once() {
        let journal = journal(&[(On, Cause::First(vec![1])), (Off, Cause::Last(vec![2]))]);
        let now = Instant::now();
        for id in [1, 2, 1, 2] {
            journal.heard("notice", &message(CALL, if id == 1 { "on" } else { "off" }, id), now);
        }
        assert_eq!(journal.verdict(1), Verdict { expected: 2, heard: 2, differences: Vec::new() });
    }

    #[test]
    fn an_off_that_is_soon_taken_back_must_not_be_heard() {
        let causes = [(On, Cause::First(vec![1])), (Off, Cause::Flapped { off: 2, on: 3 }), (Off, Cause::CallOver(vec![4]))];
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
            assert_eq!(!journal.verdict(1).differences.is_empty(), differs, "{apart} {states:?}");
        }
    }
}
