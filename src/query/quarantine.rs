//! `GET /v1/quarantine`: content that was not understood, newest first.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::context::{QueryContext, micros};
use crate::http::api_role::ApiRole;
use crate::http::paging;
use crate::http::problem::Problem;
use crate::postgres::{MAX_QUARANTINE_PAGE_BYTES, QuarantineFilter, QuarantineRow};
use onrecord_evidence::event::ids::Digest;

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
    quarantined: Vec<QuarantineView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    complete_through: Option<String>,
}

#[derive(Serialize)]
struct QuarantineView {
    id: Uuid,
    source: String,
    reason: String,
    detail: String,
    pointer: Option<String>,
    /// The text without the members that `redacted` lists; absent if it was not UTF-8.
    content: Option<String>,
    content_type: Option<String>,
    size: i64,
    sha256: Option<String>,
    redacted: Vec<String>,
    received_at: String,
}

impl From<QuarantineRow> for QuarantineView {
    fn from(row: QuarantineRow) -> Self {
        Self {
            id: row.id,
            source: row.source,
            reason: row.reason,
            detail: row.detail,
            pointer: row.pointer,
            content: row
                .content
                .map(|content| String::from_utf8_lossy(&content).into_owned()),
            content_type: row.content_type,
            size: row.size,
            sha256: Digest::from_bytes(&row.sha256).map(|digest| digest.to_string()),
            redacted: row.redacted,
            received_at: micros(row.received_at),
        }
    }
}

pub(crate) async fn list(
    State(api): State<QueryContext>,
    headers: HeaderMap,
    query: Result<Query<QuarantineListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<QuarantineListView>, Problem> {
    let caller = api.keys.authenticate(&headers).await?;
    caller.require_role(&[ApiRole::Auditor])?;
    let Query(query) =
        query.map_err(|rejection| Problem::invalid("query", rejection.body_text()))?;
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let after = paging::parse_cursor::<(DateTime<Utc>, Uuid)>(query.cursor.as_deref())?;
    let mut snapshot = api.read(&caller.tenant).await?;
    let complete_through = snapshot.complete_through().await?.map(micros);
    let rows = snapshot
        .quarantine(&QuarantineFilter {
            reason: query.reason,
            source: query.source,
            after,
            limit,
        })
        .await?;
    let contents = rows.iter().filter_map(|row| row.content.as_ref());
    let bytes: usize = contents.map(Vec::len).sum();
    let full = rows.len() as i64 == limit || bytes as i64 >= MAX_QUARANTINE_PAGE_BYTES;
    let next = rows
        .last()
        .filter(|_| full)
        .and_then(|last| paging::format_cursor(&(last.received_at, last.id)));
    Ok(Json(QuarantineListView {
        quarantined: rows.into_iter().map(QuarantineView::from).collect(),
        next,
        complete_through,
    }))
}
