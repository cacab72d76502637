//! `/v1/exceptions`: what somebody must look at, its story, and its closing by hand.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use metrics::counter;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::reader::{Api, instant, micros};
use crate::clock;
use crate::domain::alias::Anchor;
use crate::domain::exception::{ExceptionKind, Severity};
use crate::domain::instant as rules_instant;
use crate::http::body::JsonBody;
use crate::http::page;
use crate::http::problem::{Problem, ProblemKind};
use crate::store::{self, Actor, Closing, ExceptionFilter, ExceptionRow, Role, StoryRow};
use crate::telemetry::names;

/// A reason is a sentence, not a shrug, and not a file.
const REASON_LENGTH: std::ops::RangeInclusive<usize> = 10..=2000;

const KINDS: &[&str] = &[
    "CLOCK",
    "CONFLICTING_CONTENT",
    "CONFLICTING_IDENTITY",
    "DISAGREEING_REPORTERS",
    "LATE",
    "NOT_SENT",
    "OBSERVATION_LAPSE",
    "QUARANTINE",
    "REFUSED_CREDENTIALS",
    "SILENT_SOURCE",
    "STREAM_GAP",
    "UNCONFIRMED",
    "UNDELIVERED",
    "UNNOTICED_CAPTURE",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    kind: Option<String>,
    severity: Option<String>,
    state: Option<String>,
    call: Option<String>,
    source: Option<String>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

#[derive(Serialize)]
pub(super) struct ExceptionList {
    exceptions: Vec<ExceptionView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    complete_through: Option<String>,
}

#[derive(Serialize)]
struct ExceptionView {
    id: Uuid,
    kind: String,
    severity: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// When the matter began.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    /// What happened.
    sentence: String,
    /// What to do.
    remedy: &'static str,
    /// What it rests on.
    facts: Value,
    opened: String,
    closed: Option<String>,
    closed_by: Option<ActorView>,
    reason: Option<String>,
}

/// Who did something: itself, or an API key.
#[derive(Serialize)]
struct ActorView {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Uuid>,
}

impl From<ExceptionRow> for ExceptionView {
    fn from(row: ExceptionRow) -> Self {
        let remedy = ExceptionKind::parse(&row.kind).map_or("", ExceptionKind::remedy);
        let key = row.closed_by_key;
        Self {
            id: row.id,
            state: if row.closed.is_some() {
                "closed"
            } else {
                "open"
            },
            remedy,
            kind: row.kind,
            severity: row.severity,
            call: row.call,
            source: row.source,
            at: row.at.and_then(rules_instant::text),
            sentence: row.sentence,
            facts: row.facts,
            opened: micros(row.opened),
            closed: row.closed.map(micros),
            closed_by: row.closed_by.map(|name| ActorView { name, key }),
            reason: row.reason,
        }
    }
}

#[derive(Serialize)]
struct StoryView {
    line: i32,
    what: String,
    at: String,
    actor: ActorView,
    reason: String,
    facts: Value,
    /// Of the call's verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i32>,
}

impl From<StoryRow> for StoryView {
    fn from(row: StoryRow) -> Self {
        Self {
            line: row.line,
            what: row.what,
            at: micros(row.at),
            actor: ActorView {
                name: row.actor,
                key: row.actor_key,
            },
            reason: row.reason,
            facts: row.facts,
            version: row.version,
        }
    }
}

fn kind(text: &str) -> Result<&'static str, Problem> {
    let kind = ExceptionKind::parse(text);
    kind.map(ExceptionKind::as_str)
        .ok_or_else(|| Problem::invalid("kind", "no exception is of this kind").allowing(KINDS))
}

fn severity(text: &str) -> Result<&'static str, Problem> {
    let severity = Severity::parse(text);
    severity.map(Severity::as_str).ok_or_else(|| {
        Problem::invalid("severity", "no exception is of this severity")
            .allowing(&["critical", "major", "minor"])
    })
}

