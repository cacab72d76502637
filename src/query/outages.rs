//! `GET /v1/outages`: intervals that the deployment did not observe, or observed late.

use axum::Json;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::context::Reader;
use super::time_range::{TimeRange, parse_zone};
use crate::clock;
use crate::http::body::QueryParameters;
use crate::http::problem::Problem;
use crate::http::timestamp::micros;
use crate::openapi::problem_sets::{ApiKeyProblems, LimitProblems};
use crate::postgres::UnseenInterval;

/// Length of the interval if the caller gives no start.
const DEFAULT_INTERVAL: TimeDelta = TimeDelta::days(7);
/// Maximum length of the interval.
const MAX_INTERVAL: TimeDelta = TimeDelta::days(31);

#[derive(Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OutageListQuery {
    /// Intervals that touch the time, from this instant on: RFC 3339, or a day (`2026-11-23`) of
    /// the time zone `tz`. Default: 7 days before `to`; at most 31 days.
    pub from: Option<String>,
    /// Intervals that touch the time, before this instant: RFC 3339, or a day of the time zone
    /// `tz`, which is included whole. Default: now.
    pub to: Option<String>,
    /// The time zone of days: a name of the IANA database. Default: UTC.
    pub tz: Option<String>,
}

/// Intervals in which the deployment did not observe, or observed late.
#[derive(Serialize, ToSchema)]
#[schema(as = OutageList)]
pub(crate) struct OutageListView {
    /// The first instant that was read.
    #[schema(format = DateTime)]
    from: String,
    /// The instant before which was read.
    #[schema(format = DateTime)]
    to: String,
    /// The intervals, by their start.
    pub outages: Vec<UnseenInterval>,
    /// The low watermark: every event that reached the service before this instant is in the
    /// answer. Null while that is not known.
    #[schema(format = DateTime, required = true)]
    complete_through: Option<String>,
}

/// Lists outages.
///
/// Intervals in which the deployment did not observe, or observed late.
#[utoipa::path(
    get,
    path = "/v1/outages",
    operation_id = "listOutages",
    tag = "history",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        OutageListQuery,
    ),
    responses(
        (status = 200, description = "The list.", body = OutageListView),
        ApiKeyProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn list(
    reader: Reader,
    QueryParameters(query): QueryParameters<OutageListQuery>,
) -> Result<Json<OutageListView>, Problem> {
    read_outages(&reader, query).await.map(Json)
}

/// Reads the outages of a range.
///
/// # Errors
///
/// A parameter is wrong, or the store does not answer.
pub(crate) async fn read_outages(
    reader: &Reader,
    query: OutageListQuery,
) -> Result<OutageListView, Problem> {
    let zone = parse_zone(query.tz.as_deref())?;
    let range = TimeRange::parse(query.from.as_deref(), query.to.as_deref(), zone)?;
    let to = range.to.unwrap_or_else(clock::now);
    let from = range.from.unwrap_or(to - DEFAULT_INTERVAL);
    if from >= to || to - from > MAX_INTERVAL {
        return Err(Problem::invalid("from", "from is before to, by at most 31 days"));
    }
    let mut snapshot = reader.snapshot().await?;
    Ok(OutageListView {
        complete_through: snapshot.complete_through().await?.map(micros),
        from: micros(from),
        to: micros(to),
        outages: snapshot.unseen(from, to).await?,
    })
}
