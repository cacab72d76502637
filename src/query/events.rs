//! `GET /v1/events`: entries in the order of appending; `/v1/events/{id}`: one entry with its original.

use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::context::{Reader, instant};
use crate::http::body::QueryParameters;
use crate::http::paging;
use crate::http::problem::Problem;
use crate::http::timestamp::micros;
use crate::postgres::{EntryFilter, EntryRow};
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
    events: Vec<EntryRow>,
    /// Always present: the position from which later entries can be read.
    next: Option<String>,
    complete_through: Option<String>,
}

pub(crate) async fn list(
    reader: Reader,
    QueryParameters(query): QueryParameters<EventListQuery>,
) -> Result<Json<EventListView>, Problem> {
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let after = paging::parse_cursor::<(i64, Uuid)>(query.cursor.as_deref())?;
    let (from, to) = (instant("from", query.from.as_deref())?, instant("to", query.to.as_deref())?);
    let mut snapshot = reader.snapshot().await?;
    let complete_through = snapshot.entries_complete_through().await?.map(micros);
    let anchors = match &query.call {
        None => None,
        Some(call) => {
            let name = snapshot.call_of(&Anchor::candidates(call)).await?;
            let name = name.ok_or_else(|| Problem::not_found("no call of yours has this id"))?;
            Some(snapshot.anchors_of(&name).await?)
        }
    };
    let filter =
        EntryFilter { r#type: query.r#type, source: query.source, from, to, anchors, after, limit };
    let events = snapshot.entries(&filter).await?;
    let next = match events.last() {
        Some(last) => paging::format_cursor(&(last.xid, last.id)),
        // Before the first entry.
        None => query.cursor.or_else(|| paging::format_cursor(&(0_i64, Uuid::nil()))),
    };
    Ok(Json(EventListView { events, next, complete_through }))
}

#[derive(Serialize)]
pub(crate) struct EventDetailView {
    #[serde(flatten)]
    entry: EntryRow,
    /// The event as received, without the members that `event.redacted` lists.
    original: String,
    complete_through: Option<String>,
}

pub(crate) async fn one(
    reader: Reader,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<EventDetailView>, Problem> {
    let id = id
        .ok()
        .and_then(|Path(id)| Uuid::try_parse(&id).ok())
        .ok_or_else(|| Problem::not_found("an event's id is a UUID, as /v1/events gives it"))?;
    let mut snapshot = reader.snapshot().await?;
    let complete_through = snapshot.complete_through().await?.map(micros);
    let (entry, original) = snapshot
        .entry(id)
        .await?
        .ok_or_else(|| Problem::not_found("no event of yours has this id"))?;
    let original = String::from_utf8_lossy(&original).into_owned();
    Ok(Json(EventDetailView { entry, original, complete_through }))
}
