//! Horizontal bars: a group for each row, with a bar for each value.

use super::value_scale::{place, ticks};

/// Width of the drawing.
pub(in crate::console) const WIDTH: f64 = 1_000.0;
/// Where bars begin; the names of the rows are left of it.
pub(in crate::console) const LEFT: f64 = 300.0;
/// Where the longest bar ends; its number is right of it.
const RIGHT: f64 = 880.0;
/// Height of the axis.
const AXIS: f64 = 26.0;
/// Height of a bar, and the distance to the next one.
const BAR: f64 = 14.0;
const BAR_STEP: f64 = 17.0;
/// Distance of two groups.
const GROUP_GAP: f64 = 12.0;
/// Minimum width of a bar with a value, so that it can be seen.
const MIN_VISIBLE: f64 = 1.6;

/// The value of a bar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::console) enum BarValue {
    /// There is none.
    Absent,
    Finite(f64),
    /// Longer than the scale.
    Infinite,
}

/// A bar.
#[derive(Debug, PartialEq)]
pub(in crate::console) struct BarDrawing {
    pub series: usize,
    pub value: BarValue,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// The bars of a row.
#[derive(Debug)]
pub(in crate::console) struct BarGroup {
    pub row: usize,
    /// The middle of the group.
    pub y: f64,
    pub bars: Vec<BarDrawing>,
}

/// The drawing.
#[derive(Debug)]
pub(in crate::console) struct BarPlot {
    pub height: f64,
    pub bottom: f64,
    /// Value and place of each tick.
    pub ticks: Vec<(f64, f64)>,
    pub groups: Vec<BarGroup>,
}

/// Draws a group of bars for each row.
pub(in crate::console) fn draw(rows: &[Vec<BarValue>]) -> BarPlot {
    let max = rows.iter().flatten().fold(0.0_f64, |max, value| match value {
        BarValue::Finite(value) => max.max(*value),
        BarValue::Absent | BarValue::Infinite => max,
    });
    let ticks = ticks(max);
    let top = ticks.last().copied().unwrap_or(1.0);
    let x = |value: f64| place(LEFT + (RIGHT - LEFT) * (value / top).clamp(0.0, 1.0));
    let mut y = AXIS + GROUP_GAP / 2.0;
    let mut groups = Vec::with_capacity(rows.len());
    for (row, values) in rows.iter().enumerate() {
        let begin = y;
        let mut bars = Vec::with_capacity(values.len());
        for (series, value) in values.iter().copied().enumerate() {
            let width = match value {
                BarValue::Absent | BarValue::Finite(0.0) => 0.0,
                BarValue::Finite(value) => (x(value) - LEFT).max(MIN_VISIBLE),
                BarValue::Infinite => RIGHT - LEFT,
            };
            bars.push(BarDrawing { series, value, y: place(y), width: place(width), height: BAR });
            y += BAR_STEP;
        }
        groups.push(BarGroup { row, y: place(f64::midpoint(begin, y - (BAR_STEP - BAR))), bars });
        y += GROUP_GAP;
    }
    let bottom = place(y - GROUP_GAP / 2.0);
    let ticks = ticks.into_iter().map(|value| (value, x(value))).collect();
    BarPlot { height: bottom + 4.0, bottom, ticks, groups }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values_and_what_never_ends_is_as_long_as_the_scale() {
        use BarValue::{Absent, Finite, Infinite};
        let plot =
            draw(&[vec![Finite(50.0), Infinite], vec![Finite(100.0), Absent], vec![Finite(0.0)]]);
        let width = |row: usize, series: usize| plot.groups[row].bars[series].width;
        assert!((width(1, 0) - (RIGHT - LEFT)).abs() < 0.1);
        assert!((width(0, 0) * 2.0 - width(1, 0)).abs() < 0.2);
        assert!((width(0, 1) - (RIGHT - LEFT)).abs() < 0.1);
        assert!(width(1, 1) == 0.0 && width(2, 0) == 0.0);
        // No two bars touch.
        let mut places: Vec<f64> =
            plot.groups.iter().flat_map(|it| &it.bars).map(|it| it.y).collect();
        places.sort_by(f64::total_cmp);
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] > BAR));
        assert!(plot.bottom > places.last().unwrap() + BAR);
    }

    #[test]
    fn a_small_value_can_be_seen_and_no_rows_are_no_bars() {
        let plot = draw(&[vec![BarValue::Finite(0.001)], vec![BarValue::Finite(1e9)]]);
        assert!(plot.groups[0].bars[0].width >= MIN_VISIBLE);
        assert!(draw(&[]).groups.is_empty());
    }
}
