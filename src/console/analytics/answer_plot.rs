//! The answer to a question as a drawing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use askama::Template;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::answer_table::{heading, instant, number, value_word};
use super::asked_period::AskedPeriod;
use super::question_view::PlotPlan;
use crate::console::display::instant_mark::InstantMark;
use crate::console::display::length::plain_number;
use crate::console::drawing::bar_plot::{self, BarPlot, BarValue};
use crate::console::drawing::column_plot::{self, ColumnPlot, ColumnPlotInput, ColumnValue};
use crate::console::frame::PageFrame;
use crate::postgres::QuestionAnswer;
use crate::query::time_range::start_of_day;

/// Maximum number of groups of bars. The table has all rows.
const MAX_GROUPS: usize = 30;
/// Maximum number of hours of a drawing. More of them are drawn by the day.
const MAX_HOURS: i64 = 24 * 8;
/// Maximum number of columns that are drawn one by one, each with its text.
const MAX_SINGLE_COLUMNS: usize = 120;
/// Number of series with a look of their own; those behind them have the last one.
const LOOKS: usize = 6;
/// Maximum number of ticks of the time.
const MAX_TIME_TICKS: usize = 8;
/// Maximum length of the name of a row, in characters.
const MAX_NAME: usize = 44;

/// Horizontal bars as SVG.
#[derive(Template)]
#[template(path = "bar_plot.html")]
pub(in crate::console) struct BarsOfAnswer {
    title: String,
    description: &'static str,
    never: &'static str,
    names: Vec<String>,
    series: Vec<String>,
    plot: BarPlot,
    /// Rows that are not drawn.
    more: Option<String>,
}

/// Columns over time as SVG, and the same for the script that follows a pointer.
#[derive(Template)]
#[template(path = "column_plot.html")]
pub(super) struct ColumnsOfAnswer {
    title: String,
    description: &'static str,
    never: &'static str,
    /// The text of each place of the axis.
    slots: Vec<String>,
    /// Whether the places are hours of one day.
    is_one_day: bool,
    series: Vec<String>,
    plot: ColumnPlot,
    data: String,
}

/// The drawing of an answer.
pub(super) enum AnswerPlot {
    Bars(BarsOfAnswer),
    Columns(ColumnsOfAnswer),
}

impl askama::filters::HtmlSafe for BarsOfAnswer {}
impl askama::filters::HtmlSafe for ColumnsOfAnswer {}

/// The look of a series.
fn look(series: usize) -> usize {
    series.min(LOOKS - 1)
}

impl BarsOfAnswer {
    fn width(&self) -> f64 {
        bar_plot::WIDTH
    }

    fn left(&self) -> f64 {
        bar_plot::LEFT
    }

    fn tick(&self, value: &f64) -> String {
        plain_number(*value)
    }

    fn look(&self, series: &usize) -> usize {
        look(*series)
    }

    fn value(&self, value: &BarValue) -> String {
        match value {
            BarValue::Absent => "–".to_owned(),
            BarValue::Finite(value) => plain_number(*value),
            BarValue::Infinite => self.never.to_owned(),
        }
    }

    fn is_infinite(&self, value: &BarValue) -> bool {
        *value == BarValue::Infinite
    }
}

impl ColumnsOfAnswer {
    fn width(&self) -> f64 {
        column_plot::WIDTH
    }

    fn height(&self) -> f64 {
        column_plot::HEIGHT
    }

    fn left(&self) -> f64 {
        column_plot::LEFT
    }

    fn right(&self) -> f64 {
        column_plot::RIGHT
    }

    fn bottom(&self) -> f64 {
        column_plot::BOTTOM
    }

    fn tick(&self, value: &f64) -> String {
        plain_number(*value)
    }

    fn look(&self, series: &usize) -> usize {
        look(*series)
    }

    fn slot(&self, slot: &usize) -> &str {
        self.slots.get(*slot).map_or("", String::as_str)
    }

    /// Whether each column is drawn with its text: a page of very many would be too large.
    fn has_single_columns(&self) -> bool {
        self.plot.columns.len() <= MAX_SINGLE_COLUMNS
    }

    /// All columns of a series as one path.
    fn path(&self, series: &usize) -> String {
        let mut path = String::new();
        for column in self.plot.columns.iter().filter(|it| it.of.series == *series) {
            let (x, y, width, height) = (column.x, column.y, column.width, column.height);
            // Writing to a string cannot fail.
            let _ = write!(path, "M{x} {y}h{width}v{height}h-{width}z");
        }
        path
    }

    /// The text of a tick: the day, or the hour of the only one.
    fn tick_of(&self, slot: &usize) -> &str {
        let text = self.slot(slot);
        let day = "2026-11-23".len();
        let (shown, clock) = (text.get(..day), text.get(day + 1..day + "18:00".len() + 1));
        if self.is_one_day { clock } else { shown }.unwrap_or(text)
    }

