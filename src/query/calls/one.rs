//! `GET /v1/calls/{call}`, `/v1/calls/{call}/timeline`.

use serde::Serialize;
use uuid::Uuid;

use super::call_view::CallView;
use crate::http::body::QueryParameters;
use crate::http::paging::{self, ListBinding, PageQuery};
use crate::http::problem::Problem;
use crate::http::timestamp::micros;
use crate::postgres::{CaptureDetailRow, EntryRow, NoticeRow, SessionDetailRow};
use crate::query::access_log::{Access, Logged};
use crate::query::context::{CallPath, Reader, unknown_call};
use onrecord_evidence::identity::alias_graph::Anchor;

#[derive(Serialize)]
pub(crate) struct CallDetailView {
    #[serde(flatten)]
    summary: CallView,
    /// Public ids of all its anchors.
    aliases: Vec<String>,
    /// The ids behind the anchors.
    ids: Vec<CallIdView>,
    participants: Vec<SessionDetailRow>,
    captures: Vec<CaptureDetailRow>,
    complete_through: Option<String>,
}

#[derive(Serialize)]
struct CallIdView {
    kind: String,
    id: String,
}

pub(crate) async fn one(
    reader: Reader,
    CallPath(call): CallPath,
) -> Result<Logged<CallDetailView>, Problem> {
    let mut snapshot = reader.snapshot().await?;
    let found = snapshot.call(&Anchor::candidates(&call)).await?.ok_or_else(unknown_call)?;
    let complete_through = snapshot.call_complete_through(&found.call.call).await?.map(micros);
    drop(snapshot);
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

#[derive(Serialize)]
pub(crate) struct TimelineView {
    call: String,
    events: Vec<TimelineItemView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    complete_through: Option<String>,
}

/// An event, or a notice fact of a call: a notice was dispatched, delivered or displayed, or the
/// participant answered. Both forms have `id`, `call`, `type`, `at` and `flags`.
#[derive(Serialize)]
#[serde(untagged)]
enum TimelineItemView {
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

pub(crate) async fn timeline(
    reader: Reader,
    CallPath(call): CallPath,
    QueryParameters(query): QueryParameters<PageQuery>,
) -> Result<Logged<TimelineView>, Problem> {
    let binding = ListBinding::of("timeline", &call)?;
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let after = binding.parse_cursor::<(i64, Uuid)>(query.cursor.as_deref())?;
    let mut snapshot = reader.snapshot().await?;
    let complete_through = snapshot.evaluated_through().await?.map(micros);
    let call = snapshot.call_of(&Anchor::candidates(&call)).await?.ok_or_else(unknown_call)?;
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
    let access = Access::Call(call.clone());
    Logged::of(&reader, access, TimelineView { call, events, next, complete_through }).await
}
