//! Columns over time: at each place of an axis a group of columns, or a stack.

use super::value_scale::{place, ticks};

/// Width and height of the drawing.
pub(in crate::console) const WIDTH: f64 = 1_000.0;
pub(in crate::console) const HEIGHT: f64 = 320.0;
/// The plot, without its axes.
pub(in crate::console) const LEFT: f64 = 72.0;
pub(in crate::console) const RIGHT: f64 = 988.0;
const TOP: f64 = 12.0;
pub(in crate::console) const BOTTOM: f64 = 286.0;
/// Part of the width of a place that columns fill.
const FILL: f64 = 0.8;
/// Maximum width of a group of columns.
const MAX_GROUP: f64 = 90.0;
/// Minimum height of a column with a value, so that it can be seen.
const MIN_VISIBLE: f64 = 1.6;

/// A value at a place of the axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::console) struct ColumnValue {
    pub slot: usize,
    pub series: usize,
    /// Infinity: longer than the scale.
    pub value: f64,
}

/// What is drawn.
#[derive(Clone, Debug)]
pub(in crate::console) struct ColumnPlotInput {
    /// Number of places.
    pub slots: usize,
    pub series: usize,
    /// On each other rather than beside each other.
    pub is_stacked: bool,
    pub values: Vec<ColumnValue>,
    /// Places with a tick.
    pub ticks: Vec<usize>,
}

/// A column.
#[derive(Debug, PartialEq)]
pub(in crate::console) struct ColumnDrawing {
    pub of: ColumnValue,
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// The drawing.
#[derive(Debug)]
pub(in crate::console) struct ColumnPlot {
    /// Value and place of each tick of the values.
    pub value_ticks: Vec<(f64, f64)>,
    /// Slot and place of each tick of the time.
    pub slot_ticks: Vec<(usize, f64)>,
    pub columns: Vec<ColumnDrawing>,
}

/// Draws columns.
pub(in crate::console) fn draw(input: &ColumnPlotInput) -> ColumnPlot {
    let slots = input.slots.max(1);
    let mut sums = vec![0.0_f64; slots];
    let mut max = 0.0_f64;
    let drawn = || input.values.iter().filter(|it| it.slot < slots && it.value > 0.0);
    for value in drawn().filter(|it| it.value.is_finite()) {
        sums[value.slot] += value.value;
        max = max.max(if input.is_stacked { sums[value.slot] } else { value.value });
    }
    let value_ticks = ticks(max);
    let top = value_ticks.last().copied().unwrap_or(1.0);
    let y = |value: f64| BOTTOM - (BOTTOM - TOP) * (value / top).clamp(0.0, 1.0);
    let slot_width = (RIGHT - LEFT) / slots as f64;
    let middle = |slot: usize| LEFT + slot_width * (slot as f64 + 0.5);
    let group = (slot_width * FILL).min(MAX_GROUP);
    let beside = if input.is_stacked { 1 } else { input.series.max(1) };
    let width = group / beside as f64;
    let mut heights = vec![0.0_f64; slots];
    let mut columns = Vec::new();
    for value in drawn().copied() {
        let begin = if input.is_stacked { heights[value.slot] } else { 0.0 };
        let end = begin + value.value;
        heights[value.slot] = if end.is_finite() { end } else { begin };
        let place_in_group = if input.is_stacked { 0 } else { value.series };
        let height = (y(begin) - y(end)).max(MIN_VISIBLE);
        columns.push(ColumnDrawing {
            of: value,
            x: place(middle(value.slot) - group / 2.0 + width * place_in_group as f64),
            y: place((y(begin) - height).max(TOP)),
            width: place(width.max(1.0)),
            height: place(height),
        });
    }
    ColumnPlot {
        value_ticks: value_ticks.into_iter().map(|value| (value, place(y(value)))).collect(),
        slot_ticks: input
            .ticks
            .iter()
            .filter(|slot| **slot < slots)
            .map(|slot| (*slot, place(middle(*slot))))
            .collect(),
        columns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(slot: usize, series: usize, value: f64) -> ColumnValue {
        ColumnValue { slot, series, value }
    }

    fn input(is_stacked: bool, values: &[ColumnValue]) -> ColumnPlotInput {
        let values = values.to_vec();
        ColumnPlotInput { slots: 3, series: 2, is_stacked, values, ticks: vec![0, 2, 9] }
    }

    #[test]
    fn a_stack_is_as_high_as_its_sum_and_a_group_lies_side_by_side() {
        let values = [value(0, 0, 3.0), value(0, 1, 7.0), value(2, 0, 10.0)];
        let stacked = draw(&input(true, &values));
        let [low, high, whole] = [0, 1, 2].map(|at| &stacked.columns[at]);
        assert!((low.height + high.height - whole.height).abs() < 0.2);
        assert!((high.y + high.height - low.y).abs() < 0.2 && low.x == high.x);
        let beside = draw(&input(false, &values));
        assert!(beside.columns[0].x + beside.columns[0].width <= beside.columns[1].x + 0.1);
        assert_eq!(stacked.slot_ticks.iter().map(|it| it.0).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn everything_lies_in_the_plot() {
        let values =
            [value(0, 0, f64::INFINITY), value(1, 1, 1e-9), value(7, 0, 5.0), value(2, 0, 4.0)];
        let plot = draw(&input(false, &values));
        assert_eq!(plot.columns.len(), 3);
        for column in &plot.columns {
            assert!(column.x >= LEFT && column.x + column.width <= RIGHT, "{column:?}");
            assert!(column.y >= TOP && column.y + column.height <= BOTTOM + 0.1, "{column:?}");
        }
        assert!(draw(&ColumnPlotInput { slots: 0, ..input(true, &[]) }).columns.is_empty());
    }
}
