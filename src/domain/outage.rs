//! Outages: when nobody was there to see what happened.
//!
//! Every node notes when it is well in each of its rooms. An outage of a room is an instant between
//! the first and the last that are known of it, at which no node was well there.
//!
//! # Why
//!
//! Nobody can note that he is gone. So what is noted is presence, and absence is what is left: a
//! node that was killed, frozen, or could write nothing down counts as absent, and an outage is
//! never shorter than it was.

use super::instant::Millis;
use super::span::{Span, SpanSet};

/// When no node was well within what was asked for, in order. `known` reaches from the first
/// presence to the last of which anything is known.
#[must_use]
pub fn outages(
    well: impl IntoIterator<Item = Span>,
    known: Option<Span>,
    asked: Span,
) -> Vec<Span> {
    let Some(within) = known.and_then(|known| known.intersection(asked)) else {
        return Vec::new();
    };
    let well: SpanSet = well.into_iter().collect();
    well.missing_in(within).collect()
}

/// From the first presence of a room to the last moment at which one would have been noted: another
/// room's presence, if it was noted more than `lag` later, tells that this room's is missing.
#[must_use]
pub fn known(first: Millis, last: Millis, last_of_any_room: Millis, lag: Millis) -> Option<Span> {
    let noted = last_of_any_room.saturating_sub(lag);
    Span::new(first, last.max(noted))
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
        fn an_outage_is_where_nobody_was_well_and_nowhere_else(
            well in proptest::collection::vec(span(), 0..8),
            known in proptest::option::of(span()),
            asked in span(),
        ) {
            let found = outages(well.clone(), known, asked);
            let holds = |spans: &[Span], t: Millis| {
                spans.iter().any(|span| span.from() <= t && t < span.to())
            };
            for t in -1..80 {
                let out = known.is_some_and(|known| holds(&[known], t))
                    && holds(&[asked], t)
                    && !holds(&well, t);
                prop_assert_eq!(holds(&found, t), out, "at {}", t);
            }
            prop_assert!(found.windows(2).all(|pair| pair[0].to() < pair[1].from()));
        }

        #[test]
        fn nodes_that_hand_over_to_each_other_leave_no_outage(
            well in proptest::collection::vec(span(), 1..8),
            asked in span(),
        ) {
            let from = well.iter().map(|span| span.from()).min().unwrap();
            let to = well.iter().map(|span| span.to()).max().unwrap();
            let whole = Span::new(from, to).unwrap();
            let all = well.into_iter().chain([whole]);
            prop_assert_eq!(outages(all, Some(whole), asked), vec![]);
        }
    }

    #[test]
    fn a_room_of_which_nothing_comes_any_more_is_out_as_long_as_others_are_noted() {
        assert_eq!(known(0, 100, 103, 10), Span::new(0, 100));
        assert_eq!(known(0, 100, 200, 10), Span::new(0, 190));
        assert_eq!(known(0, 0, 0, 10), None);
    }
}
