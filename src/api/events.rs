//! `GET /v1/events`: the book in the order of entry; `/v1/events/{id}`: one line with its original.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::reader::{Api, instant, micros};
use crate::domain::alias::Anchor;
use crate::domain::ids::Digest;
use crate::domain::instant as rules_instant;
use crate::http::page;
use crate::http::problem::Problem;
use crate::store::{EntryFilter, EntryRow};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    r#type: Option<String>,
    source: Option<String>,
    call: Option<String>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

#[derive(Serialize)]
pub(super) struct EventList {
    events: Vec<EventView>,
    /// Always there: come back with it for what is entered later.
    next: Option<String>,
    complete_through: Option<String>,
}

/// One line of the book.
#[derive(Serialize)]
pub(super) struct EventView {
    id: Uuid,
    call: Option<String>,
    r#type: String,
    source_type: String,
    provenance: String,
    source: String,
    ce_source: String,
    ce_id: String,
    /// The source's own time, verbatim.
    ce_time: Option<String>,
    /// The instant for the rules.
    at: Option<String>,
    received: String,
    /// Of the bytes as received.
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
            at: rules_instant::text(row.t),
            received: micros(row.received),
            sha256: Digest::from_bytes(&row.sha256).map(|digest| digest.to_string()),
            flags: row.flags,
            event: row.event,
        }
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    headers: HeaderMap,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<EventList>, Problem> {
    let caller = api.reader(&headers).await?;
    let Query(query) =
        query.map_err(|rejection| Problem::invalid("query", rejection.body_text()))?;
    let limit = page::limit(query.limit.as_deref())?;
    let after = page::read::<(i64, Uuid)>(query.cursor.as_deref())?;
    let (from, to) = (
        instant("from", query.from.as_deref())?,
        instant("to", query.to.as_deref())?,
    );
    let mut room = api.read(&caller.tenant).await?;
    let complete_through = room.entries_complete_through().await?.map(micros);
    let anchors = match &query.call {
        None => None,
        Some(call) => {
            let name = room.call_of(&Anchor::candidates(call)).await?;
            let name = name.ok_or_else(|| Problem::not_found("no call of yours has this id"))?;
            Some(room.anchors_of(&name).await?)
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
    let rows = room.entries(&filter).await?;
    let next = match rows.last() {
        Some(last) => page::write(&(last.xid, last.id)),
        None => query.cursor,
    };
    Ok(Json(EventList {
        events: rows.into_iter().map(EventView::from).collect(),
        next,
        complete_through,
    }))
}

#[derive(Serialize)]
pub(super) struct EventDetail {
    #[serde(flatten)]
    line: EventView,
    /// As received, less the members that `event.redacted` lists.
    original: String,
    complete_through: Option<String>,
}

pub(super) async fn one(
    State(api): State<Api>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<EventDetail>, Problem> {
    let caller = api.reader(&headers).await?;
    let id = id
        .ok()
        .and_then(|Path(id)| Uuid::try_parse(&id).ok())
        .ok_or_else(|| Problem::not_found("an event's id is a UUID, as /v1/events gives it"))?;
    let mut room = api.read(&caller.tenant).await?;
    let complete_through = room.complete_through().await?.map(micros);
    let (row, original) = room
        .entry(id)
        .await?
        .ok_or_else(|| Problem::not_found("no event of yours has this id"))?;
    let original = String::from_utf8_lossy(&original).into_owned();
    Ok(Json(EventDetail {
        line: row.into(),
        original,
        complete_through,
    }))
}
