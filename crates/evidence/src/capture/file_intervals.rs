//! The intervals that recording files state: a recording was in progress while its files were written
//! (`docs/evidence-rules.md`, section 3).

use std::collections::BTreeSet;

use super::interval::{CaptureInterval, CaptureSource, TimeBounds};
use super::recording::Recording;
use super::span::{Span, SpanSet};
use crate::event::instant::Millis;
use crate::report::flag::Flag;

/// The file intervals of one recording. If the provider states no interval of the recording: the spans
/// of its files without the `pauses` that clients reported. Else: only what lies before the first and
/// after the last interval of the provider.
pub(crate) fn file_intervals<'f>(
    recording: &Recording<'f>,
    provider: &[CaptureInterval<'f>],
    pauses: &SpanSet,
    bounds: TimeBounds,
    bridge: Millis,
    flags: &mut BTreeSet<Flag>,
) -> Vec<CaptureInterval<'f>> {
    let spans = match (provider.first(), provider.last()) {
        (Some(first), Some(last)) => {
            let provider = (first.span.from(), last.span.to());
            before_and_after(provider, recording, bounds, bridge, flags)
        }
        _ => without_pauses(recording, pauses, bounds),
    };
    spans
        .into_iter()
        .map(|span| CaptureInterval::of_recording(span, CaptureSource::File, recording.id))
        .collect()
}

fn without_pauses(recording: &Recording<'_>, pauses: &SpanSet, bounds: TimeBounds) -> Vec<Span> {
    recording
        .files
        .iter()
        .filter_map(|file| Span::new(file.started_at, file.end()))
        .flat_map(|span| pauses.missing_in(span))
        .filter_map(|span| bounds.clip(span.from(), span.to()))
        .collect()
}

fn before_and_after(
    (first_opening, last_closing): (Millis, Millis),
    recording: &Recording<'_>,
    bounds: TimeBounds,
    bridge: Millis,
    flags: &mut BTreeSet<Flag>,
) -> Vec<Span> {
    let before =
        recording.files_start().and_then(|files_start| bounds.clip(files_start, first_opening));
    let after = recording.files_end().and_then(|files_end| {
        let after = bounds.clip(last_closing, files_end)?;
        if bounds.length(after) > bridge {
            flags.insert(Flag::FileOutlastsStop(recording.id.to_owned()));
        }
        Some(after)
    });
    before.into_iter().chain(after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::lifetime::CallLifetime;
    use crate::fact::kinds::FileFact;

    fn intervals(
        provider: Option<Span>,
        pauses: Option<Span>,
        end: Option<Millis>,
    ) -> (Vec<Span>, Vec<String>) {
        let files = [(20, 10), (30, 40)].map(|(started_at, duration_ms)| FileFact {
            recording: "r1".to_owned(),
            index: 0,
            started_at,
            duration_ms,
        });
        let recording = Recording { id: "r1", states: Vec::new(), files: files.iter().collect() };
        let provider: Vec<CaptureInterval<'_>> = provider
            .into_iter()
            .map(|span| CaptureInterval::of_recording(span, CaptureSource::Provider, "r1"))
            .collect();
        let pauses: SpanSet = pauses.into_iter().collect();
        let call =
            CallLifetime { started_at: 0, ended_at: end, end_presumed: false, stated_start: None };
        let bounds = TimeBounds { call, now: 60 };
        let mut flags = BTreeSet::new();
        let computed = file_intervals(&recording, &provider, &pauses, bounds, 5, &mut flags);
        (
            computed.iter().map(|interval| interval.span).collect(),
            flags.iter().map(ToString::to_string).collect(),
        )
    }

    fn spans(spans: &[(Millis, Millis)]) -> Vec<Span> {
        let spans = spans.iter();
        spans.filter_map(|&(from, to)| Span::new(from, to)).collect()
    }

    #[test]
    fn without_a_provider_the_files_count_except_for_reported_pauses() {
        let expected = spans(&[(20, 30), (30, 35), (45, 50)]);
        assert_eq!(intervals(None, Span::new(35, 45), Some(50)), (expected, vec![]));
    }

    #[test]
    fn with_a_provider_only_the_time_before_and_after_its_intervals_counts() {
        let expected = spans(&[(20, 25), (41, 50)]);
        let flags = vec!["FILE_OUTLASTS_STOP:r1".to_owned()];
        assert_eq!(intervals(Span::new(25, 41), None, Some(50)), (expected, flags));
    }

    #[test]
    fn a_file_that_outlasts_the_stop_by_no_more_than_the_bridge_is_not_flagged() {
        let expected = spans(&[(20, 25), (45, 50)]);
        assert_eq!(intervals(Span::new(25, 45), None, Some(50)), (expected, vec![]));
        // In a call in progress the file has outlasted the stop by the time until `now`.
        let (open, flags) = intervals(Span::new(25, 55), None, None);
        assert!(open.last().is_some_and(|after| after.is_open()));
        assert_eq!(flags, Vec::<String>::new());
    }
}
