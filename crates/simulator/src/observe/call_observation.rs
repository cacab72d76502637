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
use onrecord_evidence::fact::kinds::{CaptureType, JsonWord as _};
use onrecord_evidence::notice::indication::IndicationState;

/// Minimum difference to the bridge with which a shorter off certainly had no effect.
const OFF_TOLERANCE: Duration = Duration::from_secs(1);

/// What was posted and observed of one call.
#[derive(Debug, Default)]
pub(crate) struct CallObservation {
    title: &'static str,
    public_id: String,
    /// The ids under which a message may name the call.
    pub anchors: Vec<String>,
    changes: Vec<ExpectedChange>,
    /// When each delivery was posted for the first time.
    pub posted: BTreeMap<DeliveryNumber, Instant>,
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
            ..Self::default()
        }
    }

    /// A call without a script.
    pub(crate) fn without_script(public_id: &str) -> Self {
        let title = "not a simulated call";
        Self { title, public_id: public_id.to_owned(), ..Self::default() }
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
        let earlier = self.observed_of(capture_type);
        let is_change = match earlier.last() {
            Some(before) => state != before.state,
            // An unknown level at first is no change.
            None => !matches!(state, IndicationState::Off | IndicationState::Unknown),
        };
        if !is_change {
            return None;
        }
        let expected = self.expected(capture_type, false).into_iter().nth(earlier.len());
        let trigger = expected.filter(|expected| expected.0 == state).map(|(_, trigger)| trigger);
        let list = |name| {
            view.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        };
        let change = ObservedChange {
            title: self.title,
            public_id: self.public_id.clone(),
            capture_type,
            state,
            announced: kind == "notice",
            is_call_end: trigger.is_some_and(is_call_end),
            latency: trigger.and_then(|trigger| self.latency(trigger, at)),
            sources: list("sources").chain(list("kinds")).map(str::to_owned).collect(),
        };
        self.observed.push(change.clone());
        Some(change)
    }

    fn latency(&self, trigger: &ChangeTrigger, at: Instant) -> Option<ChangeLatency> {
        let first = |ids: &[DeliveryNumber]| ids.iter().filter_map(|id| self.posted.get(id)).min();
        let last = |ids: &[DeliveryNumber]| ids.iter().filter_map(|id| self.posted.get(id)).max();
        let since = |start| at.saturating_duration_since(start);
        match trigger {
            ChangeTrigger::FirstOf(ids) => Some(ChangeLatency::OfDelivery(since(*first(ids)?))),
            ChangeTrigger::LastOf(ids) => Some(ChangeLatency::OfDelivery(since(*last(ids)?))),
            ChangeTrigger::SettledOff(ids) => {
                Some(ChangeLatency::AfterBridge(since(*last(ids)? + bridge())))
            }
            // Several deliveries end a call, and any of them may be the one that does.
            ChangeTrigger::Flapped { .. } | ChangeTrigger::CallEnded(_) => None,
        }
    }

    /// The changes of a type that were observed.
    fn observed_of(&self, capture_type: CaptureType) -> Vec<&ObservedChange> {
        self.observed.iter().filter(|change| change.capture_type == capture_type).collect()
    }

    /// The states that must be observed of a type, and what causes them. A client's off that was soon
    /// taken back is not one of them, unless `with_flaps`.
    fn expected(&self, capture_type: CaptureType, with_flaps: bool) -> Vec<ExpectedState<'_>> {
        let mut expected = Vec::new();
        for change in self.changes.iter().filter(|change| change.capture_type == capture_type) {
            let trigger = &change.trigger;
            match trigger {
                ChangeTrigger::Flapped { .. } if with_flaps => expected
                    .extend([(IndicationState::Off, trigger), (IndicationState::On, trigger)]),
                ChangeTrigger::Flapped { .. } => {}
                _ => expected.push((change.state, trigger)),
            }
        }
        expected
    }

    /// Whether an off may have lasted long enough to take effect before it was taken back.
    fn may_have_flapped(&self) -> bool {
        self.changes.iter().any(|change| {
            let ChangeTrigger::Flapped { off, on } = change.trigger else {
                return false;
            };
            let posted = self.posted.get(&off).zip(self.posted.get(&on));
            posted.is_some_and(|(off, on)| {
                on.saturating_duration_since(*off) + OFF_TOLERANCE > bridge()
            })
        })
    }

    /// Compares the observed changes with the expected ones.
    pub(crate) fn check(&self) -> ObservationCheck {
        let mut check = ObservationCheck::default();
        for capture_type in CaptureType::ALL {
            let observed = self.observed_of(capture_type);
            let mut expected = self.expected(capture_type, false);
            let fits = expected.iter().map(|expected| expected.0);
            let fits = fits.eq(observed.iter().map(|observed| observed.state));
            if !fits && self.may_have_flapped() {
                expected = self.expected(capture_type, true);
            }
            check.expected += expected.len();
            let agreeing = expected
                .iter()
                .zip(&observed)
                .take_while(|((state, _), observed)| *state == observed.state)
                .filter(|((_, trigger), observed)| is_call_end(trigger) || observed.announced)
                .count();
            check.observed += agreeing;
            if agreeing != expected.len() || observed.len() != expected.len() {
                check.differences.push(self.difference(capture_type, &expected, &observed));
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
        let expected = expected.iter().map(|(state, _)| state.as_str().to_owned());
        let observed =
            observed.iter().map(|change| match (change.state.as_str(), change.announced) {
                (state, true) => state.to_owned(),
                (state, false) => format!("{state} (in a snapshot, not announced)"),
            });
        let (expected, observed) = (list(expected.collect()), list(observed.collect()));
        let Self { public_id, title, .. } = self;
        let capture_type = capture_type.as_str();
        format!(
            "call {public_id} ({title}), {capture_type}: expected {expected}, observed {observed}"
        )
    }
}

/// A state that must be observed, and what causes it.
type ExpectedState<'r> = (IndicationState, &'r ChangeTrigger);

/// After the end of a call nothing is announced, so the change may come with a snapshot
/// (`NO_STALE_CHANGE`).
fn is_call_end(trigger: &ChangeTrigger) -> bool {
    matches!(trigger, ChangeTrigger::CallEnded(_))
}

fn bridge() -> Duration {
    Duration::from_millis(u64::try_from(Parameters::default().bridge).unwrap_or_default())
}
