//! `GET /v1/outages`: what the deployment could not see, or saw late.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::reader::{Api, instant, micros};
use crate::clock;
use crate::http::problem::Problem;
use crate::store::UnseenInterval;

/// How far back an answer reaches unless the caller says otherwise, and at most.
const USUAL: TimeDelta = TimeDelta::days(7);
const LONGEST: TimeDelta = TimeDelta::days(31);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    from: Option<String>,
    to: Option<String>,
}

#[derive(Serialize)]
pub(super) struct OutageList {
    from: String,
    to: String,
    /// By their beginning.
    outages: Vec<UnseenInterval>,
    complete_through: Option<String>,
}

pub(super) async fn list(
    State(api): State<Api>,
    headers: HeaderMap,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<OutageList>, Problem> {
    let caller = api.reader(&headers).await?;
    let Query(query) =
        query.map_err(|rejection| Problem::invalid("query", rejection.body_text()))?;
    let to = instant("to", query.to.as_deref())?.unwrap_or_else(clock::now);
    let from = instant("from", query.from.as_deref())?.unwrap_or(to - USUAL);
    if from >= to || to - from > LONGEST {
        return Err(Problem::invalid(
            "from",
            "from lies before to, by 31 days at most",
        ));
    }
    let mut room = api.read(&caller.tenant).await?;
    Ok(Json(OutageList {
        complete_through: room.complete_through().await?.map(micros),
        from: micros(from),
        to: micros(to),
        outages: room.unseen(from, to).await?,
    }))
}
