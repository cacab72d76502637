//! Spans of time, sets of them, and the extent of scattered instants.

use super::instant::Millis;

/// Stands for an end that never comes: the last instant that the type can hold, some 292
/// million years away.
pub const FOR_EVER: Millis = Millis::MAX;

/// All instants from `from` (included) to `to` (excluded). Empty spans do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    from: Millis,
    to: Millis,
}

impl Span {
    /// The span [from, to), unless it is empty.
    #[must_use]
    pub fn new(from: Millis, to: Millis) -> Option<Self> {
        (from < to).then_some(Self { from, to })
    }

    /// The first instant.
    #[must_use]
    pub fn from(self) -> Millis {
        self.from
    }

    /// The first instant that no longer belongs to it, or [`FOR_EVER`].
    #[must_use]
    pub fn to(self) -> Millis {
        self.to
    }

    /// Whether it has no end.
    #[must_use]
    pub fn is_open(self) -> bool {
        self.to == FOR_EVER
    }

    /// What both have in common.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.from.max(other.from), self.to.min(other.to))
    }

    /// Whether the instant belongs to it.
    #[must_use]
    pub fn contains(self, t: Millis) -> bool {
        self.from <= t && t < self.to
    }

    /// How many milliseconds it lasts.
    #[must_use]
    pub fn length(self) -> Millis {
        self.to.saturating_sub(self.from)
    }
}

/// A set of instants: spans in order that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanSet(Vec<Span>);

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
    /// Whether the instant belongs to it.
    #[must_use]
    pub fn contains(&self, t: Millis) -> bool {
        self.ending_after(t)
            .first()
            .is_some_and(|span| span.from <= t)
    }

    /// Its spans, in order.
    pub fn spans(&self) -> impl Iterator<Item = Span> {
        self.0.iter().copied()
    }

    /// The first instant of `span` that belongs to the set.
    #[must_use]
    pub fn first_within(&self, span: Span) -> Option<Millis> {
        let common = self.ending_after(span.from).first()?.intersection(span)?;
        Some(common.from)
    }

    /// The first instant of `span` that does not belong to the set.
    #[must_use]
    pub fn first_missing_in(&self, span: Span) -> Option<Millis> {
        self.missing_in(span).next().map(Span::from)
    }

    /// What belongs to it and not to `other`.
    #[must_use]
    pub fn less(&self, other: &Self) -> Self {
        let rest = self.0.iter().flat_map(|&span| other.missing_in(span));
        Self(rest.collect())
    }

    /// `span` less the set: its parts that do not belong to the set, in order.
    pub fn missing_in(&self, span: Span) -> impl Iterator<Item = Span> {
        let within = self.ending_after(span.from);
        let within = &within[..within.partition_point(|own| own.from < span.to)];
        let starts = std::iter::once(span.from).chain(within.iter().map(|own| own.to));
        let ends = within.iter().map(|own| own.from).chain([FOR_EVER]);
        starts
            .zip(ends)
            .filter_map(move |(from, to)| Span::new(from.max(span.from), to.min(span.to)))
    }

    /// For how many milliseconds of `span` the set holds.
    #[must_use]
    pub fn length_within(&self, span: Span) -> Millis {
        self.ending_after(span.from)
            .iter()
            .map_while(|own| own.intersection(span))
            .fold(0, |sum, common| sum.saturating_add(common.length()))
    }

    /// For how many milliseconds both sets hold.
    #[must_use]
    pub fn length_in_common(&self, other: &Self) -> Millis {
        other
            .0
            .iter()
            .fold(0, |sum, &span| sum.saturating_add(self.length_within(span)))
    }

    /// For how many milliseconds it holds.
    #[must_use]
    pub fn length(&self) -> Millis {
        self.length_in_common(self)
    }

    /// Its spans from the first on that ends after `t`: calls of many spans are asked span by span.
    fn ending_after(&self, t: Millis) -> &[Span] {
        &self.0[self.0.partition_point(|own| own.to <= t)..]
    }
}

/// The first and the last of some instants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// None: there are none.
    pub first: Option<Millis>,
    /// None: there are none.
    pub last: Option<Millis>,
}

impl Extent {
    /// Takes an instant in.
    pub fn add(&mut self, t: Millis) {
        self.first = Some(self.first.map_or(t, |first| first.min(t)));
        self.last = self.last.max(Some(t));
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
            spans
                .filter_map(|(from, length)| Span::new(from, from + length))
                .collect()
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
        fn a_difference_has_the_instants_of_the_one_only(one in spans(), other in spans()) {
            let (one, other): (SpanSet, SpanSet) =
                (one.into_iter().collect(), other.into_iter().collect());
            let less = one.less(&other);
            for t in -2..60 {
                prop_assert_eq!(less.contains(t), one.contains(t) && !other.contains(t));
            }
        }

        #[test]
        fn the_first_instant_is_found(set in spans(), from in 0..50_i64, length in 1..20_i64) {
            let set: SpanSet = set.into_iter().collect();
            let span = Span::new(from, from + length).unwrap();
            let inside = (from..from + length).find(|&t| set.contains(t));
            let outside = (from..from + length).find(|&t| !set.contains(t));
            prop_assert_eq!(set.first_within(span), inside);
            prop_assert_eq!(set.first_missing_in(span), outside);
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
