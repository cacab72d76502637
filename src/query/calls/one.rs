//! `GET /v1/calls/{call}`, `/v1/calls/{call}/timeline`.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::call_view::CallView;
use crate::http::body::{NoParameters, QueryParameters};
use crate::http::paging::{self, ListBinding, PageQuery};
use crate::http::problem::Problem;
use crate::http::timestamp::micros;
use crate::openapi::problem_sets::{ApiKeyProblems, IdProblems, LimitProblems};
use crate::postgres::{CallDetails, CaptureDetailRow, EntryRow, NoticeRow, SessionDetailRow};
use crate::query::access_log::{Access, Logged};
use crate::query::context::{CallPath, Reader, unknown_call};
use onrecord_evidence::identity::alias_graph::Anchor;

/// One call with its ids, sessions and captures.
#[derive(Serialize, ToSchema)]
#[schema(as = CallDetail)]
pub(crate) struct CallDetailView {
    #[serde(flatten)]
    summary: CallView,
    /// All public ids of the call, former ids of merged calls among them.
    aliases: Vec<String>,
    /// The ids of Azure behind them.
    ids: Vec<CallIdView>,
    /// The sessions of the call, by their start.
    participants: Vec<SessionDetailRow>,
    /// The captures of the call, by type and start.
    captures: Vec<CaptureDetailRow>,
    /// The low watermark: every event that reached the service before this instant is in the
    /// answer. Null while that is not known.
    #[schema(format = DateTime, required = true)]
    complete_through: Option<String>,
}

/// An id of a call.
#[derive(Serialize, ToSchema)]
#[schema(as = CallId)]
struct CallIdView {
    /// What the id is: `server_call_id`, `correlation_id`, `call_connection_id`, `recording_id`,
    /// `attachment`, and the like.
    kind: String,
    /// The id in its canonical form.
    id: String,
}

/// Reads a call with its sessions and captures. The caller logs the access.
///
/// # Errors
///
/// There is no such call, or the store does not answer.
pub(crate) async fn read_call(
    reader: &Reader,
    call: &str,
) -> Result<(CallDetails, Option<DateTime<Utc>>), Problem> {
    let mut snapshot = reader.snapshot().await?;
    let found = snapshot.call(&Anchor::candidates(call)).await?.ok_or_else(unknown_call)?;
    let complete_through = snapshot.call_complete_through(&found.call.call).await?;
    Ok((found, complete_through))
}

/// Reads one call.
///
/// The call with its ids, sessions and captures. The read is logged.
#[utoipa::path(
    get,
    path = "/v1/calls/{call}",
    operation_id = "getCall",
    tag = "history",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        ("call" = String, Path, description = "Any id of the call, percent-encoded: call id, correlationId, serverCallId, callConnectionId, recordingId or attachment."),
        ("x-onrecord-purpose" = Option<String>, Header, description = "Why it is read, 3 to 500 characters; kept in the access log.", min_length = 3, max_length = 500),
    ),
    responses(
        (status = 200, description = "The call.", body = CallDetailView),
        ApiKeyProblems,
        IdProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn one(
    reader: Reader,
    CallPath(call): CallPath,
    _: NoParameters,
) -> Result<Logged<CallDetailView>, Problem> {
    let (found, complete_through) = read_call(&reader, &call).await?;
    let complete_through = complete_through.map(micros);
    let access = Access::Call(found.call.call.clone());
    let view = CallDetailView {
        summary: found.call.into(),
        aliases: found.anchors,
        ids: found.ids.into_iter().map(|(kind, id)| CallIdView { kind, id }).collect(),
        participants: found.sessions,
        captures: found.captures,
        complete_through,
    };
    Logged::of(&reader, access, view).await
}

/// What happened in a call.
#[derive(Serialize, ToSchema)]
#[schema(as = Timeline)]
pub(crate) struct TimelineView {
    /// The id of the call: that of its strongest anchor. It changes when calls are merged;
    /// `aliases` of one call keep the former ones.
    pub call: String,
    /// Events and notice facts, in the order in which they happened.
    pub events: Vec<TimelineItemView>,
    /// Pass it as `cursor`, with the same parameters, for the following rows. Absent: there are
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The low watermark: every event that reached the service before this instant is in the
    /// answer. Null while that is not known.
    #[schema(format = DateTime, required = true)]
    complete_through: Option<String>,
}

/// An event, or a notice fact of a call: a notice was dispatched, delivered or displayed, or the
/// participant answered. Both forms have `id`, `call`, `type`, `at` and `flags`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = TimelineItem)]
pub(crate) enum TimelineItemView {
    Event(Box<EntryRow>),
    Notice(NoticeRow),
}

impl TimelineItemView {
    fn position(&self) -> (i64, Uuid) {
        match self {
            Self::Event(row) => (row.at_ms, row.id),
            Self::Notice(row) => (row.at_ms, row.timeline_id),
        }
    }
}

/// Lists what happened in a call.
///
/// Its events and notice facts, in the order in which they happened. The read is logged.
#[utoipa::path(
    get,
    path = "/v1/calls/{call}/timeline",
    operation_id = "getTimeline",
    tag = "history",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        ("call" = String, Path, description = "Any id of the call, percent-encoded: call id, correlationId, serverCallId, callConnectionId, recordingId or attachment."),
        PageQuery,
        ("x-onrecord-purpose" = Option<String>, Header, description = "Why it is read, 3 to 500 characters; kept in the access log.", min_length = 3, max_length = 500),
    ),
    responses(
        (status = 200, description = "The timeline.", body = TimelineView),
        ApiKeyProblems,
        IdProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn timeline(
    reader: Reader,
    CallPath(call): CallPath,
    QueryParameters(query): QueryParameters<PageQuery>,
) -> Result<Logged<TimelineView>, Problem> {
    let view = read_timeline(&reader, &call, &query).await?;
    let access = Access::Call(view.call.clone());
    Logged::of(&reader, access, view).await
}

/// Reads a page of the timeline of a call. The caller logs the access.
///
/// # Errors
///
/// A parameter is wrong, there is no such call, or the store does not answer.
pub(crate) async fn read_timeline(
    reader: &Reader,
    call: &str,
    query: &PageQuery,
) -> Result<TimelineView, Problem> {
    let binding = ListBinding::of("timeline", &call)?;
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let after = binding.parse_cursor::<(i64, Uuid)>(query.cursor.as_deref())?;
    let mut snapshot = reader.snapshot().await?;
    let complete_through = snapshot.evaluated_through().await?.map(micros);
    let call = snapshot.call_of(&Anchor::candidates(call)).await?.ok_or_else(unknown_call)?;
    let anchors = snapshot.anchors_of(&call).await?;
    let entries = snapshot.timeline(&anchors, after, limit).await?;
    let notices = snapshot.notice_timeline(&anchors, after, limit).await?;
    let entries = entries.into_iter().map(|row| TimelineItemView::Event(Box::new(row)));
    let notices = notices.into_iter().map(TimelineItemView::Notice);
    let mut events: Vec<TimelineItemView> = entries.chain(notices).collect();
    events.sort_by_key(TimelineItemView::position);
    events.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    drop(snapshot);
    let next = binding.next_cursor(&events, limit, TimelineItemView::position);
    Ok(TimelineView { call, events, next, complete_through })
}
