//! `GET /v1/stats/calls`, `/v1/stats/notices`, `/v1/stats/captures`, `/v1/stats/exceptions`.
//!
//! # Why
//!
//! The total is made of the same rows as the intervals: histograms are added, percentiles never averaged.

use std::collections::BTreeMap;

use axum::Json;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::groups::{GroupKey, Groups};
use super::histogram::HistogramView;
use super::intervals::{Interval, Resolution};
use crate::clock;
use crate::http::body::QueryParameters;
use crate::http::problem::Problem;
use crate::http::timestamp::{micros, millis};
use crate::openapi::problem_sets::{ApiKeyProblems, LimitProblems};
use crate::postgres::{StatIntervals, StatSubject};
use crate::query::context::{Reader, choice};
use crate::query::time_range::{TimeRange, parse_zone, wall_clock};

/// Maximum number of intervals of an answer.
const MAX_INTERVALS: usize = 400;

const RESOLUTIONS: &[&str] = &["hour", "day", "week"];
const TYPES: &[&str] = &["recording", "transcription"];

#[derive(Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatQuery {
    /// The length of the intervals: `hour`, `day` (default) or `week`, from Monday.
    #[param(pattern = "^(hour|day|week)$")]
    pub by: Option<String>,
    /// Counted, from this instant on: RFC 3339, or a day (`2026-11-23`) of the time zone `tz`.
    /// Default: the last day, 7 days or 12 weeks. At most 400 intervals.
    pub from: Option<String>,
    /// Counted, before this instant: RFC 3339, or a day of the time zone `tz`, which is included
    /// whole. Default: now.
    pub to: Option<String>,
    /// The time zone of the intervals: a name of the IANA database. Default: UTC.
    pub tz: Option<String>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TypedStatQuery {
    /// The length of the intervals: `hour`, `day` (default) or `week`, from Monday.
    #[param(pattern = "^(hour|day|week)$")]
    by: Option<String>,
    /// Counted, from this instant on: RFC 3339, or a day (`2026-11-23`) of the time zone `tz`.
    /// Default: the last day, 7 days or 12 weeks. At most 400 intervals.
    from: Option<String>,
    /// Counted, before this instant: RFC 3339, or a day of the time zone `tz`, which is included
    /// whole. Default: now.
    to: Option<String>,
    /// The time zone of the intervals: a name of the IANA database. Default: UTC.
    tz: Option<String>,
    /// What is captured.
    #[param(pattern = "^(recording|transcription)$")]
    r#type: Option<String>,
}

/// Numbers by intervals.
#[derive(Serialize, ToSchema)]
#[schema(as = Statistics<T>)]
pub(crate) struct StatAnswer<T> {
    /// The length of the intervals.
    by: &'static str,
    /// The time zone of the intervals.
    tz: &'static str,
    /// Whole intervals, in order.
    pub intervals: Vec<IntervalView<T>>,
    /// The numbers of all intervals, made of the same rows.
    pub total: T,
    /// The low watermark: every event that reached the service before this instant is in the
    /// answer. Null while that is not known.
    #[schema(format = DateTime, required = true)]
    complete_through: Option<String>,
}

