//! What the files tell: a recording must have gone on for as long as its files are.

use std::collections::BTreeSet;

use super::capture::{CaptureSource, Horizon, Interval};
use super::flag::Flag;
use super::instant::Millis;
use super::recording::Recording;
use super::span::{Span, SpanSet};

/// The file intervals of one recording. If the provider told of none, all that its files
/// cover, less the `pauses` that clients saw; else only what lies before and after.
#[must_use]
pub fn file_intervals<'f>(
    recording: &Recording<'f>,
    provider: &[Interval<'f>],
    pauses: &SpanSet,
    horizon: Horizon,
    bridge: Millis,
    flags: &mut BTreeSet<Flag>,
) -> Vec<Interval<'f>> {
    let spans = match (provider.first(), provider.last()) {
        (Some(first), Some(last)) => {
            let provider = (first.span.from(), last.span.to());
            around(provider, recording, horizon, bridge, flags)
        }
        _ => without_pauses(recording, pauses, horizon),
    };
    spans
        .into_iter()
        .map(|span| Interval::seen_from_outside(span, CaptureSource::File, recording.id))
        .collect()
}

fn without_pauses(recording: &Recording<'_>, pauses: &SpanSet, horizon: Horizon) -> Vec<Span> {
    recording
        .files
        .iter()
        .filter_map(|file| Span::new(file.start, file.end()))
        .flat_map(|span| pauses.missing_in(span))
        .filter_map(|span| horizon.cut(span.from(), span.to()))
        .collect()
}

fn around(
    (first_opening, last_closing): (Millis, Millis),
    recording: &Recording<'_>,
    horizon: Horizon,
    bridge: Millis,
    flags: &mut BTreeSet<Flag>,
) -> Vec<Span> {
    let before = recording
        .files_start()
        .and_then(|files_start| horizon.cut(files_start, first_opening));
    let after = recording.files_end().and_then(|files_end| {
        let after = horizon.cut(last_closing, files_end)?;
        if horizon.length(after) > bridge {
            flags.insert(Flag::FileOutlastsStop(recording.id.to_owned()));
        }
        Some(after)
    });
    before.into_iter().chain(after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::call::Call;
    use crate::domain::fact::RecordingFile;

    fn told(
        provider: Option<Span>,
        pauses: Option<Span>,
        end: Option<Millis>,
    ) -> (Vec<Span>, Vec<String>) {
        let files = [(20, 10), (30, 40)].map(|(start, duration)| RecordingFile {
            recording: "r1".to_owned(),
            index: 0,
            start,
            duration,
        });
        let recording = Recording {
            id: "r1",
            states: Vec::new(),
            files: files.iter().collect(),
        };
        let provider: Vec<Interval<'_>> = provider
            .into_iter()
            .map(|span| Interval::seen_from_outside(span, CaptureSource::Provider, "r1"))
            .collect();
        let pauses: SpanSet = pauses.into_iter().collect();
        let call = Call {
            start: 0,
            end,
            presumed: false,
        };
        let horizon = Horizon { call, now: 60 };
        let mut flags = BTreeSet::new();
        let intervals = file_intervals(&recording, &provider, &pauses, horizon, 5, &mut flags);
        (
            intervals.iter().map(|interval| interval.span).collect(),
            flags.iter().map(ToString::to_string).collect(),
        )
    }

    fn spans(spans: &[(Millis, Millis)]) -> Vec<Span> {
        let spans = spans.iter();
        spans
            .filter_map(|&(from, to)| Span::new(from, to))
            .collect()
    }

    #[test]
    fn files_alone_tell_all_but_the_pauses_that_clients_saw() {
        let expected = spans(&[(20, 30), (30, 35), (45, 50)]);
        assert_eq!(told(None, Span::new(35, 45), Some(50)), (expected, vec![]));
    }

    #[test]
    fn beside_a_provider_they_tell_what_lies_before_and_after() {
        let expected = spans(&[(20, 25), (41, 50)]);
        let flags = vec!["FILE_OUTLASTS_STOP:r1".to_owned()];
        assert_eq!(told(Span::new(25, 41), None, Some(50)), (expected, flags));
    }

    #[test]
    fn a_file_that_outlasts_the_stop_by_no_more_than_the_bridge_is_not_flagged() {
        let expected = spans(&[(20, 25), (45, 50)]);
        assert_eq!(told(Span::new(25, 45), None, Some(50)), (expected, vec![]));
        // In a call that goes on it has outlasted the stop by what has passed since.
        let (open, flags) = told(Span::new(25, 55), None, None);
        assert!(open.last().is_some_and(|after| after.is_open()));
        assert_eq!(flags, Vec::<String>::new());
    }
}
