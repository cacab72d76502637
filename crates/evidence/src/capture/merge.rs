//! Merges the intervals of all sources to captures (`docs/evidence-rules.md`, section 3).

use std::collections::BTreeSet;

use serde::Serialize;

use super::interval::{CaptureInterval, CaptureSource};
use super::span::{OPEN_END, Span};
use crate::event::instant::Millis;
use crate::fact::kinds::CaptureType;

/// One capture: an interval for which at least one source states a recording or a transcription.
/// Interruptions of at most `bridge` do not end it. Instants are in Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capture {
    /// What was captured.
    #[serde(rename = "type")]
    pub capture_type: CaptureType,
    /// When it began, as the sources state it.
    pub started_at: Millis,
    /// When it ended. `None`: it is in progress.
    pub ended_at: Option<Millis>,
    /// The source of the start. If it is `report`, the capture may have begun before a client could
    /// observe it.
    pub start_source: CaptureSource,
    /// The sources that state any part of it.
    pub sources: BTreeSet<CaptureSource>,
    /// The ids of its recordings.
    pub recordings: BTreeSet<String>,
    /// The products that captured, as the platform states them.
    pub kinds: BTreeSet<String>,
}

impl Capture {
    /// Merges the intervals of one type to captures, in the order of time. `bridge` is in ms.
    pub(crate) fn all(
        capture_type: CaptureType,
        intervals: &[CaptureInterval<'_>],
        bridge: Millis,
    ) -> Vec<Self> {
        let mut ordered: Vec<&CaptureInterval<'_>> = intervals.iter().collect();
        // Of intervals that begin together, the source with the highest precedence comes first.
        ordered.sort_unstable_by_key(|interval| (interval.span.from(), interval.source));
        let mut captures: Vec<Self> = Vec::new();
        for interval in ordered {
            match captures.last_mut() {
                Some(capture) if capture.continues_with(interval.span, bridge) => {
                    capture.add(interval);
                }
                _ => captures.push(Self::begin(capture_type, interval)),
            }
        }
        captures
    }

    fn begin(capture_type: CaptureType, interval: &CaptureInterval<'_>) -> Self {
        let mut capture = Self {
            capture_type,
            started_at: interval.span.from(),
            ended_at: Some(interval.span.from()),
            start_source: interval.source,
            sources: BTreeSet::new(),
            recordings: BTreeSet::new(),
            kinds: BTreeSet::new(),
        };
        capture.add(interval);
        capture
    }

    /// Whether a later span begins at most `bridge` after the end, so that it belongs to this capture.
    fn continues_with(&self, later: Span, bridge: Millis) -> bool {
        self.ended_at.is_none_or(|end| later.from().saturating_sub(end) <= bridge)
    }

    fn add(&mut self, interval: &CaptureInterval<'_>) {
        let end = self.ended_at.unwrap_or(OPEN_END).max(interval.span.to());
        self.ended_at = (end != OPEN_END).then_some(end);
        self.sources.insert(interval.source);
        self.recordings.extend(interval.recording.map(str::to_owned));
        self.kinds.extend(interval.kinds.iter().map(|&kind| kind.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::interval::IntervalStatus;

    fn interval(from: Millis, to: Millis, source: CaptureSource) -> CaptureInterval<'static> {
        CaptureInterval {
            span: Span::new(from, to).unwrap(),
            source,
            status: IntervalStatus::Closed,
            recording: (source != CaptureSource::Report).then_some("r1"),
            kinds: Vec::new(),
        }
    }

    fn bounds(intervals: &[CaptureInterval<'_>]) -> Vec<(Millis, Option<Millis>)> {
        let captures = Capture::all(CaptureType::Recording, intervals, 5);
        captures.iter().map(|it| (it.started_at, it.ended_at)).collect()
    }

    #[test]
    fn an_interruption_up_to_the_bridge_does_not_end_a_capture_and_a_longer_one_does() {
        let report = CaptureSource::Report;
        let flapping = [interval(15, 20, report), interval(0, 10, report)];
        assert_eq!(bounds(&flapping), [(0, Some(20))]);
        let pausing = [interval(16, 20, report), interval(0, 10, report)];
        assert_eq!(bounds(&pausing), [(0, Some(10)), (16, Some(20))]);
    }

    #[test]
    fn an_interval_without_end_contains_all_that_follow() {
        let report = CaptureSource::Report;
        let open = [interval(0, OPEN_END, report), interval(500, 510, report)];
        assert_eq!(bounds(&open), [(0, None)]);
    }

    #[test]
    fn an_interval_within_another_does_not_shorten_it() {
        let report = CaptureSource::Report;
        let nested = [interval(0, 100, report), interval(10, 20, report)];
        assert_eq!(bounds(&nested), [(0, Some(100))]);
    }

    #[test]
    fn the_source_with_the_highest_precedence_is_the_source_of_the_start() {
        let intervals = [
            interval(0, 10, CaptureSource::Report),
            interval(0, 5, CaptureSource::Provider),
            interval(3, 20, CaptureSource::File),
        ];
        let captures = Capture::all(CaptureType::Recording, &intervals, 5);
        let capture = &captures[0];
        assert_eq!(capture.start_source, CaptureSource::Provider);
        assert_eq!(capture.sources.len(), 3);
        assert_eq!(capture.recordings, BTreeSet::from(["r1".to_owned()]));
    }
}
