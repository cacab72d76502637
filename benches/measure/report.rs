//! Percentiles, medians of runs, and the report as text and JSON.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// Where a figure should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtMost(most) => figure <= most,
            Self::AtLeast(least) => figure >= least,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::AtLeast(least) => write!(f, "≥ {least}"),
        }
    }
}

/// One figure of one run, or the median of several.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    name: String,
    unit: &'static str,
    ours: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bare: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
}

impl Row {
    /// The value that is compared with the target: the ratio, if there is one.
    fn checked(&self) -> f64 {
        self.ratio.unwrap_or(self.ours)
    }
}

/// The figures of one run.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Figures {
    rows: Vec<Row>,
}

impl Figures {
    /// A figure by itself.
    pub fn note(&mut self, name: impl Into<String>, unit: &'static str, ours: f64) {
        self.keep(name.into(), unit, ours, None, None);
    }

    /// A figure by itself, and where it should be.
    pub fn check(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        ours: f64,
        target: Target,
    ) {
        self.keep(name.into(), unit, ours, None, Some(target));
    }

    /// A figure beside its baseline, and where their ratio should be.
    pub fn compare(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        ours: f64,
        bare: f64,
        target: Option<Target>,
    ) {
        self.keep(name.into(), unit, ours, Some(bare), target);
    }

    fn keep(
        &mut self,
        name: String,
        unit: &'static str,
        ours: f64,
        bare: Option<f64>,
        target: Option<Target>,
    ) {
        let row = Row { name, unit, ours, bare, ratio: bare.map(|bare| ours / bare), target };
        eprintln!("  {row}");
        self.rows.push(row);
    }
}

/// The figures of all runs.
#[derive(Debug, Default)]
pub struct Report {
    runs: Vec<Figures>,
}

#[derive(Serialize)]
struct ReportView<'a> {
    machine: Machine,
    median: Vec<Row>,
    runs: &'a [Figures],
}

#[derive(Serialize)]
struct Machine {
    cores: usize,
    version: &'static str,
}

impl Report {
    /// Adds a run.
    pub fn add(&mut self, figures: Figures) {
        self.runs.push(figures);
    }

    /// Every figure's median.
    fn medians(&self) -> Vec<Row> {
        let first = self.runs.first().map(|figures| figures.rows.as_slice());
        let of_all = |name: &str, figure: fn(&Row) -> Option<f64>| {
            let rows = self.runs.iter().flat_map(|figures| &figures.rows);
            median(rows.filter(|row| row.name == name).filter_map(figure).collect())
        };
        let rows = first.unwrap_or_default().iter();
        rows.map(|row| Row {
            ours: of_all(&row.name, |row| Some(row.ours)).unwrap_or(row.ours),
            bare: of_all(&row.name, |row| row.bare),
            ratio: of_all(&row.name, |row| row.ratio),
            ..row.clone()
        })
        .collect()
    }

    /// The report as JSON.
    pub fn json(&self) -> String {
        let view = ReportView {
            machine: Machine {
                cores: std::thread::available_parallelism().map_or(0, usize::from),
                version: env!("CARGO_PKG_VERSION"),
            },
            median: self.medians(),
            runs: &self.runs,
        };
        serde_json::to_string_pretty(&view).unwrap_or_default() + "\n"
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figure = |value: f64| match value.abs() {
            small if small < 10.0 => format!("{value:.2}"),
            middle if middle < 1000.0 => format!("{value:.1}"),
            _ => format!("{value:.0}"),
        };
        let optional = |value: Option<f64>| value.map_or_else(String::new, figure);
        let verdict = match self.target {
            Some(target) if target.is_met(self.checked()) => format!("{target}: met"),
            Some(target) => format!("{target}: MISSED"),
            None => String::new(),
        };
        write!(
            f,
            "{:<52} {:>10} {:<9} {:>10} {:>8}  {verdict}",
            self.name,
            figure(self.ours),
            self.unit,
            optional(self.bare),
            optional(self.ratio),
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<52} {:>10} {:<9} {:>10} {:>8}  target",
            format!("median of {}", self.runs.len()),
            "ours",
            "",
            "bare",
            "ratio"
        )?;
        self.medians().iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let upper = *figures.get(middle)?;
    if figures.len() % 2 == 1 {
        return Some(upper);
    }
    Some((figures.get(middle - 1)? + upper) / 2.0)
}

/// Durations, for percentiles.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    micros: Vec<u32>,
}

impl Latencies {
    pub fn with_capacity(capacity: usize) -> Self {
        Self { micros: Vec::with_capacity(capacity) }
    }

    pub fn add(&mut self, latency: Duration) {
        self.micros.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    pub fn extend(&mut self, other: Self) {
        self.micros.extend(other.micros);
    }

    pub fn len(&self) -> usize {
        self.micros.len()
    }

    /// The percentile of this part (0 to 1), in ms.
    pub fn percentile(&self, part: f64) -> f64 {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() as f64 * part).ceil() as usize;
        let found = sorted.get(rank.saturating_sub(1)).copied();
        f64::from(found.unwrap_or(u32::MAX)) / 1000.0
    }
}
