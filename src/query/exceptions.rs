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
use utoipa::ToSchema;
use uuid::Uuid;

use super::context::{QueryContext, Reader, Snapshot, choice};
use super::time_range::{TimeRange, parse_zone};
use crate::clock;
use crate::http::auth::{AuditorRole, Authorized, Caller};
use crate::http::body::{CallerBody, NoParameters, QueryParameters, RequestBody, secrets};
use crate::http::paging::{self, ListBinding};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::timestamp::micros;
use crate::openapi::problem_sets::{
    ApiKeyProblems, BodyProblems, ConflictProblems, IdProblems, LimitProblems,
};
use crate::postgres::{
    self, CloseOutcome, ClosingKey, ExceptionActor, ExceptionFilter, ExceptionHistoryRow,
    ExceptionRow, ExceptionWork, Postgres, Unassigned, WorkOutcome,
};
use crate::telemetry::names;
use onrecord_evidence::event::instant as rules_instant;
use onrecord_evidence::exception::{ExceptionKind, Severity};
use onrecord_evidence::fact::kinds::JsonWord as _;
use onrecord_evidence::identity::alias_graph::Anchor;

/// Minimum and maximum length of a reason, in characters.
const REASON_LENGTH: std::ops::RangeInclusive<usize> = 10..=2000;

#[derive(Default, Deserialize, Serialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExceptionQuery {
    /// A kind of exception, for example `NEVER_TOLD`; a wrong one is answered with all kinds.
    pub kind: Option<String>,
    /// The severity.
    #[param(pattern = "^(critical|major|minor)$")]
    pub severity: Option<String>,
    /// `open` or `closed`.
    #[param(pattern = "^(open|closed)$")]
    pub state: Option<String>,
    /// Any id of a call.
    pub call: Option<String>,
    /// The configured source.
    pub source: Option<String>,
    /// Last opened, from this instant on: RFC 3339, or a day (`2026-11-23`) of the time zone `tz`.
    pub from: Option<String>,
    /// Last opened, before this instant: RFC 3339, or a day of the time zone `tz`, which is
    /// included whole.
    pub to: Option<String>,
    /// The time zone of days: a name of the IANA database. Default: UTC.
    pub tz: Option<String>,
    /// The `next` of an answer to the same parameters; what follows it is returned.
    #[serde(skip_serializing)]
    pub cursor: Option<String>,
    /// Maximum number of rows, 1 to 1000. Default: 100.
    #[serde(skip_serializing)]
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000)]
    pub limit: Option<String>,
}

/// Exceptions.
#[derive(Serialize, ToSchema)]
#[schema(as = ExceptionList)]
pub(crate) struct ExceptionListView {
    /// The exceptions, last opened first.
    exceptions: Vec<ExceptionView>,
    /// Pass it as `cursor`, with the same parameters, for the following rows. Absent: there are
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// The low watermark: every event that reached the service before this instant is in the
    /// answer. Null while that is not known.
    #[schema(format = DateTime, required = true)]
    complete_through: Option<String>,
}

/// An exception: what a person must look at.
#[derive(Serialize, ToSchema)]
#[schema(as = Exception)]
struct ExceptionView {
    /// The id of the exception.
    id: Uuid,
    /// The kind of the exception.
    kind: String,
    /// `critical`, `major` or `minor`.
    severity: String,
    /// `open` or `closed`.
    state: &'static str,
    /// The call. Absent: it concerns no call.
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<String>,
    /// The configured source. Absent: it concerns no source.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// When its cause began. Absent: that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    at: Option<String>,
    /// What happened, as a sentence.
    sentence: String,
    /// What an operator or auditor should do.
    remedy: &'static str,
    /// The facts that the exception rests on; their members depend on its kind.
    #[schema(value_type = Object)]
    facts: Value,
    /// When it was last opened.
    #[schema(format = DateTime)]
    opened_at: String,
    /// When it was closed. Null: it is open.
    #[schema(format = DateTime, required = true)]
    closed_at: Option<String>,
    /// Who closed it. Null: it is open.
    #[schema(required = true)]
    closed_by: Option<ExceptionActor>,
    /// Why it was closed. Null: it is open.
    #[schema(required = true)]
    reason: Option<String>,
    /// Who works on it. Absent: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    assignee: Option<ExceptionActor>,
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
            assignee: row.assignee_name.map(|name| ExceptionActor { name, key: row.assignee }),
        }
    }
}

