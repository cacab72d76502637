//! `GET /v1/events`: entries in the order of appending; `/v1/events/{id}`: one entry with its original.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::context::{QueryContext, instant, micros};
use crate::http::paging;
use crate::http::problem::Problem;
use crate::postgres::{EntryFilter, EntryRow};
use onrecord_evidence::event::ids::Digest;
use onrecord_evidence::event::instant as rules_instant;
use onrecord_evidence::identity::alias_graph::Anchor;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventListQuery {
    r#type: Option<String>,
    source: Option<String>,
    call: Option<String>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct EventListView {
    events: Vec<EventView>,
    /// Always present: it is the position from which later entries can be read.
    next: Option<String>,
    complete_through: Option<String>,
}

/// One entry.
#[derive(Serialize)]
pub(crate) struct EventView {
    id: Uuid,
    call: Option<String>,
    r#type: String,
    source_type: String,
    provenance: String,
    source: String,
    ce_source: String,
    ce_id: String,
    /// The time that the source stated, verbatim.
    ce_time: Option<String>,
    /// The instant for the rules of evidence.
    at: Option<String>,
    received_at: String,
    /// SHA-256 of the bytes as received.
    sha256: Option<String>,
    flags: Vec<String>,
    event: Value,
}

impl From<EntryRow> for EventView {
    fn from(row: EntryRow) -> Self {
        Self {
            id: row.id,
            call: row.call.or(row.anchor),
            r#type: row.r#type,
            source_type: row.source_type,
            provenance: row.provenance,
            source: row.source,
            ce_source: row.ce_source,
            ce_id: row.ce_id,
            ce_time: row.ce_time,
            at: rules_instant::text(row.at_ms),
            received_at: micros(row.received_at),
            sha256: Digest::from_bytes(&row.sha256).map(|digest| digest.to_string()),
            flags: row.flags,
            event: row.event,
        }
    }
}

pub(crate) async fn list(
    State(api): State<QueryContext>,
    headers: HeaderMap,
    query: Result<Query<EventListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<EventListView>, Problem> {
    let caller = api.reader(&headers).await?;
    let Query(query) =
        query.map_err(|rejection| Problem::invalid("query", rejection.body_text()))?;
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let after = paging::parse_cursor::<(i64, Uuid)>(query.cursor.as_deref())?;
    let (from, to) = (
        instant("from", query.from.as_deref())?,
        instant("to", query.to.as_deref())?,
    );
    let mut snapshot = api.read(&caller.tenant).await?;
    let complete_through = snapshot.entries_complete_through().await?.map(micros);
    let anchors = match &query.call {
        None => None,
        Some(call) => {
            let name = snapshot.call_of(&Anchor::candidates(call)).await?;
            let name = name.ok_or_else(|| Problem::not_found("no call of yours has this id"))?;
            Some(snapshot.anchors_of(&name).await?)
        }
    };
    let filter = EntryFilter {
        r#type: query.r#type,
        source: query.source,
        from,
        to,
        anchors,
        after,
        limit,
    };
    let rows = snapshot.entries(&filter).await?;
    let next = match rows.last() {
        Some(last) => paging::format_cursor(&(last.xid, last.id)),
        None => query.cursor,
    };
    Ok(Json(EventListView {
        events: rows.into_iter().map(EventView::from).collect(),
        next,
        complete_through,
    }))
}

#[derive(Serialize)]
pub(crate) struct EventDetailView {
    #[serde(flatten)]
    entry: EventView,
    /// The event as received, without the members that `event.redacted` lists.
    original: String,
    complete_through: Option<String>,
}

pub(crate) async fn one(
    State(api): State<QueryContext>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<EventDetailView>, Problem> {
    let caller = api.reader(&headers).await?;
    let id = id
        .ok()
        .and_then(|Path(id)| Uuid::try_parse(&id).ok())
        .ok_or_else(|| Problem::not_found("an event's id is a UUID, as /v1/events gives it"))?;
    let mut snapshot = api.read(&caller.tenant).await?;
    let complete_through = snapshot.complete_through().await?.map(micros);
    let (row, original) = snapshot
        .entry(id)
        .await?
        .ok_or_else(|| Problem::not_found("no event of yours has this id"))?;
    let original = String::from_utf8_lossy(&original).into_owned();
    Ok(Json(EventDetailView {
        entry: row.into(),
        original,
        complete_through,
    }))
}
