//! Indications: what a client must show in a call at an instant (`docs/evidence-rules.md`, section 8).

use serde::{Deserialize, Serialize};

use crate::capture::interval::{CaptureInterval, CaptureSource, IntervalStatus};
use crate::fact::kinds::CaptureType;

/// What a client must show, for each type of capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Indications {
    /// The recording.
    pub recording: Indication,
    /// The transcription.
    pub transcription: Indication,
}

impl Indications {
    /// The indication of one type.
    #[must_use]
    pub fn of(self, capture_type: CaptureType) -> Indication {
        match capture_type {
            CaptureType::Recording => self.recording,
            CaptureType::Transcription => self.transcription,
        }
    }

    /// The stronger of two indications of each type.
    #[must_use]
    pub fn strongest(self, other: Self) -> Self {
        Self {
            recording: self.recording.strongest(other.recording),
            transcription: self.transcription.strongest(other.transcription),
        }
    }

    /// The types that were ever observed: those whose state is not unknown.
    pub fn observed(self) -> impl Iterator<Item = CaptureType> {
        CaptureType::ALL
            .into_iter()
            .filter(move |capture_type| self.of(*capture_type).state != IndicationState::Unknown)
    }
}

/// What a client must show for one type. The default is that nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Indication {
    /// The state.
    pub state: IndicationState,
    /// The state is on, and no source that states it is live any more. Missing reports never turn on
    /// into off (`LEVEL_TRIGGERED`).
    pub stale: bool,
}

/// The state of one type.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum IndicationState {
    /// The capture goes on.
    On,
    /// The capture is interrupted.
    Paused,
    /// No capture goes on, as an observation shows.
    Off,
    /// The type was never observed. Not knowing is not off.
    #[default]
    Unknown,
}

impl Indication {
    /// Whether it states more than another one: on more than paused, paused more than off, off more than
    /// unknown; of one state, what a live source states more than what is stale.
    #[must_use]
    pub fn is_stronger_than(self, other: Self) -> bool {
        let strength = |it: Self| {
            let state = match it.state {
                IndicationState::On => 3,
                IndicationState::Paused => 2,
                IndicationState::Off => 1,
                IndicationState::Unknown => 0,
            };
            (state, !it.stale)
        };
        strength(self) > strength(other)
    }

    /// The stronger of two.
    #[must_use]
    pub fn strongest(self, other: Self) -> Self {
        if other.is_stronger_than(self) { other } else { self }
    }
}

impl From<IndicationState> for Indication {
    fn from(state: IndicationState) -> Self {
        Self { state, stale: false }
    }
}

/// The input of an indication of one type, besides the intervals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed {
    /// Whether the call has ended.
    pub(crate) call_ended: bool,
    /// Whether the type was ever observed.
    pub(crate) ever: bool,
    /// Whether the last level of a live reporter is paused.
    pub(crate) paused: bool,
}

impl Indication {
    /// The indication of one type by its intervals as they are now.
    pub(crate) fn at_now(observed: Observed, intervals: &[CaptureInterval<'_>]) -> Self {
        let not_on = if observed.ever { IndicationState::Off } else { IndicationState::Unknown };
        if observed.call_ended {
            return not_on.into();
        }
        // Files arrive after the capture, so they never state what goes on now.
        let live = intervals.iter().filter(|interval| interval.source != CaptureSource::File);
        let any = |wanted: fn(IntervalStatus) -> bool| {
            live.clone().any(|interval| wanted(interval.status))
        };
        if any(|status| status == IntervalStatus::Open) {
            return IndicationState::On.into();
        }
        if any(|status| status == IntervalStatus::Orphaned) {
            return Self { state: IndicationState::On, stale: true };
        }
        if observed.paused {
            return IndicationState::Paused.into();
        }
        if any(|status| matches!(status, IntervalStatus::Debouncing { .. })) {
            return IndicationState::On.into();
        }
        not_on.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::span::{OPEN_END, Span};

    const OBSERVED: Observed = Observed { call_ended: false, ever: true, paused: false };

    fn interval(source: CaptureSource, status: IntervalStatus) -> CaptureInterval<'static> {
        CaptureInterval {
            span: Span::new(0, OPEN_END).unwrap(),
            source,
            status,
            recording: None,
            kinds: Vec::new(),
        }
    }

    fn reported(status: IntervalStatus) -> CaptureInterval<'static> {
        interval(CaptureSource::Report, status)
    }

    fn state(observed: Observed, intervals: &[CaptureInterval<'_>]) -> IndicationState {
        Indication::at_now(observed, intervals).state
    }

    #[test]
    fn not_knowing_is_not_off() {
        let unobserved = Observed { ever: false, ..OBSERVED };
        assert_eq!(state(unobserved, &[]), IndicationState::Unknown);
        assert_eq!(state(OBSERVED, &[]), IndicationState::Off);
    }

    #[test]
    fn an_ended_call_has_nothing_on() {
        let ended = Observed { call_ended: true, paused: true, ..OBSERVED };
        assert_eq!(state(ended, &[reported(IntervalStatus::Open)]), IndicationState::Off);
    }

    #[test]
    fn on_goes_before_paused_and_paused_before_settling() {
        let paused = Observed { paused: true, ..OBSERVED };
        let settling = reported(IntervalStatus::Debouncing { until: 9 });
        let open = interval(CaptureSource::Provider, IntervalStatus::Open);
        let all = [settling.clone(), open];
        assert_eq!(state(paused, &all), IndicationState::On);
        assert_eq!(state(paused, std::slice::from_ref(&settling)), IndicationState::Paused);
        assert_eq!(state(OBSERVED, &[settling]), IndicationState::On);
    }

    #[test]
    fn on_is_stale_only_if_no_live_source_states_it() {
        let orphan = reported(IntervalStatus::Orphaned);
        let stale = Indication::at_now(OBSERVED, std::slice::from_ref(&orphan));
        assert_eq!(stale, Indication { state: IndicationState::On, stale: true });
        let confirmed = Indication::at_now(OBSERVED, &[orphan, reported(IntervalStatus::Open)]);
        assert_eq!(confirmed, IndicationState::On.into());
    }

    #[test]
    fn the_stronger_of_two_indications_is_on_before_paused_before_off_before_unknown() {
        use IndicationState::{Off, On, Paused, Unknown};
        let stale = Indication { state: On, stale: true };
        let ascending = [Unknown.into(), Off.into(), Paused.into(), stale, Indication::from(On)];
        for (weaker, one) in ascending.into_iter().enumerate() {
            for (stronger, other) in ascending.into_iter().enumerate() {
                assert_eq!(one.strongest(other), ascending[weaker.max(stronger)]);
            }
        }
    }

    #[test]
    fn a_file_turns_no_indication_on() {
        let file = interval(CaptureSource::File, IntervalStatus::Open);
        assert_eq!(state(OBSERVED, &[file]), IndicationState::Off);
    }
}