/// Lists exceptions.
///
/// Last opened first.
#[utoipa::path(
    get,
    path = "/v1/exceptions",
    operation_id = "listExceptions",
    tag = "history",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        ExceptionQuery,
    ),
    responses(
        (status = 200, description = "Exceptions.", body = ExceptionListView),
        ApiKeyProblems,
        IdProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn list(
    reader: Reader,
    QueryParameters(query): QueryParameters<ExceptionQuery>,
) -> Result<Json<ExceptionListView>, Problem> {
    let page = read_exceptions(&reader, query, None).await?;
    Ok(Json(ExceptionListView {
        exceptions: page.exceptions.into_iter().map(ExceptionView::from).collect(),
        next: page.next,
        complete_through: page.complete_through.map(micros),
    }))
}

/// A page of the list of exceptions.
pub(crate) struct ExceptionListPage {
    pub exceptions: Vec<ExceptionRow>,
    pub next: Option<String>,
    pub complete_through: Option<DateTime<Utc>>,
}

/// Reads a page of the list of exceptions.
///
/// # Errors
///
/// A parameter is wrong, or the store does not answer.
pub(crate) async fn read_exceptions(
    reader: &Reader,
    query: ExceptionQuery,
    assignee: Option<Result<Uuid, Unassigned>>,
) -> Result<ExceptionListPage, Problem> {
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
        assignee,
        from: range.from,
        to: range.to,
        after: binding.parse_cursor::<(DateTime<Utc>, Uuid)>(query.cursor.as_deref())?,
        limit,
    };
    let mut snapshot = reader.snapshot().await?;
    let complete_through = snapshot.evaluated_through().await?;
    if let Some(call) = &query.call {
        let name = snapshot.call_of(&Anchor::candidates(call)).await?;
        filter.call = Some(name.ok_or_else(|| Problem::not_found("no call of yours has this id"))?);
    }
    let rows = snapshot.exceptions(&filter).await?;
    let next = binding.next_cursor(&rows, limit, |last| (last.opened_at, last.id));
    Ok(ExceptionListPage { exceptions: rows, next, complete_through })
}

/// One exception with its history.
#[derive(Serialize, ToSchema)]
#[schema(as = ExceptionDetail)]
pub(crate) struct ExceptionDetailView {
    #[serde(flatten)]
    exception: ExceptionView,
    /// The changes of the exception, in order.
    history: Vec<ExceptionHistoryRow>,
    /// The low watermark: every event that reached the service before this instant is in the
    /// answer. Null while that is not known.
    #[schema(format = DateTime, required = true)]
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

/// Reads one exception with its history.
#[utoipa::path(
    get,
    path = "/v1/exceptions/{id}",
    operation_id = "getException",
    tag = "history",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        ("id" = Uuid, Path, description = "The id of the exception."),
    ),
    responses(
        (status = 200, description = "The exception.", body = ExceptionDetailView),
        ApiKeyProblems,
        IdProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn one(
    reader: Reader,
    id: Result<Path<String>, PathRejection>,
    _: NoParameters,
) -> Result<Json<ExceptionDetailView>, Problem> {
    let id = id_of(id)?;
    details(reader.snapshot().await?, id).await
}

/// Reads an exception with its history.
///
/// # Errors
///
/// There is no such exception, or the store does not answer.
pub(crate) async fn read_exception(
    reader: &Reader,
    id: &str,
) -> Result<(ExceptionRow, Vec<ExceptionHistoryRow>), Problem> {
    let id = Uuid::try_parse(id).map_err(|_| unknown())?;
    reader.snapshot().await?.exception(id).await?.ok_or_else(unknown)
}

async fn details(mut snapshot: Snapshot, id: Uuid) -> Result<Json<ExceptionDetailView>, Problem> {
    let complete_through = snapshot.evaluated_through().await?.map(micros);
    let (row, history) = snapshot.exception(id).await?.ok_or_else(unknown)?;
    Ok(Json(ExceptionDetailView { exception: row.into(), history, complete_through }))
}

/// Why an exception is closed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloseRequest {
    /// What was found, and what was done. 10 to 2000 characters, without credentials. It is kept
    /// permanently.
    #[schema(min_length = 10, max_length = 2000)]
    reason: String,
}

impl RequestBody for CloseRequest {
    const MAX_BYTES: usize = 64 * 1024;
}

