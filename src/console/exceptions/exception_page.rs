//! One exception: what happened, what to do, who works on it, and its history.

use askama::Template;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use uuid::Uuid;

use super::people::people_of;
use crate::console::context::ConsoleContext;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::PageVisit;
use crate::http::api_role::ApiRole;
use crate::http::auth::ReaderRole;
use crate::http::problem::Problem;
use crate::postgres::{ExceptionHistoryRow, ExceptionRow};
use crate::query::exceptions::read_exception;
use onrecord_evidence::exception::ExceptionKind;

#[derive(Template)]
#[template(path = "exception.html")]
struct ExceptionTemplate {
    f: PageFrame,
    row: ExceptionRow,
    history: Vec<ExceptionHistoryRow>,
    remedy: &'static str,
    facts: String,
    /// Those that it can be assigned to: id, name, whether it is.
    people: Vec<(Uuid, String, bool)>,
    own: Uuid,
    may_close: bool,
    may_reopen: bool,
}

impl ExceptionTemplate {
    fn kind(&self) -> &'static str {
        self.f.words.find(&format!("exception_kind.{}", self.row.kind)).unwrap_or_default()
    }

    fn change(&self, change: &str) -> String {
        self.f.words.find(&format!("exception_change.{change}")).unwrap_or_default().to_owned()
    }
}

pub(in crate::console) async fn exception(
    State(context): State<ConsoleContext>,
    visit: PageVisit<ReaderRole>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let PageVisit { visit, reader, signed_in, .. } = visit;
    let id = id.map(|Path(id)| id).unwrap_or_default();
    let (row, history) = read_exception(&reader, &id).await?;
    let caller = &signed_in.caller;
    let people = people_of(&context, &caller.tenant).await?.into_iter();
    let may_close = matches!(caller.role, ApiRole::Auditor | ApiRole::Admin);
    page(&ExceptionTemplate {
        people: people.map(|key| (key.id, key.name, row.assignee == Some(key.id))).collect(),
        remedy: row.kind.parse().map_or("", |kind: ExceptionKind| kind.row().remedy),
        facts: format!("{:#}", row.facts),
        may_reopen: may_close && row.closed_by_key.is_some() && !row.cause_ended,
        may_close,
        own: caller.id,
        f: PageFrame::of(&visit, Section::Exceptions, visit.words.t("exceptions.one")),
        row,
        history,
    })
}
