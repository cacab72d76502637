//! Who looked at what: the access log, for auditors.

use askama::Template;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};

use crate::console::calls::typed_filter::TypedFilter;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::PageVisit;
use crate::http::auth::AuditorRole;
use crate::http::problem::{Problem, ProblemKind};
use crate::query::access_log::{AccessListView, KINDS, read_accesses};

/// The path of the page.
const PATH: &str = "/console/access";

#[derive(Template)]
#[template(path = "access.html")]
struct AccessTemplate {
    f: PageFrame,
    typed: TypedFilter,
    kinds: Vec<(&'static str, String)>,
    refusal: Option<String>,
    found: Option<AccessListView>,
}

impl AccessTemplate {
    fn kind(&self, code: &str) -> String {
        self.f.words.find(&format!("access_kind.{code}")).unwrap_or(code).to_owned()
    }

    fn next_address(&self, cursor: &str) -> String {
        self.typed.address(PATH, "cursor", cursor)
    }
}

pub(in crate::console) async fn access(
    visit: PageVisit<AuditorRole>,
    uri: Uri,
) -> Result<Response, Problem> {
    let PageVisit { visit, reader, .. } = visit;
    let typed = TypedFilter::of(uri.query())?;
    let found = match typed.list_query(visit.zone().name()) {
        Ok(query) => read_accesses(&reader, query).await,
        Err(problem) => Err(problem),
    };
    let (found, refusal) = match found {
        Ok(found) => (Some(found), None),
        Err(problem) if problem.kind() == ProblemKind::InvalidRequest => {
            (None, Some(problem.detail().to_owned()))
        }
        Err(problem) => return Err(problem),
    };
    let words = visit.words;
    let kinds = KINDS.iter().map(|code| {
        let text = words.find(&format!("access_kind.{code}"));
        (*code, text.unwrap_or(code).to_owned())
    });
    let template = AccessTemplate {
        kinds: kinds.collect(),
        f: PageFrame::of(&visit, Section::Access, words.t("access.title")),
        typed,
        refusal,
        found,
    };
    let shown = page(&template)?;
    let status = if template.refusal.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok((status, shown).into_response())
}