/// Closes an exception.
///
/// The history keeps the key and the reason permanently.
#[utoipa::path(
    post,
    path = "/v1/exceptions/{id}/close",
    operation_id = "closeException",
    tag = "history",
    security(("api_key" = ["auditor", "admin"])),
    params(
        ("id" = Uuid, Path, description = "The id of the exception."),
    ),
    request_body(content = CloseRequest, description = "Why it is closed."),
    responses(
        (status = 200, description = "The exception, which is closed.", body = ExceptionDetailView),
        ApiKeyProblems,
        IdProblems,
        BodyProblems,
        ConflictProblems,
    ),
)]
pub(crate) async fn close(
    State(api): State<QueryContext>,
    id: Result<Path<String>, PathRejection>,
    request: CallerBody<Authorized<AuditorRole>, CloseRequest>,
) -> Result<Json<ExceptionDetailView>, Problem> {
    let CallerBody { caller: Authorized { caller, .. }, value, .. } = request;
    let id = id_of(id)?;
    match close_by_hand(&api.store, &caller, &[id], &value.reason).await?.as_slice() {
        [CloseOutcome::Closed(_)] => {}
        [CloseOutcome::AlreadyClosed] => {
            return Err(Problem::new(
                ProblemKind::Conflict,
                "the exception is closed already; its history says by which key",
            ));
        }
        _ => return Err(unknown()),
    }
    details(api.read(&caller).await?, id).await
}

/// Closes exceptions with one reason, all or none. Returns the outcome of each.
///
/// # Errors
///
/// The reason is too short or too long, or the store does not answer.
pub(crate) async fn close_by_hand(
    store: &Postgres,
    caller: &Caller,
    ids: &[Uuid],
    reason: &str,
) -> Result<Vec<CloseOutcome>, Problem> {
    let reason = checked_reason(reason)?;
    let actor = ClosingKey { id: caller.id, name: caller.name.clone() };
    let (tenant, actor, now) = (caller.tenant.as_str(), &actor, clock::now());
    // In one order, so that two transactions do not wait for each other.
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let ids = ids.as_slice();
    let outcomes = store
        .run_tx("close exceptions", move |tx| {
            async move {
                let mut outcomes = Vec::with_capacity(ids.len());
                for id in ids {
                    outcomes.push(
                        postgres::close_exception(tx, tenant, *id, actor, reason, now).await?,
                    );
                }
                Ok(outcomes)
            }
            .boxed()
        })
        .await?;
    for outcome in &outcomes {
        if let CloseOutcome::Closed(kind) = outcome {
            counter!(names::EXCEPTIONS_CLOSED, "kind" => kind.as_str(), "by" => "hand")
                .increment(1);
        }
    }
    Ok(outcomes)
}

/// Takes a step with an exception besides closing it.
///
/// # Errors
///
/// There is no such exception, it cannot be opened again, or the store does not answer.
pub(crate) async fn work_by_hand(
    store: &Postgres,
    caller: &Caller,
    id: Uuid,
    work: ExceptionWork<'_>,
) -> Result<(), Problem> {
    let work = match work {
        ExceptionWork::Note(note) => ExceptionWork::Note(checked_reason(note)?),
        ExceptionWork::Reopen(reason) => ExceptionWork::Reopen(checked_reason(reason)?),
        ExceptionWork::Assign(assignee) => ExceptionWork::Assign(assignee),
    };
    let actor = ClosingKey { id: caller.id, name: caller.name.clone() };
    let (tenant, actor, work, now) = (caller.tenant.as_str(), &actor, &work, clock::now());
    let outcome = store
        .run_tx("work on an exception", move |tx| {
            async move { postgres::work_on_exception(tx, tenant, id, actor, work, now).await }
                .boxed()
        })
        .await?;
    match outcome {
        WorkOutcome::Done => Ok(()),
        WorkOutcome::Unknown => Err(unknown()),
        WorkOutcome::NotReopened => Err(Problem::new(
            ProblemKind::Conflict,
            "only an exception that was closed by hand, and whose cause goes on, is opened again",
        )),
    }
}

/// A reason or a note that can be stored permanently.
fn checked_reason(reason: &str) -> Result<&str, Problem> {
    let reason = reason.trim();
    // NO_SECRETS: the history keeps it permanently.
    secrets::check_parameter("/reason", reason)?;
    if !REASON_LENGTH.contains(&reason.chars().count()) {
        return Err(Problem::invalid(
            "/reason",
            "the reason has 10 to 2000 characters: what was found, and what was done",
        ));
    }
    Ok(reason)
}
