//! One call as it was posted and heard, and what had to be heard of it.
//!
//! # Why
//!
//! What must be heard is told by the script alone, never by the service that is put to the proof;
//! only whether a client's off lasted long enough to be believed depends on when it was posted.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::script::{Cause, Change, DeliveryId, Script};
use crate::domain::fact::CaptureType;
use crate::domain::indication::IndicationState;
use crate::domain::parameters::Parameters;

/// An off that lasted this much less than the bridge was certainly not believed.
const CERTAIN: Duration = Duration::from_secs(1);

/// One call.
#[derive(Debug)]
pub(super) struct Record {
    title: &'static str,
    public_id: String,
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
    pub title: &'static str,
    pub public_id: String,
    pub capture: CaptureType,
    pub state: IndicationState,
    /// It came as a notice, not as a snapshot.
    pub announced: bool,
    pub latency: Option<Latency>,
    /// The end of the call made it.
    pub is_over: bool,
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

impl Record {
    /// Nothing is posted yet.
    pub fn new(script: &Script) -> Self {
        Self {
            title: script.title,
            public_id: script.public_id.clone(),
            anchors: script.anchors.iter().map(ToString::to_string).collect(),
            changes: script.changes.clone(),
            posted: BTreeMap::new(),
            ids: HashSet::new(),
            heard: Vec::new(),
        }
    }

    /// A call of which there is no script.
    pub fn of_a_stranger(public_id: &str) -> Self {
        Self {
            title: "not a simulated call",
            public_id: public_id.to_owned(),
            anchors: Vec::new(),
            changes: Vec::new(),
            posted: BTreeMap::new(),
            ids: HashSet::new(),
            heard: Vec::new(),
        }
    }

    /// Under which a message may name it.
    pub fn anchors(&self) -> &[String] {
        &self.anchors
    }

    /// A delivery is posted; the first time counts.
    pub fn posting(&mut self, delivery: DeliveryId, at: Instant) {
        self.posted.entry(delivery).or_insert(at);
    }

    /// A message of the stream is about this call. Gives what changed by it.
    pub fn heard(&mut self, kind: &str, body: &Value, at: Instant) -> Vec<Told> {
        let id = body.get("id").and_then(Value::as_str).unwrap_or_default();
        if !self.ids.insert(id.to_owned()) {
            return Vec::new();
        }
        CaptureType::ALL
            .into_iter()
            .filter_map(|capture| self.hear(capture, kind, body, at))
            .collect()
    }

    fn hear(
        &mut self,
        capture: CaptureType,
        kind: &str,
        body: &Value,
        at: Instant,
    ) -> Option<Told> {
        let view = body.get("indication")?.get(capture.as_str())?;
        let state: IndicationState = serde_json::from_value(view.get("state")?.clone()).ok()?;
        let heard = || self.heard.iter().filter(|told| told.capture == capture);
        let before = heard()
            .next_back()
            .map_or(IndicationState::Off, |told| told.state);
        let is_first_word = heard().next().is_none();
        // Not knowing yet is no change of anything.
        if state == before || (is_first_word && state == IndicationState::Unknown) {
            return None;
        }
        let number = heard().count();
        let expected = self
            .expected(capture, false)
            .nth(number)
            .filter(|change| change.state == state);
        let list = |name| {
            view.get(name)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
        };
        let told = Told {
            title: self.title,
            public_id: self.public_id.clone(),
            capture,
            state,
            announced: kind == "notice",
            is_over: expected.as_ref().is_some_and(Expected::may_be_stated),
            latency: expected.and_then(|change| self.latency(change.cause, at)),
            sources: list("sources")
                .chain(list("kinds"))
                .map(str::to_owned)
                .collect(),
        };
        self.heard.push(told.clone());
        Some(told)
    }

    fn latency(&self, cause: &Cause, at: Instant) -> Option<Latency> {
        let posted = |ids: &[DeliveryId]| -> Vec<Instant> {
            ids.iter()
                .filter_map(|id| self.posted.get(id).copied())
                .collect()
        };
        match cause {
            Cause::First(ids) => posted(ids)
                .into_iter()
                .min()
                .map(|posted| Latency::OfDelivery(at.saturating_duration_since(posted))),
            Cause::Last(ids) => posted(ids)
                .into_iter()
                .max()
                .map(|posted| Latency::OfDelivery(at.saturating_duration_since(posted))),
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
    fn expected(
        &self,
        capture: CaptureType,
        with_flaps: bool,
    ) -> impl Iterator<Item = Expected<'_>> {
        let of_type = self
            .changes
            .iter()
            .filter(move |change| change.capture == capture);
        of_type.flat_map(move |change| {
            let cause = &change.cause;
            match cause {
                Cause::Flapped { .. } if with_flaps => {
                    vec![
                        Expected {
                            state: IndicationState::Off,
                            cause,
                        },
                        Expected {
                            state: IndicationState::On,
                            cause,
                        },
                    ]
                }
                Cause::Flapped { .. } => Vec::new(),
                _ => vec![Expected {
                    state: change.state,
                    cause,
                }],
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

    /// Whether what was heard is what had to be.
    pub fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for capture in CaptureType::ALL {
            let heard: Vec<&Told> = self
                .heard
                .iter()
                .filter(|told| told.capture == capture)
                .collect();
            let mut expected: Vec<Expected<'_>> = self.expected(capture, false).collect();
            if !fits(&expected, &heard) && self.may_have_flapped() {
                expected = self.expected(capture, true).collect();
            }
            verdict.expected += expected.len();
            let agreeing = expected
                .iter()
                .zip(&heard)
                .take_while(|(expected, heard)| expected.state == heard.state);
            let agreeing = agreeing
                .filter(|(expected, heard)| expected.may_be_stated() || heard.announced)
                .count();
            verdict.heard += agreeing;
            if agreeing != expected.len() || heard.len() != expected.len() {
                verdict
                    .differences
                    .push(self.difference(capture, &expected, &heard));
            }
        }
        verdict
    }

    fn difference(
        &self,
        capture: CaptureType,
        expected: &[Expected<'_>],
        heard: &[&Told],
    ) -> String {
        let list = |words: Vec<String>| {
            if words.is_empty() {
                "nothing".to_owned()
            } else {
                words.join(", ")
            }
        };
        let expected = list(
            expected
                .iter()
                .map(|expected| expected.state.as_str().to_owned())
                .collect(),
        );
        let heard = list(
            heard
                .iter()
                .map(|told| {
                    let state = told.state.as_str();
                    if told.announced {
                        state.to_owned()
                    } else {
                        format!("{state} (stated, not announced)")
                    }
                })
                .collect(),
        );
        format!(
            "call {} ({}), {}: {expected} had to be heard, {heard} was",
            self.public_id,
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
    expected
        .iter()
        .map(|expected| expected.state)
        .eq(heard.iter().map(|told| told.state))
}

fn bridge() -> Duration {
    Duration::from_millis(u64::try_from(Parameters::default().bridge).unwrap_or_default())
}
