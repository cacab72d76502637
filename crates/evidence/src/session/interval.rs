//! The interval in which a participant is present.

use crate::capture::span::OPEN_END;
use crate::event::instant::Millis;

/// All instants from `from` (included) to `to` (excluded), in Unix milliseconds. It lasts at least one
/// millisecond, because an observed participant was present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PresenceInterval {
    from: Millis,
    to: Millis,
}

impl PresenceInterval {
    /// The interval from `joined` (`None`: without a start) to `left` (`None`: without an end).
    pub(super) fn new(joined: Option<Millis>, left: Option<Millis>) -> Self {
        let from = joined.unwrap_or(Millis::MIN);
        let to = left.unwrap_or(OPEN_END);
        Self { from, to: to.max(from.saturating_add(1)) }
    }

    /// Whether the intervals have an instant in common.
    pub(super) fn overlaps(self, other: Self) -> bool {
        self.from < other.to && other.from < self.to
    }

    /// Whether `at` lies in the interval, or at most `edge` ms before or after it.
    pub(super) fn is_near(self, at: Millis, edge: Millis) -> bool {
        self.from <= at.saturating_add(edge) && at.saturating_sub(edge) < self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjacent_intervals_do_not_overlap() {
        let first = PresenceInterval::new(Some(0), Some(100));
        let second = PresenceInterval::new(Some(100), None);
        assert!(!first.overlaps(second));
        assert!(first.overlaps(PresenceInterval::new(None, Some(1))));
    }

    #[test]
    fn a_participant_that_left_when_it_joined_was_present_for_an_instant() {
        let instant = PresenceInterval::new(Some(100), Some(100));
        assert!(instant.overlaps(PresenceInterval::new(Some(100), None)));
        assert!(!instant.overlaps(PresenceInterval::new(Some(101), None)));
    }

    #[test]
    fn the_edge_applies_to_both_ends() {
        let interval = PresenceInterval::new(Some(10_000), Some(20_000));
        for (t, near) in [(4_999, false), (5_000, true), (24_999, true), (25_000, false)] {
            assert_eq!(interval.is_near(t, 5_000), near, "{t}");
        }
    }
}
