//! The quarantine: what was not understood, why, and its sealed bytes.

use askama::Template;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};

use crate::console::calls::typed_filter::TypedFilter;
use crate::console::display::length::grouped;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::PageVisit;
use crate::http::auth::AuditorRole;
use crate::http::problem::{Problem, ProblemKind};
use crate::postgres::QuarantineRow;
use crate::query::access_log::Logged;
use crate::query::quarantine::{QuarantineListView, read_quarantine, read_sealed};

/// The path of the page.
const PATH: &str = "/console/quarantine";
/// Maximum length of a content on the page, in characters.
const MAX_CONTENT: usize = 4_000;

#[derive(Template)]
#[template(path = "quarantine.html")]
struct QuarantineTemplate {
    f: PageFrame,
    typed: TypedFilter,
    refusal: Option<String>,
    found: Option<QuarantineListView>,
}

impl QuarantineTemplate {
    /// The content as text, as far as the page has place.
    fn content(&self, row: &QuarantineRow) -> String {
        let text = row.content.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let mut shown: String = text.chars().take(MAX_CONTENT).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        shown
    }

    fn size(&self, bytes: &i64) -> String {
        format!("{} B", grouped(*bytes))
    }

    fn reason(&self, code: &str) -> &'static str {
        self.f.words.find(&format!("quarantine_reason.{code}")).unwrap_or_default()
    }

    fn next_address(&self, cursor: &str) -> String {
        self.typed.address(PATH, "cursor", cursor)
    }
}

pub(in crate::console) async fn quarantine(
    visit: PageVisit<AuditorRole>,
    uri: Uri,
) -> Result<Response, Problem> {
    let PageVisit { visit, reader, .. } = visit;
    let typed = TypedFilter::of(uri.query())?;
    let found = match typed.plain_query("20") {
        Ok(query) => read_quarantine(&reader, query).await.map(Logged::into_answer),
        Err(problem) => Err(problem),
    };
    let (found, refusal) = match found {
        Ok(found) => (Some(found), None),
        Err(problem) if problem.kind() == ProblemKind::InvalidRequest => {
            (None, Some(problem.detail().to_owned()))
        }
        Err(problem) => return Err(problem),
    };
    let title = visit.words.t("quarantine.title");
    let template = QuarantineTemplate {
        f: PageFrame::of(&visit, Section::Quarantine, title),
        typed,
        refusal,
        found,
    };
    let shown = page(&template)?;
    let status = if template.refusal.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok((status, shown).into_response())
}

pub(in crate::console) async fn sealed(
    visit: PageVisit<AuditorRole>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let id = id.map(|Path(id)| id).unwrap_or_default();
    let bytes = read_sealed(&visit.reader, &id).await?.into_answer();
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"quarantined.sealed\""),
    ];
    Ok((headers, bytes).into_response())
}
