//! When a notice of on was on a participant's screen (`docs/evidence-rules.md`, section 4).
//!
//! A client states a little later that it displays a notice, and for how long by its own stopwatch,
//! which cannot be checked. So there are two readings: at the latest the notice was there when the
//! statement arrived, at the earliest when the client says. Verdicts use the latest.

use super::progress::{NoticeProgress, ScreenStatement};
use crate::capture::merge::Capture;
use crate::capture::span::{OPEN_END, Span, SpanSet};
use crate::event::instant::Millis;

/// When the notice of one type was on the screen of one session, in both readings.
#[derive(Debug, Default)]
pub(crate) struct ScreenTime<'f> {
    /// Each showing from the instant of its statement.
    pub(crate) latest: Showings<'f>,
    /// Each showing from its start by the client's stopwatch.
    pub(crate) earliest: Showings<'f>,
}

impl<'f> ScreenTime<'f> {
    /// The screen time by the progress of a session and type. `captures` are those of the type in the
    /// order of time; `stale` is [`Parameters::stale`](crate::call::parameters::Parameters::stale).
    pub(crate) fn of(progress: &NoticeProgress<'f>, captures: &[Capture], stale: Millis) -> Self {
        let end = |statement: &ScreenStatement<'_>| end_of(statement, progress, captures, stale);
        let read = |from: fn(&ScreenStatement<'_>) -> Millis| {
            let spans = progress.statements.iter().filter_map(|statement| {
                let span = Span::new(from(statement), end(statement))?;
                Some((span, statement.id))
            });
            Showings::of(spans.collect())
        };
        Self { latest: read(|statement| statement.at), earliest: read(|statement| statement.since) }
    }
}

/// The end of a showing (Unix milliseconds).
fn end_of(
    statement: &ScreenStatement<'_>,
    progress: &NoticeProgress<'_>,
    captures: &[Capture],
    stale: Millis,
) -> Millis {
    let next = progress.removed_at.partition_point(|&removed| removed <= statement.at);
    let removed_at = progress.removed_at.get(next).copied();
    let ended = |capture: &Capture| capture.ended_at.is_some_and(|end| end <= statement.since);
    let capture = captures.get(captures.partition_point(ended));
    let capture_ended_at = capture.and_then(|capture| capture.ended_at);
    let is_early = capture.is_none_or(|capture| statement.since < capture.started_at);
    // A notice that is shown before its capture must be stated again to last.
    let expires_at = is_early.then(|| statement.at.saturating_add(stale));
    let first = [removed_at, capture_ended_at, expires_at].into_iter().flatten().min();
    first.unwrap_or(OPEN_END)
}

/// The showings of one reading.
#[derive(Debug, Default)]
pub(crate) struct Showings<'f> {
    /// By start.
    spans: Vec<(Span, &'f str)>,
    /// For each of them the maximum end of it and its predecessors.
    max_ends: Vec<Millis>,
    union: SpanSet,
}

/// The first instant at which a notice was on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FirstShown<'f> {
    /// The instant (Unix milliseconds).
    pub(crate) at: Millis,
    /// The id of the fact that states it.
    pub(crate) by: &'f str,
    /// The notice was there before it was due.
    pub(crate) already: bool,
}

impl<'f> Showings<'f> {
    fn of(mut spans: Vec<(Span, &'f str)>) -> Self {
        spans.sort_unstable_by_key(|&(span, id)| (span.from(), id));
        let max_ends = spans
            .iter()
            .scan(Millis::MIN, |max_end, (span, _)| {
                *max_end = span.to().max(*max_end);
                Some(*max_end)
            })
            .collect();
        Self { max_ends, union: spans.iter().map(|&(span, _)| span).collect(), spans }
    }

    /// The first instant from `due` to `last` (Unix milliseconds, both included) at which the notice is
    /// on the screen.
    pub(crate) fn first_shown(&self, due: Millis, last: Millis) -> Option<FirstShown<'f>> {
        let first = self.max_ends.partition_point(|&to| to <= due);
        let &(span, by) = self.spans.get(first)?;
        let at = span.from().max(due);
        let already = span.from() < due;
        (at <= last).then_some(FirstShown { at, by, already })
    }

    /// The number of milliseconds of `span` for which the notice is on the screen.
    pub(crate) fn length_within(&self, span: Span) -> Millis {
        self.union.length_within(span)
    }
}
