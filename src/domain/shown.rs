//! Shown: when a notice of on was on a participant's screen.
//!
//! A client that displays a notice says so a little later. Its stopwatch tells for how long the
//! notice had been there, but nobody can check a client's stopwatch. So there are two readings: at
//! the latest the notice was there when the statement came, at the earliest when the client says.
//! Verdicts use the latest.

use super::instant::Millis;
use super::span::{FOR_EVER, Span, SpanSet};
use super::stretch::Stretch;
use super::telling::{OnScreen, Telling};

/// When the notice of one type was on one session's screen, in both readings.
#[derive(Debug, Default)]
pub struct Shown<'f> {
    /// Each showing from when it was stated.
    pub latest: Showings<'f>,
    /// Each showing from when the client says that it began.
    pub earliest: Showings<'f>,
}

impl<'f> Shown<'f> {
    /// What a telling comes to, given the stretches of its type in order of time.
    #[must_use]
    pub fn of(telling: &Telling<'f>, stretches: &[Stretch], stale: Millis) -> Self {
        let stays = |statement: &OnScreen<'_>| stays_to(statement, telling, stretches, stale);
        let read = |from: fn(&OnScreen<'_>) -> Millis| {
            let spans = telling.statements.iter().filter_map(|statement| {
                let span = Span::new(from(statement), stays(statement))?;
                Some((span, statement.id))
            });
            Showings::of(spans.collect())
        };
        Self {
            latest: read(|statement| statement.at),
            earliest: read(|statement| statement.since),
        }
    }
}

/// Until when a notice stays on the screen.
fn stays_to(
    statement: &OnScreen<'_>,
    telling: &Telling<'_>,
    stretches: &[Stretch],
    stale: Millis,
) -> Millis {
    let gone = telling.gone.partition_point(|&t| t <= statement.at);
    let gone = telling.gone.get(gone).copied();
    let ended = |stretch: &Stretch| stretch.end.is_some_and(|end| end <= statement.since);
    let about = stretches.get(stretches.partition_point(ended));
    let over = about.and_then(|stretch| stretch.end);
    let ahead_of_time = about.is_none_or(|stretch| statement.since < stretch.start);
    // A notice ahead of time must be stated again to last.
    let lapsed = ahead_of_time.then(|| statement.at.saturating_add(stale));
    let first = [gone, over, lapsed].into_iter().flatten().min();
    first.unwrap_or(FOR_EVER)
}

/// The showings of one reading.
#[derive(Debug, Default)]
pub struct Showings<'f> {
    /// In the order of their beginning.
    spans: Vec<(Span, &'f str)>,
    /// To where each of them and its predecessors reach.
    reach: Vec<Millis>,
    union: SpanSet,
}

/// The instant from which somebody was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told<'f> {
    /// In Unix milliseconds.
    pub at: Millis,
    /// The fact that says so.
    pub by: &'f str,
    /// The notice was there before it had to be.
    pub already: bool,
}

impl<'f> Showings<'f> {
    fn of(mut spans: Vec<(Span, &'f str)>) -> Self {
        spans.sort_unstable_by_key(|&(span, id)| (span.from(), id));
        let reach = spans
            .iter()
            .scan(Millis::MIN, |reach, (span, _)| {
                *reach = span.to().max(*reach);
                Some(*reach)
            })
            .collect();
        Self {
            reach,
            union: spans.iter().map(|&(span, _)| span).collect(),
            spans,
        }
    }

    /// The first instant from `due` to `last`, both included, at which the notice is on the screen.
    #[must_use]
    pub fn told(&self, due: Millis, last: Millis) -> Option<Told<'f>> {
        let first = self.reach.partition_point(|&to| to <= due);
        let &(span, by) = self.spans.get(first)?;
        let at = span.from().max(due);
        let already = span.from() < due;
        (at <= last).then_some(Told { at, by, already })
    }

    /// For how many milliseconds of `span` the notice is on the screen.
    #[must_use]
    pub fn length_within(&self, span: Span) -> Millis {
        self.union.length_within(span)
    }
}
