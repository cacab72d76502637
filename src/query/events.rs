//! `GET /v1/events`: entries in the order of appending, or the last ones first; `/v1/events/{id}`: one entry
//! with its original.

use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::access_log::{Access, Logged};
use super::context::{Reader, choice};
use super::time_range::{TimeRange, parse_zone};
use crate::http::body::QueryParameters;
use crate::http::paging::{self, ListBinding};
use crate::http::problem::Problem;
use crate::http::timestamp::micros;
use crate::postgres::{EntryFilter, EntryOrder, EntryRow};
use onrecord_evidence::identity::alias_graph::Anchor;

const ORDERS: &[&str] = &["entered", "-entered"];

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventListQuery {
    r#type: Option<String>,
    source: Option<String>,
    call: Option<String>,
    from: Option<String>,
    to: Option<String>,
    tz: Option<String>,
    sort: Option<String>,
    #[serde(skip_serializing)]
    cursor: Option<String>,
    #[serde(skip_serializing)]
    limit: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct EventListView {
    events: Vec<EntryRow>,
    /// In the order of appending always present: the position from which later entries can be read.
    next: Option<String>,
    complete_through: Option<String>,
}

pub(crate) async fn list(
    reader: Reader,
    QueryParameters(query): QueryParameters<EventListQuery>,
) -> Result<Response, Problem> {
    let binding = ListBinding::of("events", &query)?;
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let after = binding.parse_cursor::<(i64, Uuid)>(query.cursor.as_deref())?;
    let zone = parse_zone(query.tz.as_deref())?;
    let TimeRange { from, to } =
        TimeRange::parse(query.from.as_deref(), query.to.as_deref(), zone)?;
    let sort = "entered is the order of appending, -entered the last ones first";
    let order = match choice("sort", query.sort, sort, ORDERS)? {
        Some("-entered") => EntryOrder::LastAppendedFirst,
        _ => EntryOrder::Appended,
    };
    let mut snapshot = reader.snapshot().await?;
    let complete_through = snapshot.entries_complete_through().await?.map(micros);
    let (call, anchors) = match &query.call {
        None => (None, None),
        Some(call) => {
            let name = snapshot.call_of(&Anchor::candidates(call)).await?;
            let name = name.ok_or_else(|| Problem::not_found("no call of yours has this id"))?;
            let anchors = snapshot.anchors_of(&name).await?;
            (Some(name), Some(anchors))
        }
    };
    let filter = EntryFilter {
        order,
        r#type: query.r#type,
        source: query.source,
        from,
        to,
        anchors,
        after,
        limit,
    };
    let events = snapshot.entries(&filter).await?;
    drop(snapshot);
    let next = match (order, events.last()) {
        (EntryOrder::Appended, Some(last)) => binding.format_cursor(&(last.xid, last.id)),
        // Before the first entry.
        (EntryOrder::Appended, None) => {
            query.cursor.or_else(|| binding.format_cursor(&(0_i64, Uuid::nil())))
        }
        (EntryOrder::LastAppendedFirst, _) => {
            binding.next_cursor(&events, limit, |last| (last.xid, last.id))
        }
    };
    let view = EventListView { events, next, complete_through };
    match call {
        Some(call) => {
            let logged = Logged::of(&reader, Access::Call(call), view).await?;
            Ok(logged.into_response())
        }
        None => Ok(Json(view).into_response()),
    }
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
) -> Result<Logged<EventDetailView>, Problem> {
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
    drop(snapshot);
    let original = String::from_utf8_lossy(&original).into_owned();
    let access = Access::Original { event: id, call: entry.call.clone() };
    Logged::of(&reader, access, EventDetailView { entry, original, complete_through }).await
}
