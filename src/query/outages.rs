//! `GET /v1/outages`: intervals that the deployment did not observe, or observed late.

use axum::Json;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::context::Reader;
use super::time_range::{TimeRange, parse_zone};
use crate::clock;
use crate::http::body::QueryParameters;
use crate::http::problem::Problem;
use crate::http::timestamp::micros;
use crate::postgres::UnseenInterval;

/// Length of the interval if the caller gives no start.
const DEFAULT_INTERVAL: TimeDelta = TimeDelta::days(7);
/// Maximum length of the interval.
const MAX_INTERVAL: TimeDelta = TimeDelta::days(31);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutageListQuery {
    from: Option<String>,
    to: Option<String>,
    tz: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct OutageListView {
    from: String,
    to: String,
    /// Ordered by their start.
    outages: Vec<UnseenInterval>,
    complete_through: Option<String>,
}

pub(crate) async fn list(
    reader: Reader,
    QueryParameters(query): QueryParameters<OutageListQuery>,
) -> Result<Json<OutageListView>, Problem> {
    let zone = parse_zone(query.tz.as_deref())?;
    let range = TimeRange::parse(query.from.as_deref(), query.to.as_deref(), zone)?;
    let to = range.to.unwrap_or_else(clock::now);
    let from = range.from.unwrap_or(to - DEFAULT_INTERVAL);
    if from >= to || to - from > MAX_INTERVAL {
        return Err(Problem::invalid("from", "from is before to, by at most 31 days"));
    }
    let mut snapshot = reader.snapshot().await?;
    Ok(Json(OutageListView {
        complete_through: snapshot.complete_through().await?.map(micros),
        from: micros(from),
        to: micros(to),
        outages: snapshot.unseen(from, to).await?,
    }))
}
