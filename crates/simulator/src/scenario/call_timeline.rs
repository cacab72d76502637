//! The timeline of a call: which levels change, in which order and when, and what its clients do.
//!
//! # Why
//!
//! Deliveries are late and out of order, but the expected changes have to be certain. So steps are
//! further apart than the deliveries of one step may be late ([`MAX_DELAY`]), and the step after a
//! client's off waits until the off takes effect ([`OFF_SETTLES`]). A call gets longer for it if
//! necessary.

use crate::call::faulty_client::FaultyClient;
use crate::rng::SeededRng;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::{CaptureType, Level};

/// Maximum delay of a delivery that sets a level, ms.
pub(crate) const MAX_DELAY: Millis = 450;
/// Minimum interval between two steps, ms.
const MIN_STEP_INTERVAL: Millis = 650;
/// Minimum interval between a client's off and the next step, ms: the bridge of the evidence rules,
/// and more than the clock of that rule may be late.
const OFF_SETTLES: Millis = 6_300;
/// Minimum time before the first step, ms: by then all participants have joined.
const MIN_FIRST_STEP: Millis = 1_300;
/// Minimum length of a capture in a call with a faulty client, ms: a shorter one ends before its
/// notice is due.
const MIN_EXPOSURE: Millis = 3_800;
/// Interval between the start of a capture and its notice by an app that is late, ms.
const LATE_AFTER: Millis = 2_700;
/// Maximum time in which people answer a notice, ms.
const MAX_ANSWER_TIME: Millis = 1_200;
/// Interval of the clients' reports while nothing changes, ms.
const HEARTBEAT_INTERVAL: Millis = 30_000;

/// Which senders report one type of capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CaptureReporters {
    pub clients: bool,
    pub provider: bool,
}

/// What happens at a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimelineAction {
    /// Levels change.
    Levels(Vec<(CaptureType, Level)>),
    /// The only client states off, and soon states on again.
    FlapOff(CaptureType),
    /// The client states on again.
    FlapOn(CaptureType),
    /// The connection of the last client breaks.
    Disconnect,
    /// That participant joins again.
    Rejoin,
    /// Participants answer the notices that are visible.
    AnswerNotices,
    /// The app that is late shows its notice.
    ShowLateNotice,
    /// Nothing changes; the clients report all the same.
    Heartbeat,
}

impl TimelineAction {
    /// Whether a capture starts.
    fn starts_capture(&self) -> bool {
        matches!(self, Self::Levels(changed) if changed.iter().any(|(_, level)| *level == Level::On))
    }

    fn at(self, at: Millis) -> TimelineStep {
        TimelineStep { at, action: self }
    }
}

/// An action, and its time in milliseconds after the start of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimelineStep {
    pub at: Millis,
    pub action: TimelineAction,
}

/// The timeline of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallTimeline {
    pub steps: Vec<TimelineStep>,
    /// Milliseconds after the start of the call.
    pub end: Millis,
}

/// What is decided about a call before its timeline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimelineInputs {
    pub recording: CaptureReporters,
    pub transcription: CaptureReporters,
    /// The number of clients that report.
    pub clients: usize,
    /// The wanted length of the call, ms.
    pub length: Millis,
    /// The fault of one of the clients.
    pub fault: Option<FaultyClient>,
}

impl TimelineInputs {
    pub(crate) fn reporters(&self, capture_type: CaptureType) -> CaptureReporters {
        match capture_type {
            CaptureType::Recording => self.recording,
            CaptureType::Transcription => self.transcription,
        }
    }

    /// Minimum length of a capture, ms: long enough to answer its notice, or for the fault of an
    /// app to have an effect.
    fn min_capture_length(&self) -> Millis {
        match (self.fault, self.clients) {
            (Some(_), _) => MIN_EXPOSURE,
            (None, 0) => MIN_STEP_INTERVAL,
            (None, _) => 2 * MIN_STEP_INTERVAL,
        }
    }

    /// Whether an action is a client's off that has to take effect before the next step.
    fn settles(&self, action: &TimelineAction) -> bool {
        matches!(action, TimelineAction::Levels(changed) if changed.iter().any(|(capture_type, level)| *level == Level::Off && self.reporters(*capture_type).clients))
    }
}

