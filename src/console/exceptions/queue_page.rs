//! The queue of exceptions.

use askama::Template;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use strum::VariantNames as _;
use uuid::Uuid;

use crate::console::calls::typed_filter::TypedFilter;
use crate::console::context::ConsoleContext;
use crate::console::display::instant_mark::InstantMark;
use crate::console::display::length::counted;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::PageVisit;
use crate::http::api_role::ApiRole;
use crate::http::auth::ReaderRole;
use crate::http::problem::{Problem, ProblemKind};
use crate::postgres::{ExceptionRow, MAX_COUNTED_OPEN, OpenExceptionCount, Unassigned};
use crate::query::context::Reader;
use crate::query::exceptions::{ExceptionListPage, read_exceptions};
use onrecord_evidence::exception::ExceptionKind;

/// The path of the queue.
pub(in crate::console) const PATH: &str = "/console/exceptions";

#[derive(Template)]
#[template(path = "exceptions.html")]
struct QueueTemplate {
    f: PageFrame,
    typed: TypedFilter,
    kinds: Vec<(&'static str, String)>,
    /// Severity, number of open ones, number of those that are new.
    counts: Vec<(&'static str, i64, i64)>,
    last_visit: Option<DateTime<Utc>>,
    /// Number of exceptions that the last bulk closing closed.
    closed: Option<String>,
    may_close: bool,
    refusal: Option<String>,
    found: Option<ExceptionListPage>,
}

impl QueueTemplate {
    fn kind(&self, code: &str) -> &'static str {
        self.f.words.find(&format!("exception_kind.{code}")).unwrap_or_default()
    }

    fn is_new(&self, row: &ExceptionRow) -> bool {
        self.last_visit.is_some_and(|last| row.opened_at > last)
    }

    fn last_visit_mark(&self) -> Option<InstantMark> {
        self.last_visit.map(|at| InstantMark::of(at, self.f.zone))
    }

    fn address(&self, name: &str, value: &str) -> String {
        self.typed.address(PATH, name, value)
    }

    fn state(&self) -> &str {
        match self.typed.first("state") {
            "" => "open",
            state => state,
        }
    }

    fn counted(&self, number: &i64) -> String {
        counted(*number, MAX_COUNTED_OPEN)
    }

    fn closed_sentence(&self, count: &str) -> String {
        self.f.words.with("exceptions.closed_many", &[("count", &count)])
    }
}

pub(in crate::console) async fn queue(
    State(context): State<ConsoleContext>,
    visit: PageVisit<ReaderRole>,
    uri: Uri,
) -> Result<Response, Problem> {
    let PageVisit { visit, reader, signed_in, .. } = visit;
    let typed = TypedFilter::of(uri.query())?;
    let words = visit.words;
    let own = signed_in.caller.id;
    let (found, refusal) = match read(&reader, &typed, own, visit.zone().name()).await {
        Ok(found) => (Some(found), None),
        Err(problem) if problem.kind() == ProblemKind::InvalidRequest => {
            (None, Some(problem.detail().to_owned()))
        }
        Err(problem) => return Err(problem),
    };
    let last_visit = context.sessions.last_visit(&signed_in).await?;
    let open = reader.snapshot().await?.open_exception_counts(last_visit).await?;
    let count = |severity: &'static str| {
        let found = open.iter().find(|it: &&OpenExceptionCount| it.severity == severity);
        (severity, found.map_or(0, |it| it.open), found.map_or(0, |it| it.new))
    };
    let kinds = ExceptionKind::VARIANTS.iter().map(|code| {
        (*code, words.find(&format!("exception_kind.{code}")).unwrap_or(code).to_owned())
    });
    let mut f = PageFrame::of(&visit, Section::Exceptions, words.t("exceptions.title"));
    if let Some(found) = &found {
        f = f.complete_through(found.complete_through);
    }
    let closed = typed.first("closed");
    let template = QueueTemplate {
        kinds: kinds.collect(),
        counts: ["critical", "major", "minor"].map(count).to_vec(),
        last_visit,
        closed: closed.parse::<u32>().ok().map(|number| number.to_string()),
        may_close: matches!(signed_in.caller.role, ApiRole::Auditor | ApiRole::Admin),
        f,
        typed,
        refusal,
        found,
    };
    let shown = page(&template)?;
    let status = if template.refusal.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok((status, shown).into_response())
}

/// Reads the page of the queue; without a state, that of the open ones.
async fn read(
    reader: &Reader,
    typed: &TypedFilter,
    own: Uuid,
    zone: &str,
) -> Result<ExceptionListPage, Problem> {
    let assignee = match typed.first("assignee") {
        "" => None,
        "me" => Some(Ok(own)),
        "none" => Some(Err(Unassigned)),
        _ => return Err(Problem::invalid("assignee", "assignee is me or none")),
    };
    let mut query = typed.exception_query(zone)?;
    match query.state.as_deref() {
        None => query.state = Some("open".to_owned()),
        Some("all") => query.state = None,
        Some(_) => {}
    }
    read_exceptions(reader, query, assignee).await
}
