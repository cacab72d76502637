//! Everything that the record has about one person, for a request of that person. It asks for the purpose.

use askama::Template;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};

use super::calls::typed_filter::TypedFilter;
use super::display::length::grouped;
use super::frame::{PageFrame, Section, page};
use super::visit::PageVisit;
use crate::http::auth::ReaderRole;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::purpose::checked_purpose;
use crate::query::calls::person::{PersonPage, read_person};

/// The path of the page.
const PATH: &str = "/console/people";
/// Calls of a page.
const PAGE_CALLS: &str = "10";
/// Statements and events of a call that the page lists; the page of the call has all of them.
const MAX_LISTED: usize = 40;

#[derive(Template)]
#[template(path = "person.html")]
struct PersonTemplate {
    f: PageFrame,
    typed: TypedFilter,
    refusal: Option<String>,
    /// `None`: no person was asked for, or it was refused.
    found: Option<PersonPage>,
}

impl PersonTemplate {
    fn count(&self, found: &PersonPage) -> String {
        let words = self.f.words;
        match found.count {
            Some(count) if count.exact => {
                words.with("calls.count_exact", &[("count", &grouped(count.value))])
            }
            Some(count) => words.with("calls.count_about", &[("count", &grouped(count.value))]),
            None => words.with("calls.count_page", &[("count", &found.calls.len())]),
        }
    }

    fn names(&self, found: &PersonPage) -> String {
        found.names.join(", ")
    }

    fn next_address(&self, cursor: &str) -> String {
        self.typed.address(PATH, "cursor", cursor)
    }

    fn file_address(&self) -> String {
        self.typed.address("/console/people/file", "cursor", "")
    }

    /// The link to the rest of a list, if it has one.
    fn rest(&self, listed: usize) -> Option<String> {
        let rest = listed.checked_sub(MAX_LISTED).filter(|rest| *rest > 0)?;
        Some(self.f.words.with("people.rest", &[("count", &rest)]))
    }

    fn at(&self, at_ms: &i64) -> String {
        super::call::call_chart::instant_text(*at_ms, self.f.zone)
    }
}

pub(super) async fn person(visit: PageVisit<ReaderRole>, uri: Uri) -> Result<Response, Problem> {
    let PageVisit { visit, mut reader, .. } = visit;
    let typed = TypedFilter::of(uri.query())?;
    let (person, purpose) = (typed.first("person"), typed.first("purpose"));
    let found = if person.is_empty() {
        Ok(None)
    } else {
        match checked_purpose("purpose", purpose) {
            Ok(purpose) => {
                reader.purpose = Some(purpose);
                let cursor = Some(typed.first("cursor")).filter(|cursor| !cursor.is_empty());
                read_person(&reader, person, cursor, Some(PAGE_CALLS)).await.map(Some)
            }
            Err(problem) => Err(problem),
        }
    };
    let (found, refusal) = match found {
        Ok(found) => (found, None),
        Err(problem) if problem.kind() == ProblemKind::InvalidRequest => {
            (None, Some(problem.detail().to_owned()))
        }
        Err(problem) => return Err(problem),
    };
    let mut f = PageFrame::of(&visit, Section::People, visit.words.t("people.title"));
    if let Some(found) = &found {
        f = f.complete_through(found.complete_through);
    }
    let template = PersonTemplate { f, typed, refusal, found };
    let shown = page(&template)?;
    let status = if template.refusal.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok((status, shown).into_response())
}
