//! Spans of time, sets of spans, and the first and last of several instants.

use crate::event::instant::Millis;

/// The end of a span without end: the last instant that the type can represent.
pub const OPEN_END: Millis = Millis::MAX;

/// All instants from `from` (included) to `to` (excluded), in Unix milliseconds. A span is never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    from: Millis,
    to: Millis,
}

impl Span {
    /// The span [from, to); `None` if it is empty.
    #[must_use]
    pub fn new(from: Millis, to: Millis) -> Option<Self> {
        (from < to).then_some(Self { from, to })
    }

    /// The first instant.
    #[must_use]
    pub fn from(self) -> Millis {
        self.from
    }

    /// The first instant after the span, or [`OPEN_END`].
    #[must_use]
    pub fn to(self) -> Millis {
        self.to
    }

    /// Whether the span has no end.
    #[must_use]
    pub fn is_open(self) -> bool {
        self.to == OPEN_END
    }

    /// The common part of two spans.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.from.max(other.from), self.to.min(other.to))
    }

    /// Whether `at` belongs to the span.
    #[must_use]
    pub fn contains(self, at: Millis) -> bool {
        self.from <= at && at < self.to
    }

    /// The length of the span, ms.
    #[must_use]
    pub fn length(self) -> Millis {
        self.to.saturating_sub(self.from)
    }
}

/// A set of instants: spans in order that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpanSet(Vec<Span>);

impl FromIterator<Span> for SpanSet {
    /// The union of the spans.
    fn from_iter<I: IntoIterator<Item = Span>>(spans: I) -> Self {
        let mut spans: Vec<Span> = spans.into_iter().collect();
        spans.sort_unstable_by_key(|span| span.from);
        let mut union: Vec<Span> = Vec::with_capacity(spans.len());
        for span in spans {
            match union.last_mut() {
                Some(last) if span.from <= last.to => last.to = last.to.max(span.to),
                _ => union.push(span),
            }
        }
        Self(union)
    }
}

impl SpanSet {
    /// Whether `at` belongs to the set.
    pub(crate) fn contains(&self, at: Millis) -> bool {
        self.ending_after(at).first().is_some_and(|span| span.from <= at)
    }

    /// The spans of the set, in the order of time.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Span> {
        self.0.iter().copied()
    }

    /// The first instant of `span` that belongs to the set.
    pub(crate) fn first_within(&self, span: Span) -> Option<Millis> {
        let common = self.ending_after(span.from).first()?.intersection(span)?;
        Some(common.from)
    }

    /// The instants that belong to this set and not to `other`.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        let rest = self.0.iter().flat_map(|&span| other.missing_in(span));
        Self(rest.collect())
    }

    /// The parts of `span` that do not belong to the set, in the order of time.
    pub(crate) fn missing_in(&self, span: Span) -> impl Iterator<Item = Span> {
        let within = self.ending_after(span.from);
        let within = &within[..within.partition_point(|own| own.from < span.to)];
        let starts = std::iter::once(span.from).chain(within.iter().map(|own| own.to));
        let ends = within.iter().map(|own| own.from).chain([OPEN_END]);
        starts
            .zip(ends)
            .filter_map(move |(from, to)| Span::new(from.max(span.from), to.min(span.to)))
    }

    /// The length of the set within `span`, ms.
    pub(crate) fn length_within(&self, span: Span) -> Millis {
        self.ending_after(span.from)
            .iter()
            .map_while(|own| own.intersection(span))
            .fold(0, |sum, common| sum.saturating_add(common.length()))
    }

    /// The length of the common part of two sets, ms.
    pub(crate) fn common_length(&self, other: &Self) -> Millis {
        other.0.iter().fold(0, |sum, &span| sum.saturating_add(self.length_within(span)))
    }

    /// The length of the set, ms.
    pub(crate) fn length(&self) -> Millis {
        self.common_length(self)
    }

    /// The spans that end after `at`. Binary search, because callers query sets of many spans span by
    /// span.
    fn ending_after(&self, at: Millis) -> &[Span] {
        &self.0[self.0.partition_point(|own| own.to <= at)..]
    }
}

/// The first and the last of several instants, in Unix milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The first instant; `None` if there is none.
    pub(crate) first: Option<Millis>,
    /// The last instant; `None` if there is none.
    pub(crate) last: Option<Millis>,
}

impl Extent {
    /// Adds an instant.
    pub(crate) fn add(&mut self, at: Millis) {
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = self.last.max(Some(at));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spans() -> impl Strategy<Value = Vec<Span>> {
        let span = (0..40_i64, 0..12_i64);
        proptest::collection::vec(span, 0..8).prop_map(|spans| {
            let spans = spans.into_iter();
            spans.filter_map(|(from, length)| Span::new(from, from + length)).collect()
        })
    }

    proptest! {
        #[test]
        fn a_union_has_the_instants_of_its_spans(spans in spans()) {
            let union: SpanSet = spans.iter().copied().collect();
            for t in -2..60 {
                prop_assert_eq!(union.contains(t), spans.iter().any(|span| span.contains(t)));
            }
            prop_assert!(union.0.windows(2).all(|pair| pair[0].to < pair[1].from));
        }

        #[test]
        fn a_difference_has_the_instants_of_the_first_set_only(one in spans(), other in spans()) {
            let (one, other): (SpanSet, SpanSet) =
                (one.into_iter().collect(), other.into_iter().collect());
            let difference = one.difference(&other);
            for t in -2..60 {
                prop_assert_eq!(difference.contains(t), one.contains(t) && !other.contains(t));
            }
        }

        #[test]
        fn the_first_instant_is_found(set in spans(), from in 0..50_i64, length in 1..20_i64) {
            let set: SpanSet = set.into_iter().collect();
            let span = Span::new(from, from + length).unwrap();
            let inside = (from..from + length).find(|&t| set.contains(t));
            let outside = (from..from + length).find(|&t| !set.contains(t));
            prop_assert_eq!(set.first_within(span), inside);
            prop_assert_eq!(set.missing_in(span).next().map(Span::from), outside);
            let held = (from..from + length).filter(|&t| set.contains(t)).count();
            prop_assert_eq!(set.length_within(span), held as i64);
        }
    }

    #[test]
    fn empty_spans_do_not_exist() {
        assert_eq!(Span::new(5, 5), None);
        assert_eq!(Span::new(6, 5), None);
    }
}