impl CallTimeline {
    pub(crate) fn random(inputs: &TimelineInputs, rng: &mut SeededRng) -> Self {
        let actions = actions(inputs, rng);
        let mut steps = Vec::with_capacity(3 * actions.len());
        // Each action gets about an equal share of the call.
        let share = inputs.length / i64::try_from(actions.len() + 2).unwrap_or(i64::MAX);
        let mut at = MIN_FIRST_STEP.max(rng.between(share / 2, share));
        let mut actions = actions.into_iter().peekable();
        while let Some(action) = actions.next() {
            let starts_capture = action.starts_capture();
            let wait = match &action {
                TimelineAction::FlapOff(_) => rng.between(MIN_STEP_INTERVAL, 2 * MIN_STEP_INTERVAL),
                action if inputs.settles(action) => OFF_SETTLES.max(rng.between(share / 2, share)),
                _ if starts_capture => {
                    inputs.min_capture_length().max(rng.between(share / 2, share))
                }
                _ => MIN_STEP_INTERVAL.max(rng.between(share / 2, share)),
            };
            let mut next = at + wait;
            if actions.peek().is_none() {
                next = next.max(inputs.length);
            }
            steps.push(action.at(at));
            if starts_capture && inputs.clients > 0 {
                let answered_at = at + MAX_ANSWER_TIME.min((next - at) / 2);
                steps.push(TimelineAction::AnswerNotices.at(answered_at));
                if inputs.fault == Some(FaultyClient::Late) {
                    steps.push(TimelineAction::ShowLateNotice.at(at + LATE_AFTER));
                }
            }
            at = next;
        }
        let end = inputs.length.max(at);
        if inputs.clients > 0 {
            steps = with_heartbeats(steps, end);
        }
        Self { steps, end }
    }
}

fn actions(inputs: &TimelineInputs, rng: &mut SeededRng) -> Vec<TimelineAction> {
    use CaptureType::{Recording, Transcription};
    let mut reported = CaptureType::ALL.to_vec();
    reported.retain(|capture_type| inputs.reporters(*capture_type) != CaptureReporters::default());
    let choice = rng.between(0, 99);
    let mut actions = match reported.as_slice() {
        [] => Vec::new(),
        _ if choice < 6 && inputs.fault.is_none() => Vec::new(),
        [_, _] if choice < 40 => both_types(rng),
        [_, _] if choice < 55 => one_type(Transcription, inputs, rng),
        [only] => one_type(*only, inputs, rng),
        _ => one_type(Recording, inputs, rng),
    };
    let flaps = actions.iter().any(|action| matches!(action, TimelineAction::FlapOff(_)));
    let may_disconnect = inputs.clients > 1 && inputs.fault.is_none();
    if may_disconnect && !flaps && !actions.is_empty() && rng.random_bool(0.25) {
        actions.splice(1..1, [TimelineAction::Disconnect, TimelineAction::Rejoin]);
    }
    actions
}

fn level_change(capture_type: CaptureType, level: Level) -> TimelineAction {
    TimelineAction::Levels(vec![(capture_type, level)])
}

/// The actions of a call in which one type is captured.
fn one_type(
    capture_type: CaptureType,
    inputs: &TimelineInputs,
    rng: &mut SeededRng,
) -> Vec<TimelineAction> {
    use TimelineAction::{FlapOff, FlapOn};
    let reporters = inputs.reporters(capture_type);
    let has_one_reporter = reporters.clients && !reporters.provider && inputs.clients == 1;
    let [on, paused, off] =
        [Level::On, Level::Paused, Level::Off].map(|level| level_change(capture_type, level));
    match rng.between(0, 9) {
        // The capture lasts until the end of the call.
        0..=2 => vec![on],
        3..=4 if has_one_reporter && capture_type == CaptureType::Recording => {
            vec![on.clone(), paused, on, off]
        }
        5..=6 if has_one_reporter => vec![on, FlapOff(capture_type), FlapOn(capture_type), off],
        3..=6 if !reporters.clients => vec![on.clone(), off.clone(), on, off],
        _ => vec![on, off],
    }
}

/// The actions of a call in which both types are captured.
fn both_types(rng: &mut SeededRng) -> Vec<TimelineAction> {
    use CaptureType::{Recording, Transcription};
    use Level::{Off, On};
    let (recording, transcription) = ((Recording, On), (Transcription, On));
    let changes = match rng.between(0, 3) {
        0 => vec![vec![recording, transcription], vec![(Recording, Off), (Transcription, Off)]],
        1 => {
            vec![vec![recording], vec![transcription], vec![(Recording, Off), (Transcription, Off)]]
        }
        2 => vec![vec![recording, transcription], vec![(Transcription, Off)]],
        _ => vec![vec![transcription], vec![recording], vec![(Recording, Off)]],
    };
    changes.into_iter().map(TimelineAction::Levels).collect()
}

