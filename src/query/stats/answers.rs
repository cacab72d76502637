//! `GET /v1/stats/calls`, `/v1/stats/notices`, `/v1/stats/captures`, `/v1/stats/exceptions`.
//!
//! # Why
//!
//! The total is made of the same rows as the intervals: histograms are added, percentiles never averaged.

use std::collections::BTreeMap;

use axum::Json;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::histogram::{Histogram, HistogramView};
use super::intervals::{Interval, Resolution};
use crate::clock;
use crate::http::body::QueryParameters;
use crate::http::problem::Problem;
use crate::http::timestamp::{micros, millis};
use crate::postgres::{BucketRow, StatIntervals, StatSubject};
use crate::query::context::{Reader, choice};
use crate::query::time_range::{TimeRange, parse_zone, wall_clock};

/// Maximum number of intervals of an answer.
const MAX_INTERVALS: usize = 400;

const RESOLUTIONS: &[&str] = &["hour", "day", "week"];
const TYPES: &[&str] = &["recording", "transcription"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatQuery {
    by: Option<String>,
    from: Option<String>,
    to: Option<String>,
    tz: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TypedStatQuery {
    by: Option<String>,
    from: Option<String>,
    to: Option<String>,
    tz: Option<String>,
    r#type: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct StatAnswer<T> {
    by: &'static str,
    tz: &'static str,
    /// Whole intervals, in order.
    intervals: Vec<IntervalView<T>>,
    total: T,
    complete_through: Option<String>,
}

#[derive(Serialize)]
struct IntervalView<T> {
    from: String,
    to: String,
    /// `from` by the clock of the zone.
    local_from: String,
    #[serde(flatten)]
    numbers: T,
}

/// A checked query.
struct StatRequest {
    by: &'static str,
    zone: chrono_tz::Tz,
    intervals: Vec<Interval>,
}

impl StatQuery {
    fn parse(self) -> Result<StatRequest, Problem> {
        let by = choice("by", self.by, "by is hour, day or week", RESOLUTIONS)?.unwrap_or("day");
        let (resolution, length) = match by {
            "hour" => (Resolution::Hour, TimeDelta::days(1)),
            "week" => (Resolution::Week, TimeDelta::weeks(12)),
            _ => (Resolution::Day, TimeDelta::days(7)),
        };
        let zone = parse_zone(self.tz.as_deref())?;
        let range = TimeRange::parse(self.from.as_deref(), self.to.as_deref(), zone)?;
        let to = range.to.unwrap_or_else(clock::now);
        let from = range.from.unwrap_or(to - length);
        if from >= to {
            return Err(Problem::invalid("from", "from is before to, which is now by default"));
        }
        let intervals = resolution.intervals(zone, from, to, MAX_INTERVALS);
        if intervals.len() > MAX_INTERVALS {
            let detail = format!(
                "an answer has at most {MAX_INTERVALS} intervals; ask for a shorter range, or by day or week"
            );
            return Err(Problem::invalid("from", detail));
        }
        Ok(StatRequest { by, zone, intervals })
    }
}

impl TypedStatQuery {
    fn split(self) -> Result<(StatQuery, Option<&'static str>), Problem> {
        let kind = choice("type", self.r#type, "type is recording or transcription", TYPES)?;
        Ok((StatQuery { by: self.by, from: self.from, to: self.to, tz: self.tz }, kind))
    }
}

/// The numbers of rows, for an interval or for all of them.
trait Numbers {
    fn of(buckets: &[&BucketRow], terms: &[&BucketRow]) -> Self;
}

#[derive(Serialize)]
pub(crate) struct CallNumbers {
    calls: i64,
    open: i64,
    end_presumed: i64,
    recorded: i64,
    transcribed: i64,
    with_exceptions: i64,
    verdicts: BTreeMap<String, i64>,
    consents: BTreeMap<String, i64>,
    kinds: BTreeMap<String, i64>,
    /// `never` are those that go on.
    length: HistogramView,
}

impl Numbers for CallNumbers {
    fn of(buckets: &[&BucketRow], terms: &[&BucketRow]) -> Self {
        let count = |term: &str| -> i64 {
            terms.iter().filter(|it| it.category == term).map(|it| it.count).sum()
        };
        let by_value = |name: &str| {
            let mut counts: BTreeMap<String, i64> = BTreeMap::new();
            for row in terms {
                if let Some((_, value)) = row.category.split_once('=').filter(|(it, _)| *it == name)
                {
                    *counts.entry(value.to_owned()).or_default() += row.count;
                }
            }
            counts
        };
        let open = count("state=open");
        Self {
            calls: open + count("state=ended"),
            open,
            end_presumed: sum(buckets, |row| row.outcome == "presumed"),
            recorded: count("type=recording"),
            transcribed: count("type=transcription"),
            with_exceptions: count("exceptions=open") + count("exceptions=closed"),
            verdicts: by_value("verdict"),
            consents: by_value("consent"),
            kinds: by_value("kind"),
            length: histogram(buckets, |_| true),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct NoticeNumbers {
    /// Those that count: told and never told.
    obligations: i64,
    told: i64,
    told_in_time: i64,
    never_told: i64,
    /// Too short to be told; they do not count.
    brief: i64,
    /// Not decided yet; they do not count.
    pending: i64,
    /// Of those that count. Null: none does.
    share_told_in_time: Option<f64>,
    dispatched: HistogramView,
    delivered: HistogramView,
    shown: HistogramView,
}

impl Numbers for NoticeNumbers {
    fn of(buckets: &[&BucketRow], _: &[&BucketRow]) -> Self {
        // Each obligation has a row for each of three steps.
        let of =
            |outcome: &str| sum(buckets, |row| row.series == "shown" && row.outcome == outcome);
        let step = |step: &str| {
            histogram(buckets, |row| {
                row.series == step && matches!(&*row.outcome, "told" | "never_told")
            })
        };
        let (told, never_told) = (of("told"), of("never_told"));
        let told_in_time = sum(buckets, |row| row.series == "shown" && row.in_time);
        let obligations = told + never_told;
        Self {
            obligations,
            told,
            told_in_time,
            never_told,
            brief: of("brief"),
            pending: of("pending"),
            share_told_in_time: (obligations > 0).then(|| told_in_time as f64 / obligations as f64),
            dispatched: step("dispatched"),
            delivered: step("delivered"),
            shown: step("shown"),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct CaptureNumbers {
    captures: i64,
    kinds: BTreeMap<String, i64>,
    start_sources: BTreeMap<String, i64>,
    /// `never` are those that go on.
    length: HistogramView,
}

impl Numbers for CaptureNumbers {
    fn of(buckets: &[&BucketRow], _: &[&BucketRow]) -> Self {
        Self {
            captures: sum(buckets, |_| true),
            kinds: by_name(buckets, |row| &row.series),
            start_sources: by_name(buckets, |row| &row.outcome),
            length: histogram(buckets, |_| true),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct ExceptionNumbers {
    opened: i64,
    open: i64,
    closed: i64,
    severities: BTreeMap<String, i64>,
    kinds: BTreeMap<String, i64>,
    /// From the last opening; `never` are those that are open.
    time_to_close: HistogramView,
}

impl Numbers for ExceptionNumbers {
    fn of(buckets: &[&BucketRow], _: &[&BucketRow]) -> Self {
        Self {
            opened: sum(buckets, |_| true),
            open: sum(buckets, |row| row.outcome == "open"),
            closed: sum(buckets, |row| row.outcome == "closed"),
            severities: by_name(buckets, |row| &row.category),
            kinds: by_name(buckets, |row| &row.series),
            time_to_close: histogram(buckets, |_| true),
        }
    }
}

fn sum(buckets: &[&BucketRow], is_counted: impl Fn(&BucketRow) -> bool) -> i64 {
    buckets.iter().filter(|row| is_counted(row)).map(|row| row.count).sum()
}

fn by_name(buckets: &[&BucketRow], name: impl Fn(&BucketRow) -> &String) -> BTreeMap<String, i64> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for row in buckets {
        *counts.entry(name(row).clone()).or_default() += row.count;
    }
    counts
}

fn histogram(buckets: &[&BucketRow], is_counted: impl Fn(&BucketRow) -> bool) -> HistogramView {
    let mut histogram = Histogram::default();
    for row in buckets.iter().filter(|row| is_counted(row)) {
        histogram.add(row.le_ms, row.count, row.sum_ms);
    }
    histogram.view()
}

/// Reads the rows of a subject, and makes the numbers of each interval and of all.
async fn answer<T: Numbers>(
    reader: Reader,
    request: StatRequest,
    subject: StatSubject,
    kind: Option<&'static str>,
) -> Result<Json<StatAnswer<T>>, Problem> {
    let bounds = StatIntervals {
        starts: request.intervals.iter().map(|it| it.starts).collect(),
        ends: request.intervals.iter().map(|it| it.ends).collect(),
    };
    let mut snapshot = reader.snapshot().await?;
    let complete_through = snapshot.evaluated_through().await?.map(micros);
    let mut buckets = snapshot.histograms(subject, &bounds).await?;
    let terms = match subject {
        StatSubject::Calls => snapshot.histograms(StatSubject::Terms, &bounds).await?,
        StatSubject::Terms
        | StatSubject::Notices
        | StatSubject::Captures
        | StatSubject::Exceptions => Vec::new(),
    };
    drop(snapshot);
    buckets.retain(|row| kind.is_none_or(|kind| row.category == kind));
    let numbers = |place: Option<i64>| {
        let is_there = |at: i64| place.is_none_or(|place| place == at);
        let buckets: Vec<&BucketRow> = buckets.iter().filter(|row| is_there(row.place)).collect();
        let terms: Vec<&BucketRow> = terms.iter().filter(|row| is_there(row.place)).collect();
        T::of(&buckets, &terms)
    };
    let intervals = request.intervals.iter().zip(1..).map(|(interval, place)| IntervalView {
        from: millis(interval.starts),
        to: millis(interval.ends),
        local_from: wall_clock(interval.starts, request.zone),
        numbers: numbers(Some(place)),
    });
    Ok(Json(StatAnswer {
        by: request.by,
        tz: request.zone.name(),
        intervals: intervals.collect(),
        total: numbers(None),
        complete_through,
    }))
}

pub(crate) async fn calls(
    reader: Reader,
    QueryParameters(query): QueryParameters<StatQuery>,
) -> Result<Json<StatAnswer<CallNumbers>>, Problem> {
    answer(reader, query.parse()?, StatSubject::Calls, None).await
}

pub(crate) async fn notices(
    reader: Reader,
    QueryParameters(query): QueryParameters<TypedStatQuery>,
) -> Result<Json<StatAnswer<NoticeNumbers>>, Problem> {
    let (query, kind) = query.split()?;
    answer(reader, query.parse()?, StatSubject::Notices, kind).await
}

pub(crate) async fn captures(
    reader: Reader,
    QueryParameters(query): QueryParameters<TypedStatQuery>,
) -> Result<Json<StatAnswer<CaptureNumbers>>, Problem> {
    let (query, kind) = query.split()?;
    answer(reader, query.parse()?, StatSubject::Captures, kind).await
}

pub(crate) async fn exceptions(
    reader: Reader,
    QueryParameters(query): QueryParameters<StatQuery>,
) -> Result<Json<StatAnswer<ExceptionNumbers>>, Problem> {
    answer(reader, query.parse()?, StatSubject::Exceptions, None).await
}
