//! Stretches: what all sources together say was captured, without a break.

use std::collections::BTreeSet;

use serde::Serialize;

use super::capture::{CaptureSource, Interval};
use super::fact::CaptureType;
use super::instant::Millis;
use super::span::{FOR_EVER, Span};

/// One capture: a stretch of time for which at least one source says that it went on,
/// interrupted for at most `bridge` at a time. Instants are in Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// What was captured.
    #[serde(rename = "type")]
    pub capture: CaptureType,
    /// When it began, as far as known.
    pub start: Millis,
    /// When it was over. None: it goes on.
    pub end: Option<Millis>,
    /// Who knows of the start. With `report` capture may have begun before anyone could see
    /// it.
    pub start_source: CaptureSource,
    /// Who tells of any part of it.
    pub sources: BTreeSet<CaptureSource>,
    /// The recordings that it consists of.
    pub recordings: BTreeSet<String>,
    /// The provider's kinds of capture in it.
    pub kinds: BTreeSet<String>,
}

impl Stretch {
    /// The stretches that intervals of one type make, in order of time.
    #[must_use]
    pub fn all(capture: CaptureType, intervals: &[Interval<'_>], bridge: Millis) -> Vec<Self> {
        let mut ordered: Vec<&Interval<'_>> = intervals.iter().collect();
        // Of those that open together the source that knows best comes first.
        ordered.sort_unstable_by_key(|interval| (interval.span.from(), interval.source));
        let mut stretches: Vec<Self> = Vec::new();
        for interval in ordered {
            match stretches.last_mut() {
                Some(stretch) if stretch.reaches(interval.span, bridge) => {
                    stretch.take_in(interval);
                }
                _ => stretches.push(Self::begin(capture, interval)),
            }
        }
        stretches
    }

    fn begin(capture: CaptureType, interval: &Interval<'_>) -> Self {
        let mut stretch = Self {
            capture,
            start: interval.span.from(),
            end: Some(interval.span.from()),
            start_source: interval.source,
            sources: BTreeSet::new(),
            recordings: BTreeSet::new(),
            kinds: BTreeSet::new(),
        };
        stretch.take_in(interval);
        stretch
    }

    /// Whether a later span follows so closely that it is the same stretch.
    fn reaches(&self, later: Span, bridge: Millis) -> bool {
        self.end
            .is_none_or(|end| later.from().saturating_sub(end) <= bridge)
    }

    fn take_in(&mut self, interval: &Interval<'_>) {
        let end = self.end.unwrap_or(FOR_EVER).max(interval.span.to());
        self.end = (end != FOR_EVER).then_some(end);
        self.sources.insert(interval.source);
        self.recordings
            .extend(interval.recording.map(str::to_owned));
        self.kinds
            .extend(interval.kinds.iter().map(|&kind| kind.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::capture::Standing;

    fn interval(from: Millis, to: Millis, source: CaptureSource) -> Interval<'static> {
        Interval {
            span: Span::new(from, to).unwrap(),
            source,
            standing: Standing::Closed,
            recording: (source != CaptureSource::Report).then_some("r1"),
            kinds: Vec::new(),
        }
    }

    fn bounds(intervals: &[Interval<'_>]) -> Vec<(Millis, Option<Millis>)> {
        let stretches = Stretch::all(CaptureType::Recording, intervals, 5);
        stretches.iter().map(|it| (it.start, it.end)).collect()
    }

    #[test]
    fn a_gap_of_the_bridge_is_no_gap_and_a_longer_one_makes_two_stretches() {
        let report = CaptureSource::Report;
        let flapping = [interval(15, 20, report), interval(0, 10, report)];
        assert_eq!(bounds(&flapping), [(0, Some(20))]);
        let pausing = [interval(16, 20, report), interval(0, 10, report)];
        assert_eq!(bounds(&pausing), [(0, Some(10)), (16, Some(20))]);
    }

    #[test]
    fn an_open_interval_swallows_all_that_follows() {
        let report = CaptureSource::Report;
        let open = [interval(0, FOR_EVER, report), interval(500, 510, report)];
        assert_eq!(bounds(&open), [(0, None)]);
    }

    #[test]
    fn an_interval_within_another_does_not_shorten_it() {
        let report = CaptureSource::Report;
        let nested = [interval(0, 100, report), interval(10, 20, report)];
        assert_eq!(bounds(&nested), [(0, Some(100))]);
    }

    #[test]
    fn the_source_that_knows_best_of_those_that_open_together_is_the_source_of_the_start() {
        let intervals = [
            interval(0, 10, CaptureSource::Report),
            interval(0, 5, CaptureSource::Provider),
            interval(3, 20, CaptureSource::File),
        ];
        let stretches = Stretch::all(CaptureType::Recording, &intervals, 5);
        let stretch = &stretches[0];
        assert_eq!(stretch.start_source, CaptureSource::Provider);
        assert_eq!(stretch.sources.len(), 3);
        assert_eq!(stretch.recordings, BTreeSet::from(["r1".to_owned()]));
    }
}