/// Adds heartbeats where the clients would not report for too long.
fn with_heartbeats(steps: Vec<TimelineStep>, end: Millis) -> Vec<TimelineStep> {
    let mut filled = Vec::with_capacity(steps.len());
    let mut last = 0;
    let reports = steps.into_iter().map(|step| (step.at, Some(step)));
    for (at, step) in reports.chain([(end, None)]) {
        while at - last > HEARTBEAT_INTERVAL + OFF_SETTLES {
            last += HEARTBEAT_INTERVAL;
            filled.push(TimelineAction::Heartbeat.at(last));
        }
        last = at;
        filled.extend(step);
    }
    filled
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reporters() -> impl Strategy<Value = CaptureReporters> {
        (any::<bool>(), any::<bool>())
            .prop_map(|(clients, provider)| CaptureReporters { clients, provider })
    }

    fn faults() -> impl Strategy<Value = Option<FaultyClient>> {
        prop::option::of(prop::sample::select(vec![
            FaultyClient::Silent,
            FaultyClient::Unseen,
            FaultyClient::Late,
        ]))
    }

    proptest! {
        #[test]
        fn steps_are_far_enough_apart_for_their_actions(
            recording in reporters(), transcription in reporters(), clients in 0..3_usize, length in 1_000..200_000_i64, fault in faults(), seed in any::<u64>(),
        ) {
            let inputs = TimelineInputs { recording, transcription, clients, length, fault };
            let timeline = CallTimeline::random(&inputs, &mut SeededRng::new(seed, "course", 0));
            prop_assert!(timeline.end >= length);
            let ends = timeline.steps.iter().skip(1).map(|step| step.at).chain([timeline.end]);
            for (step, next) in timeline.steps.iter().zip(ends) {
                let apart = next - step.at;
                prop_assert!(apart > MAX_DELAY, "{timeline:?}");
                prop_assert!(!inputs.settles(&step.action) || apart >= OFF_SETTLES, "{timeline:?}");
                prop_assert!(clients == 0 || apart <= HEARTBEAT_INTERVAL + OFF_SETTLES, "{timeline:?}");
                if let TimelineAction::FlapOff(_) = step.action {
                    prop_assert!(apart < 2_000);
                }
            }
            prop_assert!(timeline.steps.first().is_none_or(|step| step.at >= MIN_FIRST_STEP));
        }

        #[test]
        fn there_is_time_to_answer_and_for_a_fault_to_have_an_effect(
            transcription in reporters(), clients in 1..3_usize, length in 1_000..20_000_i64, fault in faults(), seed in any::<u64>(),
        ) {
            let recording = CaptureReporters { clients: true, provider: false };
            let inputs = TimelineInputs { recording, transcription, clients, length, fault };
            let timeline = CallTimeline::random(&inputs, &mut SeededRng::new(seed, "course", 0));
            let changes: Vec<&TimelineStep> = timeline.steps.iter().filter(|step| matches!(step.action, TimelineAction::Levels(_) | TimelineAction::FlapOff(_))).collect();
            prop_assert!(fault.is_none() || !changes.is_empty());
            let ends = changes.iter().skip(1).map(|step| step.at).chain([timeline.end]);
            for (step, end) in changes.iter().zip(ends).filter(|(step, _)| step.action.starts_capture()) {
                prop_assert!(fault.is_none() || end - step.at >= MIN_EXPOSURE, "{timeline:?}");
                let answers = timeline.steps.iter().any(|answers| answers.action == TimelineAction::AnswerNotices && (step.at + MIN_STEP_INTERVAL..=end - MIN_STEP_INTERVAL).contains(&answers.at));
                prop_assert!(answers, "{timeline:?}");
                let late = timeline.steps.iter().any(|late| late.action == TimelineAction::ShowLateNotice && late.at == step.at + LATE_AFTER);
                prop_assert_eq!(late, fault == Some(FaultyClient::Late));
            }
        }

        #[test]
        fn a_call_without_reporters_has_no_steps(clients in 0..3_usize, seed in any::<u64>()) {
            let inputs = TimelineInputs { recording: CaptureReporters::default(), transcription: CaptureReporters::default(), clients, length: 5_000, fault: None };
            prop_assert!(CallTimeline::random(&inputs, &mut SeededRng::new(seed, "course", 0)).steps.is_empty());
        }
    }
}
