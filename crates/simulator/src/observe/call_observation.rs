//! What was posted and observed of one call, and the comparison with its script.
//!
//! # Why
//!
//! Only the script says which changes must be observed, never the service that is tested. One thing
//! depends on when deliveries were posted: whether a client's off lasted long enough to take
//! effect.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::call::script::{CallScript, ChangeTrigger, DeliveryNumber, ExpectedChange};
use onrecord_evidence::call::parameters::Parameters;
use onrecord_evidence::fact::kinds::CaptureType;
use onrecord_evidence::notice::indication::IndicationState;

/// Minimum difference to the bridge with which a shorter off certainly had no effect.
const OFF_TOLERANCE: Duration = Duration::from_secs(1);

/// What was posted and observed of one call.
#[derive(Debug)]
pub(crate) struct CallObservation {
    title: &'static str,
    public_id: String,
    anchors: Vec<String>,
    changes: Vec<ExpectedChange>,
    posted: BTreeMap<DeliveryNumber, Instant>,
    /// The ids of the messages so far: a resumed stream repeats some.
    ids: HashSet<String>,
    observed: Vec<ObservedChange>,
}

/// A change that was observed.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedChange {
    pub title: &'static str,
    pub public_id: String,
    pub capture_type: CaptureType,
    pub state: IndicationState,
    /// It came as a notice, not as a snapshot.
    pub announced: bool,
    pub latency: Option<ChangeLatency>,
    /// The end of the call caused it.
    pub is_call_end: bool,
    /// While it is on: which sources report it, and the provider's kinds.
    pub sources: Vec<String>,
}

/// The latency of an observed change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeLatency {
    /// Since the posting of the delivery that caused it.
    OfDelivery(Duration),
    /// Since the end of the bridge, which starts with the posting of the last client's off.
    AfterBridge(Duration),
}

/// The comparison of a call's observed changes with its script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservationCheck {
    /// The number of expected changes.
    pub expected: usize,
    /// The number of expected changes that were observed.
    pub observed: usize,
    /// Each difference as a sentence.
    pub differences: Vec<String>,
}

impl CallObservation {
    /// The state before the first delivery.
    pub(crate) fn new(script: &CallScript) -> Self {
        Self {
            title: script.title,
            public_id: script.public_id.clone(),
            anchors: script.anchors.iter().map(ToString::to_string).collect(),
            changes: script.changes.clone(),
            posted: BTreeMap::new(),
            ids: HashSet::new(),
            observed: Vec::new(),
        }
    }

    /// A call without a script.
    pub(crate) fn without_script(public_id: &str) -> Self {
        Self {
            title: "not a simulated call",
            public_id: public_id.to_owned(),
            anchors: Vec::new(),
            changes: Vec::new(),
            posted: BTreeMap::new(),
            ids: HashSet::new(),
            observed: Vec::new(),
        }
    }

    /// The ids under which a message may name the call.
    pub(crate) fn anchors(&self) -> &[String] {
        &self.anchors
    }

    /// Records the posting of a delivery; the first posting counts.
    pub(crate) fn record_post(&mut self, delivery: DeliveryNumber, at: Instant) {
        self.posted.entry(delivery).or_insert(at);
    }

    /// Records a message of the stream about this call. Returns the changes in it.
    pub(crate) fn record_message(
        &mut self,
        kind: &str,
        body: &Value,
        at: Instant,
    ) -> Vec<ObservedChange> {
        let id = body.get("id").and_then(Value::as_str).unwrap_or_default();
        if !self.ids.insert(id.to_owned()) {
            return Vec::new();
        }
        CaptureType::ALL
            .into_iter()
            .filter_map(|capture_type| self.change(capture_type, kind, body, at))
            .collect()
    }

    fn change(
        &mut self,
        capture_type: CaptureType,
        kind: &str,
        body: &Value,
        at: Instant,
    ) -> Option<ObservedChange> {
        let view = body.get("indication")?.get(capture_type.as_str())?;
        // A state that cannot be read shows as a missing change.
        let state: IndicationState = serde_json::from_value(view.get("state")?.clone()).ok()?;
        let earlier = || {
            self.observed
                .iter()
                .filter(|change| change.capture_type == capture_type)
        };
        let before = earlier()
            .next_back()
            .map_or(IndicationState::Off, |change| change.state);
        let is_first = earlier().next().is_none();
        // An unknown level at first is no change.
        if state == before || (is_first && state == IndicationState::Unknown) {
            return None;
        }
        let number = earlier().count();
        let expected = self
            .expected(capture_type, false)
            .nth(number)
            .filter(|change| change.state == state);
        let list = |name| {
            view.get(name)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
        };
        let change = ObservedChange {
            title: self.title,
            public_id: self.public_id.clone(),
            capture_type,
            state,
            announced: kind == "notice",
            is_call_end: expected
                .as_ref()
                .is_some_and(ExpectedState::may_be_in_snapshot),
            latency: expected.and_then(|change| self.latency(change.trigger, at)),
            sources: list("sources")
                .chain(list("kinds"))
                .map(str::to_owned)
                .collect(),
        };
        self.observed.push(change.clone());
        Some(change)
    }