    fn column_title(&self, of: &ColumnValue) -> String {
        let series = self.series.get(of.series).map_or("", String::as_str);
        let value =
            if of.value.is_finite() { plain_number(of.value) } else { self.never.to_owned() };
        format!("{}, {series}: {value}", self.slot(&of.slot))
    }
}

/// A drawing with each look, for the page of the parts of the design.
pub(in crate::console) fn sample(f: &PageFrame) -> BarsOfAnswer {
    let series = (1..=LOOKS).map(|number| format!("{} {number}", f.t("styleguide.field")));
    let bars = (0..LOOKS).map(|look| BarValue::Finite((LOOKS - look) as f64));
    let bars: Vec<BarValue> = bars.chain([BarValue::Infinite]).collect();
    BarsOfAnswer {
        title: f.t("styleguide.drawing").to_owned(),
        description: f.t("styleguide.text"),
        never: f.t("analytics.never"),
        names: vec![f.t("styleguide.text").to_owned()],
        series: series.collect(),
        plot: bar_plot::draw(&[bars]),
        more: None,
    }
}

/// The drawing of an answer; `None`: there is nothing to draw.
pub(super) fn of(
    f: &PageFrame,
    title: &str,
    plan: PlotPlan,
    answer: &QuestionAnswer,
    period: &AskedPeriod,
) -> Option<AnswerPlot> {
    if answer.rows.is_empty() {
        return None;
    }
    let columns = Columns(answer);
    match plan {
        PlotPlan::Bars { labels, values } => {
            let rows = answer.rows.iter().take(MAX_GROUPS).map(|row| {
                let name =
                    labels.iter().map(|label| value_word(f, label, columns.text(row, label)));
                let name = shortened(&name.collect::<Vec<_>>().join(" · "));
                (name, values.iter().map(|value| bar(columns.text(row, value))).collect())
            });
            let series = values.iter().map(|value| heading(f, value)).collect();
            Some(bars(f, title, rows.collect(), series, answer.rows.len()))
        }
        PlotPlan::OneRow(values) => {
            let row = answer.rows.first()?;
            let rows =
                values.iter().map(|name| (heading(f, name), vec![bar(columns.text(row, name))]));
            Some(bars(f, title, rows.collect(), Vec::new(), 1))
        }
        PlotPlan::Days(values) => {
            let days: Vec<String> = period.days().iter().map(ToString::to_string).collect();
            let mut found = Vec::new();
            for row in &answer.rows {
                let day = columns.text(row, "day").unwrap_or_default();
                let Some(slot) = days.iter().position(|it| it == day) else { continue };
                for (series, name) in values.iter().enumerate() {
                    if let Some(value) = latency(columns.text(row, name), name) {
                        found.push(ColumnValue { slot, series, value });
                    }
                }
            }
            let starts = period.days().into_iter().map(|day| start_of_day(period.zone, day));
            let seconds = starts.map(|at| at.timestamp()).collect();
            let series = values.iter().map(|name| heading(f, name)).collect();
            let input = ColumnPlotInput {
                slots: days.len(),
                series: values.len(),
                is_stacked: false,
                values: found,
                ticks: every(&(0..days.len()).collect::<Vec<_>>()),
            };
            Some(column_plot(f, title, &input, days, series, seconds))
        }
        PlotPlan::Hours { part, value } => hours(f, title, (part, value), &columns, period),
    }
}

/// An answer, read by the names of its columns.
struct Columns<'a>(&'a QuestionAnswer);

