//! `/v1/exceptions`: lists, details with their histories, and closing by hand.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use metrics::counter;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::VariantNames as _;
use uuid::Uuid;

use super::context::{QueryContext, Reader, Snapshot, choice};
use super::time_range::{TimeRange, parse_zone};
use crate::clock;
use crate::http::auth::{AuditorRole, Authorized};
use crate::http::body::{CallerBody, QueryParameters, RequestBody};
use crate::http::paging::{self, ListBinding};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::timestamp::micros;
use crate::postgres::{
    self, CloseOutcome, ClosingKey, ExceptionActor, ExceptionFilter, ExceptionHistoryRow,
    ExceptionRow,
};
use crate::telemetry::names;
use onrecord_evidence::event::instant as rules_instant;
use onrecord_evidence::exception::{ExceptionKind, Severity};
use onrecord_evidence::fact::kinds::JsonWord as _;
use onrecord_evidence::identity::alias_graph::Anchor;

/// Minimum and maximum length of a reason, in characters.
const REASON_LENGTH: std::ops::RangeInclusive<usize> = 10..=2000;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExceptionQuery {
    kind: Option<String>,
    severity: Option<String>,
    state: Option<String>,
    call: Option<String>,
    source: Option<String>,
    from: Option<String>,
    to: Option<String>,
    tz: Option<String>,
    #[serde(skip_serializing)]
    cursor: Option<String>,
    #[serde(skip_serializing)]
    limit: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct ExceptionListView {
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
    /// Instant at which its cause began.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    /// The facts as a sentence.
    sentence: String,
    /// What an operator or auditor should do.
    remedy: &'static str,
    /// The facts that the exception rests on.
    facts: Value,
    opened_at: String,
    closed_at: Option<String>,
    closed_by: Option<ExceptionActor>,
    reason: Option<String>,
}

impl From<ExceptionRow> for ExceptionView {
    fn from(row: ExceptionRow) -> Self {
        let remedy = row.kind.parse().map_or("", |kind: ExceptionKind| kind.row().remedy);
        let key = row.closed_by_key;
        Self {
            id: row.id,
            state: if row.closed_at.is_some() { "closed" } else { "open" },
            remedy,
            kind: row.kind,
            severity: row.severity,
            call: row.call,
            source: row.source,
            at: row.at_ms.and_then(rules_instant::text),
            sentence: row.sentence,
            facts: row.facts,
            opened_at: micros(row.opened_at),
            closed_at: row.closed_at.map(micros),
            closed_by: row.closed_by.map(|name| ExceptionActor { name, key }),
            reason: row.reason,
        }
    }
}

pub(crate) async fn list(
    reader: Reader,
    QueryParameters(query): QueryParameters<ExceptionQuery>,
) -> Result<Json<ExceptionListView>, Problem> {
    let binding = ListBinding::of("exceptions", &query)?;
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let kinds = ExceptionKind::VARIANTS;
    let kind = choice("kind", query.kind, "no exception is of this kind", kinds)?;
    let severities = Severity::VARIANTS;
    let severity =
        choice("severity", query.severity, "no exception is of this severity", severities)?;
    let states = &["open", "closed"];
    let state = choice("state", query.state, "an exception is open or closed", states)?;
    let zone = parse_zone(query.tz.as_deref())?;
    let range = TimeRange::parse(query.from.as_deref(), query.to.as_deref(), zone)?;
    let mut filter = ExceptionFilter {
        kind,
        severity,
        open: state.map(|state| state == "open"),
        call: None,
        source: query.source,
        from: range.from,
        to: range.to,
        after: binding.parse_cursor::<(DateTime<Utc>, Uuid)>(query.cursor.as_deref())?,
        limit,
    };
    let mut snapshot = reader.snapshot().await?;
    let complete_through = snapshot.evaluated_through().await?.map(micros);
    if let Some(call) = &query.call {
        let name = snapshot.call_of(&Anchor::candidates(call)).await?;
        filter.call = Some(name.ok_or_else(|| Problem::not_found("no call of yours has this id"))?);
    }
    let rows = snapshot.exceptions(&filter).await?;
    let next = binding.next_cursor(&rows, limit, |last| (last.opened_at, last.id));
    let exceptions = rows.into_iter().map(ExceptionView::from).collect();
    Ok(Json(ExceptionListView { exceptions, next, complete_through }))
}

#[derive(Serialize)]
pub(crate) struct ExceptionDetailView {
    #[serde(flatten)]
    exception: ExceptionView,
    /// The changes of the exception, in order.
    history: Vec<ExceptionHistoryRow>,
    complete_through: Option<String>,
}

fn id_of(id: Result<Path<String>, PathRejection>) -> Result<Uuid, Problem> {
    id.ok().and_then(|Path(id)| Uuid::try_parse(&id).ok()).ok_or_else(|| {
        Problem::not_found("an exception's id is a UUID, as /v1/exceptions gives it")
    })
}

fn unknown() -> Problem {
    Problem::not_found("no exception of yours has this id")
}

pub(crate) async fn one(
    reader: Reader,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ExceptionDetailView>, Problem> {
    let id = id_of(id)?;
    details(reader.snapshot().await?, id).await
}

async fn details(mut snapshot: Snapshot, id: Uuid) -> Result<Json<ExceptionDetailView>, Problem> {
    let complete_through = snapshot.evaluated_through().await?.map(micros);
    let (row, history) = snapshot.exception(id).await?.ok_or_else(unknown)?;
    Ok(Json(ExceptionDetailView { exception: row.into(), history, complete_through }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloseRequest {
    reason: String,
}

impl RequestBody for CloseRequest {
    const MAX_BYTES: usize = 64 * 1024;
}

/// Closes an exception. The history keeps the key and the reason permanently.
pub(crate) async fn close(
    State(api): State<QueryContext>,
    id: Result<Path<String>, PathRejection>,
    request: CallerBody<Authorized<AuditorRole>, CloseRequest>,
) -> Result<Json<ExceptionDetailView>, Problem> {
    let CallerBody { caller: Authorized { caller, .. }, value, .. } = request;
    let id = id_of(id)?;
    let reason = value.reason.trim();
    if !REASON_LENGTH.contains(&reason.chars().count()) {
        return Err(Problem::invalid(
            "/reason",
            "the reason has 10 to 2000 characters: what was found, and what was done",
        ));
    }
    let actor = ClosingKey { id: caller.id, name: caller.name.clone() };
    let (tenant, actor, now) = (caller.tenant.as_str(), &actor, clock::now());
    let outcome = api
        .store
        .run_tx("close an exception", move |tx| {
            async move { postgres::close_exception(tx, tenant, id, actor, reason, now).await }
                .boxed()
        })
        .await?;
    match outcome {
        CloseOutcome::Closed(kind) => {
            counter!(names::EXCEPTIONS_CLOSED, "kind" => kind.as_str(), "by" => "hand")
                .increment(1);
        }
        CloseOutcome::AlreadyClosed => {
            return Err(Problem::new(
                ProblemKind::Conflict,
                "the exception is closed already; its history says by which key",
            ));
        }
        CloseOutcome::Unknown => return Err(unknown()),
    }
    details(api.read(&caller).await?, id).await
}
