//! `GET /v1/calls`, `/v1/calls/{call}`, `/v1/calls/{call}/timeline`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::events::EventView;
use super::reader::{Api, instant, micros, millis};
use crate::domain::alias::Anchor;
use crate::domain::instant as rules_instant;
use crate::http::page;
use crate::http::problem::Problem;
use crate::store::{CallFilter, CallRow, NoticeRow, SessionView, StretchView};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    from: Option<String>,
    to: Option<String>,
    state: Option<String>,
    participant: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

#[derive(Serialize)]
pub(super) struct CallList {
    calls: Vec<CallSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    complete_through: Option<String>,
}

#[derive(Serialize)]
struct CallSummary {
    call: String,
    started: String,
    ended: Option<String>,
    end_presumed: bool,
    indication: IndicationSummary,
    /// Whether it was ever recorded, transcribed, as far as anybody could tell.
    recorded: bool,
    transcribed: bool,
    sessions: i64,
    group_id: Option<String>,
    flags: Vec<String>,
    folded_at: String,
}

#[derive(Serialize)]
struct IndicationSummary {
    recording: LevelSummary,
    transcription: LevelSummary,
}

#[derive(Serialize)]
struct LevelSummary {
    state: String,
    stale: bool,
}

impl From<CallRow> for CallSummary {
    fn from(row: CallRow) -> Self {
        Self {
            call: row.call,
            started: millis(row.started),
            ended: row.ended.map(millis),
            end_presumed: row.end_presumed,
            indication: IndicationSummary {
                recording: LevelSummary {
                    state: row.recording,
                    stale: row.recording_stale,
                },
                transcription: LevelSummary {
                    state: row.transcription,
                    stale: row.transcription_stale,
                },
            },
            recorded: row.recorded,
            transcribed: row.transcribed,
            sessions: row.sessions,
            group_id: row.group_id,
            flags: row.flags,
            folded_at: micros(row.folded),
        }
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    headers: HeaderMap,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<CallList>, Problem> {
    let caller = api.reader(&headers).await?;
    let Query(query) =
        query.map_err(|rejection| Problem::invalid("query", rejection.body_text()))?;
    let limit = page::limit(query.limit.as_deref())?;
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
        after: page::read::<(DateTime<Utc>, String)>(query.cursor.as_deref())?,
        limit,
    };
    let mut room = api.read(&caller.tenant).await?;
    let complete_through = room.complete_through().await?.map(micros);
    let rows = room.calls(&filter).await?;
    let full = rows.len() as i64 == limit;
    let next = rows
        .last()
        .filter(|_| full)
        .and_then(|last| page::write(&(last.started, &last.call)));
    Ok(Json(CallList {
        calls: rows.into_iter().map(CallSummary::from).collect(),
        next,
        complete_through,
    }))
}

#[derive(Serialize)]
pub(super) struct CallDetail {
    #[serde(flatten)]
    summary: CallSummary,
    /// Public ids of everything that leads to it.
    aliases: Vec<String>,
    /// The ids themselves.
    ids: Vec<NamedId>,
    participants: Vec<SessionDetail>,
    stretches: Vec<StretchDetail>,
    complete_through: Option<String>,
}

#[derive(Serialize)]
struct NamedId {
    kind: String,
    id: String,
}

#[derive(Serialize)]
struct SessionDetail {
    session: String,
    identity: String,
    ours: bool,
    raw_id: Option<String>,
    display_name: Option<String>,
    kind: Option<String>,
    participant_id: Option<String>,
    attachments: Value,
    user_agent: Option<String>,
    joined: String,
    left: Option<String>,
    join_inferred: bool,
    left_inferred: bool,
}

#[derive(Serialize)]
struct StretchDetail {
    r#type: String,
    start: String,
    end: Option<String>,
    start_source: String,
    sources: Vec<String>,
    recordings: Vec<String>,
    kinds: Vec<String>,
}

impl From<SessionView> for SessionDetail {
    fn from(row: SessionView) -> Self {
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
            joined: millis(row.joined),
            left: row.left_at.map(millis),
            join_inferred: row.join_inferred,
            left_inferred: row.left_inferred,
        }
    }
}

