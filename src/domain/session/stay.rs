//! When somebody is there.

use crate::domain::instant::Millis;
use crate::domain::span::FOR_EVER;

/// From `from` (included) to `to` (excluded), in Unix milliseconds. Unlike a span it is never
/// empty: whoever was seen was there for a millisecond at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    from: Millis,
    to: Millis,
}

impl Stay {
    /// From `joined` (`None`: since ever) to `left` (`None`: for ever).
    pub fn new(joined: Option<Millis>, left: Option<Millis>) -> Self {
        let from = joined.unwrap_or(Millis::MIN);
        let to = left.unwrap_or(FOR_EVER);
        Self {
            from,
            to: to.max(from.saturating_add(1)),
        }
    }

    /// Whether both were there at some instant.
    pub fn overlaps(self, other: Self) -> bool {
        self.from < other.to && other.from < self.to
    }

    /// Whether somebody was there at most `edge` before or after `t`.
    pub fn is_near(self, t: Millis, edge: Millis) -> bool {
        self.from <= t.saturating_add(edge) && t.saturating_sub(edge) < self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_that_touch_do_not_overlap() {
        let first = Stay::new(Some(0), Some(100));
        let second = Stay::new(Some(100), None);
        assert!(!first.overlaps(second));
        assert!(first.overlaps(Stay::new(None, Some(1))));
    }

    #[test]
    fn who_left_on_arrival_was_there_for_an_instant() {
        let instant = Stay::new(Some(100), Some(100));
        assert!(instant.overlaps(Stay::new(Some(100), None)));
        assert!(!instant.overlaps(Stay::new(Some(101), None)));
    }

    #[test]
    fn the_edge_counts_on_both_sides() {
        let stay = Stay::new(Some(10_000), Some(20_000));
        for (t, near) in [
            (4_999, false),
            (5_000, true),
            (24_999, true),
            (25_000, false),
        ] {
            assert_eq!(stay.is_near(t, 5_000), near, "{t}");
        }
    }
}
