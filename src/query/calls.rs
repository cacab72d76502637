//! `GET /v1/calls`, `/v1/calls/{call}`, `/v1/calls/{call}/timeline`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::context::{QueryContext, instant, micros, millis};
use super::events::EventView;
use crate::http::paging;
use crate::http::problem::Problem;
use crate::postgres::{CallFilter, CallRow, CaptureDetailRow, NoticeRow, SessionDetailRow};
use onrecord_evidence::event::instant as rules_instant;
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
        Self {
            call: row.call,
            started_at: millis(row.started_at),
            ended_at: row.ended_at.map(millis),
            end_presumed: row.end_presumed,
            indication: CallIndicationView {
                recording: CallLevelView {
                    state: row.recording,
                    stale: row.recording_stale,
                },
                transcription: CallLevelView {
                    state: row.transcription,
                    stale: row.transcription_stale,
                },
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
    State(api): State<QueryContext>,
    headers: HeaderMap,
    query: Result<Query<CallListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<CallListView>, Problem> {
    let caller = api.reader(&headers).await?;
    let Query(query) =
        query.map_err(|rejection| Problem::invalid("query", rejection.body_text()))?;
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let open = match query.state.as_deref() {
        None => None,
        Some("open") => Some(true),
        Some("ended") => Some(false),
        Some(_) => {
            return Err(
                Problem::invalid("state", "state is open or ended").allowing(&["open", "ended"])
            );
        }
    };
    let filter = CallFilter {
        from: instant("from", query.from.as_deref())?,
        to: instant("to", query.to.as_deref())?,
        open,
        participant: query.participant,
        after: paging::parse_cursor::<(DateTime<Utc>, String)>(query.cursor.as_deref())?,
        limit,
    };
    let mut snapshot = api.read(&caller.tenant).await?;
    let complete_through = snapshot.complete_through().await?.map(micros);
    let rows = snapshot.calls(&filter).await?;
    let full = rows.len() as i64 == limit;
    let next = rows
        .last()
        .filter(|_| full)
        .and_then(|last| paging::format_cursor(&(last.started_at, &last.call)));
    Ok(Json(CallListView {
        calls: rows.into_iter().map(CallView::from).collect(),
        next,
        complete_through,
    }))
}

#[derive(Serialize)]
pub(crate) struct CallDetailView {
    #[serde(flatten)]
    summary: CallView,
    /// Public ids of all its anchors.
    aliases: Vec<String>,
    /// The ids behind the anchors.
    ids: Vec<CallIdView>,
    participants: Vec<CallSessionView>,
    captures: Vec<CallCaptureView>,
    complete_through: Option<String>,
}

#[derive(Serialize)]
struct CallIdView {
    kind: String,
    id: String,
}

#[derive(Serialize)]
struct CallSessionView {
    session: String,
    identity: String,
    ours: bool,
    raw_id: Option<String>,
    display_name: Option<String>,
    kind: Option<String>,
    participant_id: Option<String>,
    attachments: Value,
    user_agent: Option<String>,
    joined_at: String,
    left_at: Option<String>,
    join_inferred: bool,
    left_inferred: bool,
}

#[derive(Serialize)]
struct CallCaptureView {
    r#type: String,
    started_at: String,
    ended_at: Option<String>,
    start_source: String,
    sources: Vec<String>,
    recordings: Vec<String>,
    kinds: Vec<String>,
}

impl From<SessionDetailRow> for CallSessionView {
    fn from(row: SessionDetailRow) -> Self {
        Self {
            session: row.session,
            identity: row.identity,
            ours: row.ours,
            raw_id: row.raw_id,
            display_name: row.display_name,
            kind: row.kind,
            participant_id: row.participant_id,
            attachments: row.attachments,
            user_agent: row.user_agent,
            joined_at: millis(row.joined_at),
            left_at: row.left_at.map(millis),
            join_inferred: row.join_inferred,
            left_inferred: row.left_inferred,
        }
    }
}

impl From<CaptureDetailRow> for CallCaptureView {
    fn from(row: CaptureDetailRow) -> Self {
        Self {
            r#type: row.r#type,
            started_at: millis(row.started_at),
            ended_at: row.ended_at.map(millis),
            start_source: row.start_source,
            sources: row.sources,
            recordings: row.recordings,
            kinds: row.kinds,
        }
    }
}

pub(crate) fn unknown_call() -> Problem {
    Problem::not_found(
        "no call of yours has this id; name it by its call id, correlationId, serverCallId (percent-encoded), callConnectionId, recordingId or attachment",
    )
}

pub(crate) async fn one(
    State(api): State<QueryContext>,
    headers: HeaderMap,
    call: Result<Path<String>, PathRejection>,
) -> Result<Json<CallDetailView>, Problem> {
    let caller = api.reader(&headers).await?;
    let Path(call) = call.map_err(|_| unknown_call())?;
    let mut snapshot = api.read(&caller.tenant).await?;
    let found = snapshot
        .call(&Anchor::candidates(&call))
        .await?
        .ok_or_else(unknown_call)?;
    let complete_through = snapshot.call_complete_through(&found.call.call).await?;
    let complete_through = complete_through.map(micros);
    Ok(Json(CallDetailView {
        summary: found.call.into(),
        aliases: found.anchors,
        ids: found
            .ids
            .into_iter()
            .map(|(kind, id)| CallIdView { kind, id })
            .collect(),
        participants: found
            .sessions
            .into_iter()
            .map(CallSessionView::from)
            .collect(),
        captures: found
            .captures
            .into_iter()
            .map(CallCaptureView::from)
            .collect(),
        complete_through,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimelineQuery {
    cursor: Option<String>,
    limit: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct TimelineView {
    call: String,
    events: Vec<TimelineItemView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    complete_through: Option<String>,
}

/// An event or a notice fact of a call. Both forms have `id`, `call`, `type`, `at` and `flags`.
#[derive(Serialize)]
#[serde(untagged)]
enum TimelineItemView {
    Event(EventView),
    Notice(NoticeView),
}

/// A notice fact: a notice was dispatched, delivered or displayed, or the participant answered.
#[derive(Serialize)]
struct NoticeView {
    id: Uuid,
    call: Option<String>,
    r#type: String,
    /// The instant for the rules of evidence, by the clock of the server.
    at: Option<String>,
    entered_at: String,
    flags: Vec<String>,
    fact: Value,
}

impl From<NoticeRow> for NoticeView {
    fn from(row: NoticeRow) -> Self {
        Self {
            id: row.timeline_id,
            call: row.call,
            r#type: row.kind,
            at: rules_instant::text(row.at_ms),
            entered_at: micros(row.entered_at),
            flags: row.flags,
            fact: row.fact,
        }
    }
}

pub(crate) async fn timeline(
    State(api): State<QueryContext>,
    headers: HeaderMap,
    call: Result<Path<String>, PathRejection>,
    query: Result<Query<TimelineQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<TimelineView>, Problem> {
    let caller = api.reader(&headers).await?;
    let Path(call) = call.map_err(|_| unknown_call())?;
    let Query(query) =
        query.map_err(|rejection| Problem::invalid("query", rejection.body_text()))?;
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let after = paging::parse_cursor::<(i64, Uuid)>(query.cursor.as_deref())?;
    let mut snapshot = api.read(&caller.tenant).await?;
    let complete_through = snapshot.complete_through().await?.map(micros);
    let name = snapshot
        .call_of(&Anchor::candidates(&call))
        .await?
        .ok_or_else(unknown_call)?;
    let anchors = snapshot.anchors_of(&name).await?;
    let events = snapshot.timeline(&anchors, after, limit).await?;
    let notices = snapshot.notice_timeline(&anchors, after, limit).await?;
    let events = events
        .into_iter()
        .map(|row| ((row.at_ms, row.id), TimelineItemView::Event(row.into())));
    let notices = notices.into_iter().map(|row| {
        (
            (row.at_ms, row.timeline_id),
            TimelineItemView::Notice(row.into()),
        )
    });
    let mut items: Vec<((i64, Uuid), TimelineItemView)> = events.chain(notices).collect();
    items.sort_by_key(|(position, _)| *position);
    items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let full = items.len() as i64 == limit;
    let next = items
        .last()
        .filter(|_| full)
        .and_then(|(position, _)| paging::format_cursor(position));
    Ok(Json(TimelineView {
        call: name,
        events: items.into_iter().map(|(_, item)| item).collect(),
        next,
        complete_through,
    }))
}
