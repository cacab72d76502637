//! `GET /v1/quarantine`: what could not be understood, newest first.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::reader::{Api, micros};
use crate::domain::ids::Digest;
use crate::http::page;
use crate::http::problem::Problem;
use crate::store::{PAGE_BYTES, QuarantineFilter, QuarantineRow, Role};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    reason: Option<String>,
    source: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

#[derive(Serialize)]
pub(super) struct QuarantineList {
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
    /// The text, less what `redacted` lists; absent if it was no UTF-8.
    content: Option<String>,
    content_type: Option<String>,
    size: i64,
    sha256: Option<String>,
    redacted: Vec<String>,
    received: String,
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
            received: micros(row.received),
        }
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    headers: HeaderMap,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<QuarantineList>, Problem> {
    let caller = api.keys.caller(&headers).await?;
    caller.must_be(&[Role::Auditor])?;
    let Query(query) =
        query.map_err(|rejection| Problem::invalid("query", rejection.body_text()))?;
    let limit = page::limit(query.limit.as_deref())?;
    let after = page::read::<(DateTime<Utc>, Uuid)>(query.cursor.as_deref())?;
    let mut room = api.read(&caller.tenant).await?;
    let complete_through = room.complete_through().await?.map(micros);
    let rows = room
        .quarantine(&QuarantineFilter {
            reason: query.reason,
            source: query.source,
            after,
            limit,
        })
        .await?;
    let contents = rows.iter().filter_map(|row| row.content.as_ref());
    let bytes: usize = contents.map(Vec::len).sum();
    let full = rows.len() as i64 == limit || bytes as i64 >= PAGE_BYTES;
    let next = rows
        .last()
        .filter(|_| full)
        .and_then(|last| page::write(&(last.received, last.id)));
    Ok(Json(QuarantineList {
        quarantined: rows.into_iter().map(QuarantineView::from).collect(),
        next,
        complete_through,
    }))
}
