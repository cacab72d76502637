//! `GET /v1/quarantine`: content that was not understood, newest first.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::context::QueryContext;
use crate::http::api_role::ApiRole;
use crate::http::body::QueryParameters;
use crate::http::paging;
use crate::http::problem::Problem;
use crate::http::timestamp::micros;
use crate::postgres::{MAX_QUARANTINE_PAGE_BYTES, QuarantineFilter, QuarantineRow};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuarantineListQuery {
    reason: Option<String>,
    source: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct QuarantineListView {
    quarantined: Vec<QuarantineRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    complete_through: Option<String>,
}

pub(crate) async fn list(
    State(api): State<QueryContext>,
    headers: HeaderMap,
    query: Result<QueryParameters<QuarantineListQuery>, Problem>,
) -> Result<Json<QuarantineListView>, Problem> {
    let caller = api.keys.authorize(&headers, &[ApiRole::Auditor]).await?;
    let QueryParameters(query) = query?;
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let after = paging::parse_cursor::<(DateTime<Utc>, Uuid)>(query.cursor.as_deref())?;
    let mut snapshot = api.read(&caller).await?;
    let complete_through = snapshot.complete_through().await?.map(micros);
    let filter = QuarantineFilter { reason: query.reason, source: query.source, after, limit };
    let quarantined = snapshot.quarantine(&filter).await?;
    let contents = quarantined.iter().flat_map(|row| [&row.content, &row.sealed]).flatten();
    let bytes: usize = contents.map(Vec::len).sum();
    let full = quarantined.len() as i64 == limit || bytes as i64 >= MAX_QUARANTINE_PAGE_BYTES;
    let next = quarantined
        .last()
        .filter(|_| full)
        .and_then(|last| paging::format_cursor(&(last.received_at, last.id)));
    Ok(Json(QuarantineListView { quarantined, next, complete_through }))
}