impl From<StretchView> for StretchDetail {
    fn from(row: StretchView) -> Self {
        Self {
            r#type: row.r#type,
            start: millis(row.started),
            end: row.ended.map(millis),
            start_source: row.start_source,
            sources: row.sources,
            recordings: row.recordings,
            kinds: row.kinds,
        }
    }
}

pub(super) fn unknown_call() -> Problem {
    Problem::not_found(
        "no call of yours has this id; name it by its call id, correlationId, serverCallId (percent-encoded), callConnectionId, recordingId or attachment",
    )
}

pub(super) async fn one(
    State(api): State<Api>,
    headers: HeaderMap,
    call: Result<Path<String>, PathRejection>,
) -> Result<Json<CallDetail>, Problem> {
    let caller = api.reader(&headers).await?;
    let Path(call) = call.map_err(|_| unknown_call())?;
    let mut room = api.read(&caller.tenant).await?;
    let page = room
        .call(&Anchor::candidates(&call))
        .await?
        .ok_or_else(unknown_call)?;
    let complete_through = room.call_complete_through(&page.call.call).await?;
    let complete_through = complete_through.map(micros);
    Ok(Json(CallDetail {
        summary: page.call.into(),
        aliases: page.anchors,
        ids: page
            .ids
            .into_iter()
            .map(|(kind, id)| NamedId { kind, id })
            .collect(),
        participants: page.sessions.into_iter().map(SessionDetail::from).collect(),
        stretches: page
            .stretches
            .into_iter()
            .map(StretchDetail::from)
            .collect(),
        complete_through,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimelineQuery {
    cursor: Option<String>,
    limit: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Timeline {
    call: String,
    events: Vec<Happening>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    complete_through: Option<String>,
}

/// What happened in a call. Both forms have `id`, `call`, `type`, `at` and `flags`.
#[derive(Serialize)]
#[serde(untagged)]
enum Happening {
    Event(EventView),
    Notice(NoticeView),
}

/// How far a notice got, or what a participant answered.
#[derive(Serialize)]
struct NoticeView {
    id: Uuid,
    call: Option<String>,
    r#type: String,
    /// The instant for the rules, by our clock.
    at: Option<String>,
    entered_at: String,
    flags: Vec<String>,
    fact: Value,
}

impl From<NoticeRow> for NoticeView {
    fn from(row: NoticeRow) -> Self {
        Self {
            id: row.line,
            call: row.call,
            r#type: row.kind,
            at: rules_instant::text(row.t),
            entered_at: micros(row.entered),
            flags: row.flags,
            fact: row.fact,
        }
    }
}

pub(super) async fn timeline(
    State(api): State<Api>,
    headers: HeaderMap,
    call: Result<Path<String>, PathRejection>,
    query: Result<Query<TimelineQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Timeline>, Problem> {
    let caller = api.reader(&headers).await?;
    let Path(call) = call.map_err(|_| unknown_call())?;
    let Query(query) =
        query.map_err(|rejection| Problem::invalid("query", rejection.body_text()))?;
    let limit = page::limit(query.limit.as_deref())?;
    let after = page::read::<(i64, Uuid)>(query.cursor.as_deref())?;
    let mut room = api.read(&caller.tenant).await?;
    let complete_through = room.complete_through().await?.map(micros);
    let name = room
        .call_of(&Anchor::candidates(&call))
        .await?
        .ok_or_else(unknown_call)?;
    let anchors = room.anchors_of(&name).await?;
    let events = room.timeline(&anchors, after, limit).await?;
    let notices = room.notice_timeline(&anchors, after, limit).await?;
    let events = events
        .into_iter()
        .map(|row| ((row.t, row.id), Happening::Event(row.into())));
    let notices = notices
        .into_iter()
        .map(|row| ((row.t, row.line), Happening::Notice(row.into())));
    let mut happened: Vec<((i64, Uuid), Happening)> = events.chain(notices).collect();
    happened.sort_by_key(|(place, _)| *place);
    happened.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let full = happened.len() as i64 == limit;
    let next = happened
        .last()
        .filter(|_| full)
        .and_then(|(place, _)| page::write(place));
    Ok(Json(Timeline {
        call: name,
        events: happened.into_iter().map(|(_, what)| what).collect(),
        next,
        complete_through,
    }))
}
