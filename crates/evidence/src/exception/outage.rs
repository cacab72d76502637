//! Outages of a role: the intervals in which no node was healthy in it.
//!
//! Every node records in which of its roles it is healthy. An outage lies between the first and the
//! last known instant of a role, where no record covers it.
//!
//! # Why
//!
//! A node cannot record that it is gone. So presence is recorded, and an outage is the time without
//! a record: a node that was killed, frozen or cut off from the store counts as absent, and an
//! outage is never reported shorter than it was.

use crate::capture::span::{Span, SpanSet};
use crate::event::instant::Millis;

/// The intervals within `asked` and `known` in which no node was healthy, in order. `known` is the
/// result of [`known_period`].
#[must_use]
pub fn outages(
    healthy: impl IntoIterator<Item = Span>,
    known: Option<Span>,
    asked: Span,
) -> Vec<Span> {
    let Some(within) = known.and_then(|known| known.intersection(asked)) else {
        return Vec::new();
    };
    let healthy: SpanSet = healthy.into_iter().collect();
    healthy.missing_in(within).collect()
}

/// The period for which the presence of a role is known (Unix milliseconds; `lag` is a length in
/// milliseconds). It reaches from its first record to its last one, or to `lag` before the last
/// record of any role: a record of another role that is later than that shows that this role's is
/// missing.
#[must_use]
pub fn known_period(
    first: Millis,
    last: Millis,
    last_of_any_role: Millis,
    lag: Millis,
) -> Option<Span> {
    let recorded = last_of_any_role.saturating_sub(lag);
    Span::new(first, last.max(recorded))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span() -> impl Strategy<Value = Span> {
        (0..60_i64, 1..15_i64).prop_map(|(from, length)| Span::new(from, from + length).unwrap())
    }

    proptest! {
        #[test]
        fn an_outage_is_where_no_node_was_healthy_and_nowhere_else(
            healthy in proptest::collection::vec(span(), 0..8),
            known in proptest::option::of(span()),
            asked in span(),
        ) {
            let found = outages(healthy.clone(), known, asked);
            let holds = |spans: &[Span], t: Millis| {
                spans.iter().any(|span| span.from() <= t && t < span.to())
            };
            for t in -1..80 {
                let out = known.is_some_and(|known| holds(&[known], t))
                    && holds(&[asked], t)
                    && !holds(&healthy, t);
                prop_assert_eq!(holds(&found, t), out, "at {}", t);
            }
            prop_assert!(found.windows(2).all(|pair| pair[0].to() < pair[1].from()));
        }

        #[test]
        fn nodes_that_hand_over_to_each_other_leave_no_outage(
            healthy in proptest::collection::vec(span(), 1..8),
            asked in span(),
        ) {
            let from = healthy.iter().map(|span| span.from()).min().unwrap();
            let to = healthy.iter().map(|span| span.to()).max().unwrap();
            let whole = Span::new(from, to).unwrap();
            let all = healthy.into_iter().chain([whole]);
            prop_assert_eq!(outages(all, Some(whole), asked), vec![]);
        }
    }

    #[test]
    fn a_role_without_records_is_out_as_long_as_other_roles_have_some() {
        assert_eq!(known_period(0, 100, 103, 10), Span::new(0, 100));
        assert_eq!(known_period(0, 100, 200, 10), Span::new(0, 190));
        assert_eq!(known_period(0, 0, 0, 10), None);
    }
}