    fn latency(&self, trigger: &ChangeTrigger, at: Instant) -> Option<ChangeLatency> {
        let posted = |ids: &[DeliveryNumber]| -> Vec<Instant> {
            ids.iter()
                .filter_map(|id| self.posted.get(id).copied())
                .collect()
        };
        let since = |start| at.saturating_duration_since(start);
        match trigger {
            ChangeTrigger::FirstOf(ids) => {
                let first = posted(ids).into_iter().min()?;
                Some(ChangeLatency::OfDelivery(since(first)))
            }
            ChangeTrigger::LastOf(ids) => {
                let last = posted(ids).into_iter().max()?;
                Some(ChangeLatency::OfDelivery(since(last)))
            }
            ChangeTrigger::SettledOff(ids) => {
                let due = posted(ids).into_iter().max()? + bridge();
                Some(ChangeLatency::AfterBridge(since(due)))
            }
            // Several deliveries end a call, and any of them may be the one that does.
            ChangeTrigger::Flapped { .. } | ChangeTrigger::CallEnded(_) => None,
        }
    }

    /// The states that must be observed of a type. A client's off that was soon taken back is not
    /// one of them, unless `with_flaps`.
    fn expected(
        &self,
        capture_type: CaptureType,
        with_flaps: bool,
    ) -> impl Iterator<Item = ExpectedState<'_>> {
        let of_type = self
            .changes
            .iter()
            .filter(move |change| change.capture_type == capture_type);
        of_type.flat_map(move |change| {
            let trigger = &change.trigger;
            let expected = |state| ExpectedState { state, trigger };
            match trigger {
                ChangeTrigger::Flapped { .. } if with_flaps => {
                    vec![
                        expected(IndicationState::Off),
                        expected(IndicationState::On),
                    ]
                }
                ChangeTrigger::Flapped { .. } => Vec::new(),
                _ => vec![expected(change.state)],
            }
        })
    }

    /// Whether an off may have lasted long enough to take effect before it was taken back.
    fn may_have_flapped(&self) -> bool {
        self.changes.iter().any(|change| match change.trigger {
            ChangeTrigger::Flapped { off, on } => {
                match (self.posted.get(&off), self.posted.get(&on)) {
                    (Some(off), Some(on)) => {
                        on.saturating_duration_since(*off) + OFF_TOLERANCE > bridge()
                    }
                    _ => false,
                }
            }
            _ => false,
        })
    }

    /// Compares the observed changes with the expected ones.
    pub(crate) fn check(&self) -> ObservationCheck {
        let mut check = ObservationCheck::default();
        for capture_type in CaptureType::ALL {
            let observed: Vec<&ObservedChange> = self
                .observed
                .iter()
                .filter(|change| change.capture_type == capture_type)
                .collect();
            let mut expected: Vec<ExpectedState<'_>> = self.expected(capture_type, false).collect();
            if !fits(&expected, &observed) && self.may_have_flapped() {
                expected = self.expected(capture_type, true).collect();
            }
            check.expected += expected.len();
            let agreeing = expected
                .iter()
                .zip(&observed)
                .take_while(|(expected, observed)| expected.state == observed.state);
            let agreeing = agreeing
                .filter(|(expected, observed)| expected.may_be_in_snapshot() || observed.announced)
                .count();
            check.observed += agreeing;
            if agreeing != expected.len() || observed.len() != expected.len() {
                check
                    .differences
                    .push(self.difference(capture_type, &expected, &observed));
            }
        }
        check
    }

    fn difference(
        &self,
        capture_type: CaptureType,
        expected: &[ExpectedState<'_>],
        observed: &[&ObservedChange],
    ) -> String {
        let list = |states: Vec<String>| match states.as_slice() {
            [] => "nothing".to_owned(),
            states => states.join(", "),
        };
        let expected = expected.iter().map(|it| it.state.as_str().to_owned());
        let observed = observed.iter().map(|change| {
            let state = change.state.as_str();
            if change.announced {
                state.to_owned()
            } else {
                format!("{state} (in a snapshot, not announced)")
            }
        });
        let (expected, observed) = (list(expected.collect()), list(observed.collect()));
        format!(
            "call {} ({}), {}: expected {expected}, observed {observed}",
            self.public_id,
            self.title,
            capture_type.as_str()
        )
    }
}

/// A state that must be observed.
struct ExpectedState<'r> {
    state: IndicationState,
    trigger: &'r ChangeTrigger,
}

impl ExpectedState<'_> {
    /// After the end of a call nothing is announced, so the change may come with a snapshot
    /// (`NO_STALE_CHANGE`).
    fn may_be_in_snapshot(&self) -> bool {
        matches!(self.trigger, ChangeTrigger::CallEnded(_))
    }
}

fn fits(expected: &[ExpectedState<'_>], observed: &[&ObservedChange]) -> bool {
    expected
        .iter()
        .map(|expected| expected.state)
        .eq(observed.iter().map(|change| change.state))
}

fn bridge() -> Duration {
    Duration::from_millis(u64::try_from(Parameters::default().bridge).unwrap_or_default())
}