impl<'a> Columns<'a> {
    fn text(&self, row: &'a [Option<String>], name: &str) -> Option<&'a str> {
        let at = self.0.columns.iter().position(|column| column == name)?;
        row.get(at)?.as_deref()
    }
}

/// The bar of a cell.
fn bar(text: Option<&str>) -> BarValue {
    match text.and_then(number) {
        None => BarValue::Absent,
        Some(value) if value.is_infinite() => BarValue::Infinite,
        Some(value) => BarValue::Finite(value),
    }
}

/// The value of a cell of a day. The bound of a bucket is null where so many were never told.
fn latency(text: Option<&str>, column: &str) -> Option<f64> {
    match text {
        None if column.ends_with("_le_ms") => Some(f64::INFINITY),
        text => text.and_then(number),
    }
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= MAX_NAME {
        return name.to_owned();
    }
    let mut short: String = name.chars().take(MAX_NAME - 1).collect();
    short.push('…');
    short
}

fn bars(
    f: &PageFrame,
    title: &str,
    rows: Vec<(String, Vec<BarValue>)>,
    series: Vec<String>,
    all: usize,
) -> AnswerPlot {
    let drawn = rows.len();
    let (names, values): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let more = (all > MAX_GROUPS)
        .then(|| f.words.with("analytics.drawn", &[("drawn", &drawn), ("all", &all)]));
    AnswerPlot::Bars(BarsOfAnswer {
        title: title.to_owned(),
        description: f.t("analytics.same_as_table"),
        never: f.t("analytics.never"),
        plot: bar_plot::draw(&values),
        names,
        series,
        more,
    })
}

/// Stacks of columns by the hours of the period; by its days, if there are too many hours. Counts of hours add
/// up to those of a day.
fn hours(
    f: &PageFrame,
    title: &str,
    (part, value): (&str, &str),
    columns: &Columns<'_>,
    period: &AskedPeriod,
) -> Option<AnswerPlot> {
    let begin = start_of_day(period.zone, period.first);
    let end = start_of_day(period.zone, period.last.succ_opt()?);
    let hours = (end - begin).num_hours();
    let is_by_hour = hours <= MAX_HOURS;
    let starts: Vec<DateTime<Utc>> = if is_by_hour {
        (0..hours).map(|hour| begin + TimeDelta::hours(hour)).collect()
    } else {
        period.days().into_iter().map(|day| start_of_day(period.zone, day)).collect()
    };
    let mut parts: Vec<String> = Vec::new();
    let mut sums: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    for row in &columns.0.rows {
        let at = columns.text(row, "hour").and_then(instant);
        let number = columns.text(row, value).and_then(number);
        let (Some(at), Some(value)) = (at, number) else { continue };
        // The place whose start is the last one not after the hour.
        let Some(slot) = starts.partition_point(|start| *start <= at).checked_sub(1) else {
            continue;
        };
        let name = value_word(f, part, columns.text(row, part));
        let series = parts.iter().position(|it| *it == name).unwrap_or_else(|| {
            parts.push(name);
            parts.len() - 1
        });
        *sums.entry((slot, series)).or_default() += value;
    }
    let values =
        sums.into_iter().map(|((slot, series), value)| ColumnValue { slot, series, value });
    let slots = starts.iter().map(|at| {
        let text = InstantMark::of(*at, period.zone).text();
        let (day, _) = text.split_at("2026-11-23".len());
        // A place of the axis is an hour, or a day.
        if is_by_hour { text.replace(":00:00.000", ":00") } else { day.to_owned() }
    });
    let slots: Vec<String> = slots.collect();
    // The first hour of each day.
    let of_day = |at: &DateTime<Utc>| at.with_timezone(&period.zone).date_naive();
    let is_one_day = is_by_hour && period.first == period.last;
    let ticks = (0..slots.len()).filter(|slot| {
        is_one_day || *slot == 0 || of_day(&starts[*slot]) != of_day(&starts[*slot - 1])
    });
    let ticks: Vec<usize> = ticks.collect();
    let input = ColumnPlotInput {
        slots: slots.len(),
        series: parts.len(),
        is_stacked: true,
        values: values.collect(),
        ticks: every(&ticks),
    };
    let seconds = starts.iter().map(DateTime::timestamp).collect();
    Some(column_plot(f, title, &input, slots, parts, seconds))
}

/// Some of the places, at the same distance.
fn every(places: &[usize]) -> Vec<usize> {
    let step = places.len().div_ceil(MAX_TIME_TICKS).max(1);
    places.iter().copied().step_by(step).collect()
}

/// Whether places are hours of one day, of which the longest has 25.
fn is_one_day(seconds: &[i64]) -> bool {
    let length = seconds.last().zip(seconds.first()).map_or(0, |(last, first)| last - first);
    seconds.len() > 2 && length <= 24 * 3_600
}

fn column_plot(
    f: &PageFrame,
    title: &str,
    input: &ColumnPlotInput,
    slots: Vec<String>,
    series: Vec<String>,
    seconds: Vec<i64>,
) -> AnswerPlot {
    let mut values = vec![vec![None; input.slots]; input.series];
    for it in &input.values {
        if let Some(cell) = values.get_mut(it.series).and_then(|of| of.get_mut(it.slot)) {
            // Infinity is no number of JSON, and no height of a column.
            *cell = it.value.is_finite().then_some(it.value);
        }
    }
    let data = json!({
        "seconds": seconds,
        "series": series.iter().zip(values).map(|(name, values)| json!({ "name": name, "values": values })).collect::<Vec<_>>(),
        "stacked": input.is_stacked,
        "zone": f.zone.name(),
        "time": f.t("analytics.time"),
    });
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(text, "{data}");
    AnswerPlot::Columns(ColumnsOfAnswer {
        title: title.to_owned(),
        description: f.t("analytics.same_as_table"),
        never: f.t("analytics.never"),
        is_one_day: is_one_day(&seconds),
        slots,
        series,
        plot: column_plot::draw(input),
        data: text,
    })
}
