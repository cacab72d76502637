//! A scale of time: instants become places, and ticks lie on round instants.

use onrecord_evidence::event::instant::Millis;

/// Minimum length that a scale shows, ms.
pub(in crate::console) const MIN_WINDOW: Millis = 100;
/// Maximum number of ticks.
const MAX_TICKS: i64 = 9;
/// Steps between ticks, ms.
const STEPS: [Millis; 24] = [
    10,
    20,
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    15_000,
    30_000,
    60_000,
    120_000,
    300_000,
    600_000,
    900_000,
    1_800_000,
    3_600_000,
    7_200_000,
    21_600_000,
    43_200_000,
    86_400_000,
    604_800_000,
];

/// An interval of time; the end is not before the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::console) struct TimeWindow {
    pub from: Millis,
    pub to: Millis,
}

impl TimeWindow {
    /// The window between two instants, at least [`MIN_WINDOW`] long.
    pub(in crate::console) fn new(from: Millis, to: Millis) -> Self {
        Self { from, to: to.max(from.saturating_add(MIN_WINDOW)) }
    }

    pub(in crate::console) fn length(self) -> Millis {
        self.to - self.from
    }

    /// A window of another length around the same middle.
    pub(in crate::console) fn zoomed(self, length: Millis) -> Self {
        let length = length.max(MIN_WINDOW);
        let middle = self.from + self.length() / 2;
        Self { from: middle - length / 2, to: middle - length / 2 + length }
    }

    /// The window earlier or later by a part of its length.
    pub(in crate::console) fn shifted(self, by: Millis) -> Self {
        Self { from: self.from + by, to: self.to + by }
    }

    /// The window within another one.
    pub(in crate::console) fn within(self, all: Self) -> Self {
        let length = self.length().min(all.length());
        let from = self.from.clamp(all.from, all.to - length);
        Self { from, to: from + length }
    }
}

/// Places of the instants of a window between two edges.
#[derive(Clone, Copy, Debug)]
pub(in crate::console) struct InstantScale {
    window: TimeWindow,
    left: f64,
    width: f64,
}

impl InstantScale {
    pub(in crate::console) fn new(window: TimeWindow, left: f64, right: f64) -> Self {
        Self { window, left, width: right - left }
    }

    /// The place of an instant; those outside of the window have the place of its edge.
    pub(in crate::console) fn x(&self, at: Millis) -> f64 {
        let at = at.clamp(self.window.from, self.window.to) - self.window.from;
        self.left + self.width * at as f64 / self.window.length() as f64
    }

    /// The places of an interval. `None`: no part of it is in the window.
    pub(in crate::console) fn span(&self, from: Millis, to: Millis) -> Option<(f64, f64)> {
        let is_there = from <= self.window.to && to >= self.window.from;
        is_there.then(|| (self.x(from), self.x(to)))
    }

    pub(in crate::console) fn has(&self, at: Millis) -> bool {
        (self.window.from..=self.window.to).contains(&at)
    }

    /// The step between ticks, and their instants. `offset` is that of the zone from UTC, so that hours and
    /// days are those of its clock.
    pub(in crate::console) fn ticks(&self, offset: Millis) -> (Millis, Vec<Millis>) {
        let longest = STEPS[STEPS.len() - 1];
        let fits = |step: &&Millis| self.window.length() / **step <= MAX_TICKS;
        let step = STEPS
            .iter()
            .find(fits)
            .copied()
            .unwrap_or_else(|| longest * (self.window.length() / longest / MAX_TICKS + 1));
        let local = self.window.from + offset;
        let first =
            local.div_euclid(step) * step + if local.rem_euclid(step) == 0 { 0 } else { step };
        let mut ticks = Vec::new();
        let mut at = first - offset;
        while at <= self.window.to {
            ticks.push(at);
            at += step;
        }
        (step, ticks)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ticks_are_few_in_order_in_the_window_and_on_round_instants(
            from in 1_600_000_000_000_i64..1_900_000_000_000, length in 0_i64..4_000_000_000, hours in -12_i64..14,
        ) {
            let window = TimeWindow::new(from, from + length);
            let scale = InstantScale::new(window, 0.0, 100.0);
            let offset = hours * 3_600_000;
            let (step, ticks) = scale.ticks(offset);
            prop_assert!(ticks.len() <= 11, "{}", ticks.len());
            for tick in &ticks {
                prop_assert!(scale.has(*tick));
                prop_assert_eq!((tick + offset).rem_euclid(step), 0);
            }
            prop_assert!(ticks.windows(2).all(|pair| pair[1] - pair[0] == step));
        }

        #[test]
        fn a_later_instant_is_never_further_left(
            from in 0_i64..1_000_000, length in 0_i64..1_000_000, one in -10_000_i64..2_000_000, other in -10_000_i64..2_000_000,
        ) {
            let scale = InstantScale::new(TimeWindow::new(from, from + length), 190.0, 985.0);
            let (early, late) = (one.min(other), one.max(other));
            prop_assert!(scale.x(early) <= scale.x(late));
            prop_assert!((190.0..=985.0).contains(&scale.x(one)));
        }

        #[test]
        fn a_window_within_another_keeps_its_length_where_it_can(
            from in 0_i64..100_000, length in 0_i64..100_000, at in -50_000_i64..200_000, of in 0_i64..300_000,
        ) {
            let all = TimeWindow::new(from, from + length);
            let inner = TimeWindow::new(at, at + of).within(all);
            prop_assert!(inner.from >= all.from && inner.to <= all.to);
            prop_assert_eq!(inner.length(), of.max(MIN_WINDOW).min(all.length()));
        }
    }

    #[test]
    fn zooming_keeps_the_middle() {
        let window = TimeWindow::new(1_000, 9_000);
        assert_eq!(window.zoomed(4_000), TimeWindow { from: 3_000, to: 7_000 });
        assert_eq!(window.zoomed(1).length(), MIN_WINDOW);
        assert_eq!(window.shifted(-500), TimeWindow { from: 500, to: 8_500 });
        assert_eq!(InstantScale::new(window, 0.0, 80.0).span(0, 3_000), Some((0.0, 20.0)));
        assert_eq!(InstantScale::new(window, 0.0, 80.0).span(9_001, 9_500), None);
    }
}
