//! What auditors do about exceptions: close, assign, note, reopen.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use uuid::Uuid;

use super::people::people_of;
use super::queue_page::PATH;
use crate::console::context::ConsoleContext;
use crate::console::form::FormBody;
use crate::console::visit::PageVisit;
use crate::http::auth::AuditorRole;
use crate::http::body::CallerBody;
use crate::http::problem::{Problem, ProblemKind};
use crate::postgres::{CloseOutcome, ExceptionWork};
use crate::query::exceptions::{close_by_hand, work_by_hand};

/// Maximum number of exceptions that are closed at a time.
const MAX_CLOSED: usize = 100;

/// The body of a form of an auditor.
type AuditorForm = CallerBody<PageVisit<AuditorRole>, FormBody>;

fn parsed(id: Result<Path<String>, PathRejection>) -> Result<Uuid, Problem> {
    let id = id.ok().and_then(|Path(id)| Uuid::try_parse(&id).ok());
    id.ok_or_else(|| Problem::not_found("no exception of yours has this id"))
}

fn to(id: Uuid) -> Response {
    Redirect::to(&format!("{PATH}/{id}")).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonFields {
    reason: String,
}

pub(in crate::console) async fn close(
    State(context): State<ConsoleContext>,
    id: Result<Path<String>, PathRejection>,
    form: AuditorForm,
) -> Result<Response, Problem> {
    let CallerBody { caller: visit, value, .. } = form;
    let fields: ReasonFields = value.checked(&visit.signed_in.form_token)?;
    let (id, caller) = (parsed(id)?, &visit.signed_in.caller);
    let outcomes = close_by_hand(&context.query.store, caller, &[id], &fields.reason).await?;
    match outcomes.as_slice() {
        [CloseOutcome::Closed(_)] => Ok(to(id)),
        [CloseOutcome::AlreadyClosed] => Err(Problem::new(
            ProblemKind::Conflict,
            "the exception is closed already; its history says by which key",
        )),
        _ => Err(Problem::not_found("no exception of yours has this id")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseManyFields {
    #[serde(default)]
    id: Vec<String>,
    reason: String,
}

pub(in crate::console) async fn close_many(
    State(context): State<ConsoleContext>,
    form: AuditorForm,
) -> Result<Response, Problem> {
    let CallerBody { caller: visit, value, .. } = form;
    let fields: CloseManyFields = value.checked(&visit.signed_in.form_token)?;
    if !(1..=MAX_CLOSED).contains(&fields.id.len()) {
        return Err(Problem::invalid("id", "tick 1 to 100 exceptions"));
    }
    let ids: Option<Vec<Uuid>> = fields.id.iter().map(|id| Uuid::try_parse(id).ok()).collect();
    let ids = ids.ok_or_else(|| Problem::invalid("id", "an exception's id is a UUID"))?;
    let caller = &visit.signed_in.caller;
    let outcomes = close_by_hand(&context.query.store, caller, &ids, &fields.reason).await?;
    let closed = outcomes.iter().filter(|it| matches!(it, CloseOutcome::Closed(_))).count();
    Ok(Redirect::to(&format!("{PATH}?closed={closed}")).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AssignFields {
    /// The id of a user or an API key; empty: none.
    assignee: String,
}

pub(in crate::console) async fn assign(
    State(context): State<ConsoleContext>,
    id: Result<Path<String>, PathRejection>,
    form: AuditorForm,
) -> Result<Response, Problem> {
    let CallerBody { caller: visit, value, .. } = form;
    let fields: AssignFields = value.checked(&visit.signed_in.form_token)?;
    let (id, caller) = (parsed(id)?, &visit.signed_in.caller);
    let assignee = if fields.assignee.is_empty() {
        None
    } else {
        let people = people_of(&context, &caller.tenant).await?;
        let person = people.into_iter().find(|person| person.id.to_string() == fields.assignee);
        let person = person.ok_or_else(|| {
            let detail = "no user and no live key of yours has this id; open the page again";
            Problem::invalid("assignee", detail)
        })?;
        Some(person)
    };
    let work = ExceptionWork::Assign(assignee.as_ref());
    work_by_hand(&context.query.store, caller, id, work).await?;
    Ok(to(id))
}

pub(in crate::console) async fn note(
    State(context): State<ConsoleContext>,
    id: Result<Path<String>, PathRejection>,
    form: AuditorForm,
) -> Result<Response, Problem> {
    let CallerBody { caller: visit, value, .. } = form;
    let fields: ReasonFields = value.checked(&visit.signed_in.form_token)?;
    let (id, caller) = (parsed(id)?, &visit.signed_in.caller);
    work_by_hand(&context.query.store, caller, id, ExceptionWork::Note(&fields.reason)).await?;
    Ok(to(id))
}

pub(in crate::console) async fn reopen(
    State(context): State<ConsoleContext>,
    id: Result<Path<String>, PathRejection>,
    form: AuditorForm,
) -> Result<Response, Problem> {
    let CallerBody { caller: visit, value, .. } = form;
    let fields: ReasonFields = value.checked(&visit.signed_in.form_token)?;
    let (id, caller) = (parsed(id)?, &visit.signed_in.caller);
    work_by_hand(&context.query.store, caller, id, ExceptionWork::Reopen(&fields.reason)).await?;
    Ok(to(id))
}