/// The numbers of one interval.
#[derive(Serialize, ToSchema)]
#[schema(as = StatisticsInterval<T>)]
pub(crate) struct IntervalView<T> {
    /// The first instant of the interval.
    #[schema(format = DateTime)]
    from: String,
    /// The first instant after the interval.
    #[schema(format = DateTime)]
    to: String,
    /// `from` by the clock of the zone.
    #[schema(format = DateTime)]
    pub local_from: String,
    #[serde(flatten)]
    pub numbers: T,
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

/// The numbers of an interval, or of all of them.
trait Numbers {
    fn of(groups: &Groups, terms: &Groups) -> Self;
}

/// Numbers of calls, by their start.
#[derive(Serialize, ToSchema)]
pub(crate) struct CallNumbers {
    /// Calls that started.
    calls: i64,
    /// Those that go on.
    open: i64,
    /// Those whose end is presumed.
    end_presumed: i64,
    /// Those that were recorded.
    recorded: i64,
    /// Those that were transcribed.
    transcribed: i64,
    /// Those with exceptions, open or closed.
    with_exceptions: i64,
    /// Numbers by verdict.
    verdicts: BTreeMap<String, i64>,
    /// Numbers by consent.
    consents: BTreeMap<String, i64>,
    /// Numbers by kind.
    kinds: BTreeMap<String, i64>,
    /// Length of the calls; `never` are those that go on.
    length: HistogramView,
}

impl Numbers for CallNumbers {
    fn of(groups: &Groups, terms: &Groups) -> Self {
        let count = |term: &str| terms.count(|key| key.category == term);
        let by_value = |name: &str| {
            terms.count_by(|key| {
                key.category.split_once('=').filter(|(it, _)| *it == name).map(|(_, value)| value)
            })
        };
        let open = count("state=open");
        Self {
            calls: open + count("state=ended"),
            open,
            end_presumed: groups.count(|key| key.outcome == "presumed"),
            recorded: count("type=recording"),
            transcribed: count("type=transcription"),
            with_exceptions: count("exceptions=open") + count("exceptions=closed"),
            verdicts: by_value("verdict"),
            consents: by_value("consent"),
            kinds: by_value("kind"),
            length: groups.histogram(|_| true).view(),
        }
    }
}

/// Numbers of obligations that are ours, by the instant at which they were due.
#[derive(Serialize, ToSchema)]
pub(crate) struct NoticeNumbers {
    /// Those that count: `told` and `never_told`.
    pub obligations: i64,
    /// Those whose notice was shown.
    told: i64,
    /// Those whose notice was shown within 2 s.
    pub told_in_time: i64,
    /// Those whose notice was never shown.
    pub never_told: i64,
    /// Too short to be told; they do not count.
    brief: i64,
    /// Not decided yet; they do not count.
    pending: i64,
    /// `told_in_time` of `obligations`, 0 to 1. Null: there is none.
    #[schema(required = true)]
    pub share_told_in_time: Option<f64>,
    /// Time from the due instant to the dispatch; `never` was not dispatched.
    dispatched: HistogramView,
    /// Time from the due instant to the delivery; `never` was not delivered.
    delivered: HistogramView,
    /// Time from the due instant until it was shown; `never` was not shown.
    pub shown: HistogramView,
}

impl Numbers for NoticeNumbers {
    fn of(groups: &Groups, _: &Groups) -> Self {
        // Each obligation is in a group of each of three steps.
        let of =
            |outcome: &str| groups.count(|key| key.series == "shown" && key.outcome == outcome);
        let step = |step: &str| {
            let counts = |key: &GroupKey| matches!(&*key.outcome, "told" | "never_told");
            groups.histogram(|key| key.series == step && counts(key)).view()
        };
        let (told, never_told) = (of("told"), of("never_told"));
        let told_in_time = groups.count(|key| key.series == "shown" && key.in_time);
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

/// Numbers of captures, by their start.
#[derive(Serialize, ToSchema)]
pub(crate) struct CaptureNumbers {
    /// Captures that started.
    captures: i64,
    /// Numbers by what the provider calls them.
    kinds: BTreeMap<String, i64>,
    /// Numbers by the source of their start.
    start_sources: BTreeMap<String, i64>,
    /// Length of the captures; `never` are those that go on.
    length: HistogramView,
}

impl Numbers for CaptureNumbers {
    fn of(groups: &Groups, _: &Groups) -> Self {
        Self {
            captures: groups.count(|_| true),
            kinds: groups.count_by(|key| Some(&key.series)),
            start_sources: groups.count_by(|key| Some(&key.outcome)),
            length: groups.histogram(|_| true).view(),
        }
    }
}

/// Numbers of exceptions, by their first opening.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExceptionNumbers {
    /// Exceptions that were first opened.
    opened: i64,
    /// Those that are open.
    open: i64,
    /// Those that are closed.
    closed: i64,
    /// Numbers by severity.
    severities: BTreeMap<String, i64>,
    /// Numbers by kind.
    kinds: BTreeMap<String, i64>,
    /// Time from the last opening until they were closed; `never` are those that are open.
    time_to_close: HistogramView,
}

impl Numbers for ExceptionNumbers {
    fn of(groups: &Groups, _: &Groups) -> Self {
        Self {
            opened: groups.count(|_| true),
            open: groups.count(|key| key.outcome == "open"),
            closed: groups.count(|key| key.outcome == "closed"),
            severities: groups.count_by(|key| Some(&key.category)),
            kinds: groups.count_by(|key| Some(&key.series)),
            time_to_close: groups.histogram(|_| true).view(),
        }
    }
}

/// Reads the rows of a subject, and makes the numbers of each interval and of all.
async fn answer<T: Numbers>(
    reader: &Reader,
    request: StatRequest,
    subject: StatSubject,
    kind: Option<&'static str>,
) -> Result<StatAnswer<T>, Problem> {
    let bounds = StatIntervals {
        starts: request.intervals.iter().map(|it| it.starts).collect(),
        ends: request.intervals.iter().map(|it| it.ends).collect(),
    };
    let mut snapshot = reader.snapshot().await?;
    let complete_through = snapshot.evaluated_through().await?.map(micros);
    let mut parts = snapshot.histograms(subject, &bounds).await?;
    let terms = match subject {
        StatSubject::Calls => snapshot.histograms(StatSubject::Terms, &bounds).await?,
        StatSubject::Terms
        | StatSubject::Notices
        | StatSubject::Captures
        | StatSubject::Exceptions => Vec::new(),
    };
    drop(snapshot);
    parts.retain(|part| kind.is_none_or(|kind| part.category == kind));
    let (groups, terms) = (Groups::by_interval(parts), Groups::by_interval(terms));
    let nothing = Groups::default();
    let intervals = request.intervals.iter().zip(1..).map(|(interval, place)| IntervalView {
        from: millis(interval.starts),
        to: millis(interval.ends),
        local_from: wall_clock(interval.starts, request.zone),
        numbers: T::of(
            groups.get(&place).unwrap_or(&nothing),
            terms.get(&place).unwrap_or(&nothing),
        ),
    });
    Ok(StatAnswer {
        by: request.by,
        tz: request.zone.name(),
        intervals: intervals.collect(),
        total: T::of(&Groups::total(&groups), &Groups::total(&terms)),
        complete_through,
    })
}

/// The numbers of notices of both types.
///
/// # Errors
///
/// A parameter is wrong, or the store does not answer.
pub(crate) async fn read_notices(
    reader: &Reader,
    query: StatQuery,
) -> Result<StatAnswer<NoticeNumbers>, Problem> {
    answer(reader, query.parse()?, StatSubject::Notices, None).await
}

/// Counts calls.
///
/// By their start, in hours, days or weeks of a time zone.
#[utoipa::path(
    get,
    path = "/v1/stats/calls",
    operation_id = "countCalls",
    tag = "history",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        StatQuery,
    ),
    responses(
        (status = 200, description = "The numbers.", body = StatAnswer<CallNumbers>),
        ApiKeyProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn calls(
    reader: Reader,
    QueryParameters(query): QueryParameters<StatQuery>,
) -> Result<Json<StatAnswer<CallNumbers>>, Problem> {
    answer(&reader, query.parse()?, StatSubject::Calls, None).await.map(Json)
}

/// Counts notices.
///
/// Obligations that are ours, by the instant at which they were due, and how long it took until the
/// notice was dispatched, delivered and shown.
#[utoipa::path(
    get,
    path = "/v1/stats/notices",
    operation_id = "countNotices",
    tag = "history",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        TypedStatQuery,
    ),
    responses(
        (status = 200, description = "The numbers.", body = StatAnswer<NoticeNumbers>),
        ApiKeyProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn notices(
    reader: Reader,
    QueryParameters(query): QueryParameters<TypedStatQuery>,
) -> Result<Json<StatAnswer<NoticeNumbers>>, Problem> {
    let (query, kind) = query.split()?;
    answer(&reader, query.parse()?, StatSubject::Notices, kind).await.map(Json)
}

/// Counts captures.
///
/// By their start.
#[utoipa::path(
    get,
    path = "/v1/stats/captures",
    operation_id = "countCaptures",
    tag = "history",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        TypedStatQuery,
    ),
    responses(
        (status = 200, description = "The numbers.", body = StatAnswer<CaptureNumbers>),
        ApiKeyProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn captures(
    reader: Reader,
    QueryParameters(query): QueryParameters<TypedStatQuery>,
) -> Result<Json<StatAnswer<CaptureNumbers>>, Problem> {
    let (query, kind) = query.split()?;
    answer(&reader, query.parse()?, StatSubject::Captures, kind).await.map(Json)
}

/// Counts exceptions.
///
/// By their first opening.
#[utoipa::path(
    get,
    path = "/v1/stats/exceptions",
    operation_id = "countExceptions",
    tag = "history",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        StatQuery,
    ),
    responses(
        (status = 200, description = "The numbers.", body = StatAnswer<ExceptionNumbers>),
        ApiKeyProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn exceptions(
    reader: Reader,
    QueryParameters(query): QueryParameters<StatQuery>,
) -> Result<Json<StatAnswer<ExceptionNumbers>>, Problem> {
    answer(&reader, query.parse()?, StatSubject::Exceptions, None).await.map(Json)
}
