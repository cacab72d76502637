//! `GET /v1/events`: entries in the order of appending, or the last ones first; `/v1/events/{id}`: one entry
//! with its original.

use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::access_log::{Access, Logged};
use super::context::{Reader, choice};
use super::time_range::{TimeRange, parse_zone};
use crate::http::body::{NoParameters, QueryParameters};
use crate::http::paging::{self, ListBinding};
use crate::http::problem::Problem;
use crate::http::timestamp::micros;
use crate::openapi::problem_sets::{ApiKeyProblems, IdProblems, LimitProblems};
use crate::postgres::{EntryFilter, EntryOrder, EntryRow};
use onrecord_evidence::identity::alias_graph::Anchor;

const ORDERS: &[&str] = &["entered", "-entered"];

#[derive(Deserialize, Serialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventListQuery {
    /// The type of event, for example `session.joined`.
    r#type: Option<String>,
    /// The configured source.
    source: Option<String>,
    /// Any id of a call.
    call: Option<String>,
    /// Received, from this instant on: RFC 3339, or a day (`2026-11-23`) of the time zone `tz`.
    from: Option<String>,
    /// Received, before this instant: RFC 3339, or a day of the time zone `tz`, which is included
    /// whole.
    to: Option<String>,
    /// The time zone of days: a name of the IANA database. Default: UTC.
    tz: Option<String>,
    /// `entered` (default): the order of append; `-entered`: the last ones first.
    #[param(pattern = "^-?entered$")]
    sort: Option<String>,
    /// The `next` of an answer to the same parameters; what follows it is returned.
    #[serde(skip_serializing)]
    cursor: Option<String>,
    /// Maximum number of rows, 1 to 1000. Default: 100.
    #[serde(skip_serializing)]
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
}

/// Events of the ledger.
#[derive(Serialize, ToSchema)]
#[schema(as = EventList)]
pub(crate) struct EventListView {
    /// The events.
    events: Vec<EntryRow>,
    /// Pass it as `cursor`, with the same parameters, for the following events. In the order of
    /// append it is always present: use it later for new ones.
    #[schema(required = true)]
    next: Option<String>,
    /// The low watermark: every event that reached the service before this instant is in the
    /// answer. Null while that is not known.
    #[schema(format = DateTime, required = true)]
    complete_through: Option<String>,
}

/// Lists events.
///
/// The events of the ledger, in the order of append or the last ones first. No event is left out
/// and none comes twice, whatever is appended meanwhile. A list of one call is logged.
#[utoipa::path(
    get,
    path = "/v1/events",
    operation_id = "listEvents",
    tag = "history",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        EventListQuery,
        ("x-onrecord-purpose" = Option<String>, Header, description = "Why it is read, 3 to 500 characters; kept in the access log.", min_length = 3, max_length = 500),
    ),
    responses(
        (status = 200, description = "Events.", body = EventListView),
        ApiKeyProblems,
        IdProblems,
        LimitProblems,
    ),
)]
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

/// One event with its original.
#[derive(Serialize, ToSchema)]
#[schema(as = EventDetail)]
pub(crate) struct EventDetailView {
    #[serde(flatten)]
    pub entry: EntryRow,
    /// The event as received, without the members that `event.redacted` lists.
    pub original: String,
    /// The low watermark: every event that reached the service before this instant is in the
    /// answer. Null while that is not known.
    #[schema(format = DateTime, required = true)]
    complete_through: Option<String>,
}

/// Reads one event with its original.
///
/// The read is logged.
#[utoipa::path(
    get,
    path = "/v1/events/{id}",
    operation_id = "getEvent",
    tag = "history",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        ("id" = Uuid, Path, description = "The id of the event."),
        ("x-onrecord-purpose" = Option<String>, Header, description = "Why it is read, 3 to 500 characters; kept in the access log.", min_length = 3, max_length = 500),
    ),
    responses(
        (status = 200, description = "The event.", body = EventDetailView),
        ApiKeyProblems,
        IdProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn one(
    reader: Reader,
    id: Result<Path<String>, PathRejection>,
    _: NoParameters,
) -> Result<Logged<EventDetailView>, Problem> {
    read_event(&reader, id.ok().map(|Path(id)| id).as_deref()).await
}

/// Reads an event with its original; the access is logged.
///
/// # Errors
///
/// There is no such event, or the store does not answer.
pub(crate) async fn read_event(
    reader: &Reader,
    id: Option<&str>,
) -> Result<Logged<EventDetailView>, Problem> {
    let id = id
        .and_then(|id| Uuid::try_parse(id).ok())
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
    Logged::of(reader, access, EventDetailView { entry, original, complete_through }).await
}
