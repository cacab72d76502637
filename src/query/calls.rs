//! `GET /v1/calls`, `/v1/calls/{call}`, `/v1/calls/{call}/timeline`.

use axum::Json;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::context::{CallPath, Reader, choice, instant, unknown_call};
use crate::http::body::QueryParameters;
use crate::http::paging::{self, PageQuery};
use crate::http::problem::Problem;
use crate::http::timestamp::{micros, millis};
use crate::postgres::{
    CallFilter, CallRow, CaptureDetailRow, EntryRow, NoticeRow, SessionDetailRow,
};
use onrecord_evidence::identity::alias_graph::Anchor;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallListQuery {
    from: Option<String>,
    to: Option<String>,
    state: Option<String>,
    participant: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct CallListView {
    calls: Vec<CallView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    complete_through: Option<String>,
}

#[derive(Serialize)]
struct CallView {
    call: String,
    started_at: String,
    ended_at: Option<String>,
    end_presumed: bool,
    indication: CallIndicationView,
    /// Whether any source stated that the call was recorded.
    recorded: bool,
    /// Whether any source stated that the call was transcribed.
    transcribed: bool,
    sessions: i64,
    group_id: Option<String>,
    flags: Vec<String>,
    evaluated_at: String,
}

#[derive(Serialize)]
struct CallIndicationView {
    recording: CallLevelView,
    transcription: CallLevelView,
}

#[derive(Serialize)]
struct CallLevelView {
    state: String,
    stale: bool,
}

impl From<CallRow> for CallView {
    fn from(row: CallRow) -> Self {
        let level = |state, stale| CallLevelView { state, stale };
        Self {
            call: row.call,
            started_at: millis(row.started_at),
            ended_at: row.ended_at.map(millis),
            end_presumed: row.end_presumed,
            indication: CallIndicationView {
                recording: level(row.recording, row.recording_stale),
                transcription: level(row.transcription, row.transcription_stale),
            },
            recorded: row.recorded,
            transcribed: row.transcribed,
            sessions: row.sessions,
            group_id: row.group_id,
            flags: row.flags,
            evaluated_at: micros(row.evaluated_at),
        }
    }
}

pub(crate) async fn list(
    reader: Reader,
    QueryParameters(query): QueryParameters<CallListQuery>,
) -> Result<Json<CallListView>, Problem> {
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let state = choice("state", query.state, "state is open or ended", &["open", "ended"])?;
    let filter = CallFilter {
        from: instant("from", query.from.as_deref())?,
        to: instant("to", query.to.as_deref())?,
        open: state.map(|state| state == "open"),
        participant: query.participant,
        after: paging::parse_cursor::<(DateTime<Utc>, String)>(query.cursor.as_deref())?,
        limit,
    };
    let mut snapshot = reader.snapshot().await?;
    let complete_through = snapshot.evaluated_through().await?.map(micros);
    let rows = snapshot.calls(&filter).await?;
    let next = paging::next_cursor(&rows, limit, |last| (last.started_at, last.call.clone()));
    let calls = rows.into_iter().map(CallView::from).collect();
    Ok(Json(CallListView { calls, next, complete_through }))
}

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
) -> Result<Json<CallDetailView>, Problem> {
    let mut snapshot = reader.snapshot().await?;
    let found = snapshot.call(&Anchor::candidates(&call)).await?.ok_or_else(unknown_call)?;
    let complete_through = snapshot.call_complete_through(&found.call.call).await?.map(micros);
    Ok(Json(CallDetailView {
        summary: found.call.into(),
        aliases: found.anchors,
        ids: found.ids.into_iter().map(|(kind, id)| CallIdView { kind, id }).collect(),
        participants: found.sessions,
        captures: found.captures,
        complete_through,
    }))
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
) -> Result<Json<TimelineView>, Problem> {
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let after = paging::parse_cursor::<(i64, Uuid)>(query.cursor.as_deref())?;
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
    let next = paging::next_cursor(&events, limit, TimelineItemView::position);
    Ok(Json(TimelineView { call, events, next, complete_through }))
}