fn is_open(text: &str) -> Result<bool, Problem> {
    match text {
        "open" => Ok(true),
        "closed" => Ok(false),
        _ => Err(Problem::invalid("state", "an exception is open or closed")
            .allowing(&["open", "closed"])),
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    headers: HeaderMap,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<ExceptionList>, Problem> {
    let caller = api.reader(&headers).await?;
    let Query(query) =
        query.map_err(|rejection| Problem::invalid("query", rejection.body_text()))?;
    let limit = page::limit(query.limit.as_deref())?;
    let mut filter = ExceptionFilter {
        kind: query.kind.as_deref().map(kind).transpose()?,
        severity: query.severity.as_deref().map(severity).transpose()?,
        open: query.state.as_deref().map(is_open).transpose()?,
        call: None,
        source: query.source,
        from: instant("from", query.from.as_deref())?,
        to: instant("to", query.to.as_deref())?,
        after: page::read::<(DateTime<Utc>, Uuid)>(query.cursor.as_deref())?,
        limit,
    };
    let mut room = api.read(&caller.tenant).await?;
    let complete_through = room.complete_through().await?.map(micros);
    if let Some(call) = &query.call {
        let name = room.call_of(&Anchor::candidates(call)).await?;
        filter.call = Some(name.ok_or_else(|| Problem::not_found("no call of yours has this id"))?);
    }
    let rows = room.exceptions(&filter).await?;
    let next = rows
        .last()
        .filter(|_| rows.len() as i64 == limit)
        .and_then(|last| page::write(&(last.opened, last.id)));
    Ok(Json(ExceptionList {
        exceptions: rows.into_iter().map(ExceptionView::from).collect(),
        next,
        complete_through,
    }))
}

#[derive(Serialize)]
pub(super) struct ExceptionDetail {
    #[serde(flatten)]
    exception: ExceptionView,
    /// What became of it, in order.
    story: Vec<StoryView>,
    complete_through: Option<String>,
}

fn id_of(id: Result<Path<String>, PathRejection>) -> Result<Uuid, Problem> {
    id.ok()
        .and_then(|Path(id)| Uuid::try_parse(&id).ok())
        .ok_or_else(|| {
            Problem::not_found("an exception's id is a UUID, as /v1/exceptions gives it")
        })
}

fn unknown() -> Problem {
    Problem::not_found("no exception of yours has this id")
}

pub(super) async fn one(
    State(api): State<Api>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ExceptionDetail>, Problem> {
    let caller = api.reader(&headers).await?;
    let id = id_of(id)?;
    let mut room = api.read(&caller.tenant).await?;
    let complete_through = room.complete_through().await?.map(micros);
    let (row, story) = room.exception(id).await?.ok_or_else(unknown)?;
    Ok(Json(ExceptionDetail {
        exception: row.into(),
        story: story.into_iter().map(StoryView::from).collect(),
        complete_through,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClosingOrder {
    reason: String,
}

/// Whoever closes one answers for it: the story keeps the key and the reason for ever.
pub(super) async fn close(
    State(api): State<Api>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
    body: JsonBody<ClosingOrder>,
) -> Result<Json<ExceptionDetail>, Problem> {
    let caller = api.keys.caller(&headers).await?;
    caller.must_be(&[Role::Auditor])?;
    let id = id_of(id)?;
    let reason = body.value.reason.trim();
    if !REASON_LENGTH.contains(&reason.chars().count()) || reason.contains('\0') {
        return Err(Problem::invalid(
            "/reason",
            "say in 10 to 2000 characters why it is closed: what was found, and what was done",
        ));
    }
    let actor = Actor {
        key: caller.id,
        name: caller.name.clone(),
    };
    let (tenant, actor, now) = (caller.tenant.as_str(), &actor, clock::now());
    let closing = api
        .store
        .run("close an exception", move |work| {
            async move { store::close_exception(work, tenant, id, actor, reason, now).await }
                .boxed()
        })
        .await?;
    match closing {
        Closing::Closed(kind) => {
            counter!(names::EXCEPTIONS_CLOSED, "kind" => kind.as_str(), "by" => "hand")
                .increment(1);
        }
        Closing::AlreadyClosed => {
            return Err(Problem::new(
                ProblemKind::Conflict,
                "the exception is closed already; its story tells by whom",
            ));
        }
        Closing::Unknown => return Err(unknown()),
    }
    one(State(api.clone()), headers, Ok(Path(id.to_string()))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_that_are_allowed_are_those_that_there_are() {
        assert_eq!(KINDS, ExceptionKind::ALL.map(ExceptionKind::as_str));
    }
}
