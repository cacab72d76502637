//! Indications: what must be visible in a call at an instant.

use serde::{Deserialize, Serialize};

use super::capture::{CaptureSource, Interval, Standing};
use super::fact::CaptureType;

/// What must be visible, per type of capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Indications {
    /// Of the recording.
    pub recording: Indication,
    /// Of the transcription.
    pub transcription: Indication,
}

impl Indications {
    /// That of one type.
    #[must_use]
    pub fn of(self, capture: CaptureType) -> Indication {
        match capture {
            CaptureType::Recording => self.recording,
            CaptureType::Transcription => self.transcription,
        }
    }

    /// The types of which anybody ever told anything: of no other is the state unknown.
    pub fn observed(self) -> impl Iterator<Item = CaptureType> {
        CaptureType::ALL
            .into_iter()
            .filter(move |capture| self.of(*capture).state != IndicationState::Unknown)
    }
}

/// What must be visible of one type. The default is that nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Indication {
    /// Which banner.
    pub state: IndicationState,
    /// It is on, but everybody who said so has fallen silent. Silence never turns on into
    /// off.
    pub stale: bool,
}

/// What may be visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IndicationState {
    /// It goes on.
    On,
    /// It is interrupted.
    Paused,
    /// It does not go on, by somebody who could tell.
    Off,
    /// Nobody could tell. Not knowing is not off.
    #[default]
    Unknown,
}

impl IndicationState {
    /// The word that stands for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Paused => "paused",
            Self::Off => "off",
            Self::Unknown => "unknown",
        }
    }
}

impl From<IndicationState> for Indication {
    fn from(state: IndicationState) -> Self {
        Self {
            state,
            stale: false,
        }
    }
}

/// What an indication of one type rests on, besides the intervals.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    /// The call has ended.
    pub call_ended: bool,
    /// Anybody ever told anything of the type.
    pub ever: bool,
    /// Some live reporter last stated that it is paused.
    pub paused: bool,
}

impl Indication {
    /// The indication that intervals of one type call for.
    #[must_use]
    pub fn at_now(observed: Observed, intervals: &[Interval<'_>]) -> Self {
        let at_rest = if observed.ever {
            IndicationState::Off
        } else {
            IndicationState::Unknown
        };
        if observed.call_ended {
            return at_rest.into();
        }
        // Files come after the event: they never say what goes on.
        let live = || {
            intervals
                .iter()
                .filter(|interval| interval.source != CaptureSource::File)
                .map(|interval| interval.standing)
        };
        if live().any(|standing| standing == Standing::Open) {
            return IndicationState::On.into();
        }
        if live().any(|standing| standing == Standing::Orphaned) {
            return Self {
                state: IndicationState::On,
                stale: true,
            };
        }
        if observed.paused {
            return IndicationState::Paused.into();
        }
        if live().any(|standing| matches!(standing, Standing::Settling { .. })) {
            return IndicationState::On.into();
        }
        at_rest.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::span::{FOR_EVER, Span};

    const OBSERVED: Observed = Observed {
        call_ended: false,
        ever: true,
        paused: false,
    };

    fn interval(source: CaptureSource, standing: Standing) -> Interval<'static> {
        Interval {
            span: Span::new(0, FOR_EVER).unwrap(),
            source,
            standing,
            recording: None,
            kinds: Vec::new(),
        }
    }

    fn reported(standing: Standing) -> Interval<'static> {
        interval(CaptureSource::Report, standing)
    }

    fn state(observed: Observed, intervals: &[Interval<'_>]) -> IndicationState {
        Indication::at_now(observed, intervals).state
    }

    #[test]
    fn not_knowing_is_not_off() {
        let unobserved = Observed {
            ever: false,
            ..OBSERVED
        };
        assert_eq!(state(unobserved, &[]), IndicationState::Unknown);
        assert_eq!(state(OBSERVED, &[]), IndicationState::Off);
    }

    #[test]
    fn an_ended_call_shows_nothing() {
        let ended = Observed {
            call_ended: true,
            paused: true,
            ..OBSERVED
        };
        assert_eq!(
            state(ended, &[reported(Standing::Open)]),
            IndicationState::Off
        );
    }

    #[test]
    fn on_goes_before_paused_and_paused_before_settling() {
        let paused = Observed {
            paused: true,
            ..OBSERVED
        };
        let settling = reported(Standing::Settling { until: 9 });
        let open = interval(CaptureSource::Provider, Standing::Open);
        let all = [settling.clone(), open];
        assert_eq!(state(paused, &all), IndicationState::On);
        assert_eq!(
            state(paused, std::slice::from_ref(&settling)),
            IndicationState::Paused
        );
        assert_eq!(state(OBSERVED, &[settling]), IndicationState::On);
    }

    #[test]
    fn on_is_stale_only_if_nobody_live_says_so() {
        let orphan = reported(Standing::Orphaned);
        let stale = Indication::at_now(OBSERVED, std::slice::from_ref(&orphan));
        assert_eq!(
            stale,
            Indication {
                state: IndicationState::On,
                stale: true
            }
        );
        let attested = Indication::at_now(OBSERVED, &[orphan, reported(Standing::Open)]);
        assert_eq!(attested, IndicationState::On.into());
    }

    #[test]
    fn a_file_never_says_what_goes_on() {
        let file = interval(CaptureSource::File, Standing::Open);
        assert_eq!(state(OBSERVED, &[file]), IndicationState::Off);
    }
}
