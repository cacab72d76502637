//! The entries of a call: events and statements about notices, in the order of their instants.

use askama::Template;

use axum::response::Response;

use super::call_chart::instant_text;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::PageVisit;
use crate::http::auth::ReaderRole;
use crate::http::body::QueryParameters;
use crate::http::paging::PageQuery;
use crate::http::problem::Problem;
use crate::query::access_log::{Access, Logged};
use crate::query::calls::one::{TimelineItemView, read_timeline};
use crate::query::context::CallPath;

/// An entry as a row.
struct EntryLine {
    at: String,
    what: String,
    by: String,
    /// The path of the page with its original. `None`: a statement about a notice has no original.
    original: Option<String>,
    sha256: Option<String>,
    flags: Vec<String>,
    fact: Option<String>,
}

#[derive(Template)]
#[template(path = "entries.html")]
struct EntriesTemplate {
    f: PageFrame,
    call: String,
    lines: Vec<EntryLine>,
    next: Option<String>,
}

pub(in crate::console) async fn entries(
    visit: PageVisit<ReaderRole>,
    CallPath(asked): CallPath,
    QueryParameters(query): QueryParameters<PageQuery>,
) -> Result<Response, Problem> {
    let PageVisit { visit, reader, .. } = visit;
    let found = read_timeline(&reader, &asked, &query).await?;
    let zone = visit.zone();
    let lines = found.events.iter().map(|item| match item {
        TimelineItemView::Event(row) => EntryLine {
            at: instant_text(row.at_ms, zone),
            what: row.r#type.clone(),
            by: format!("{} · {}", row.source, row.source_type),
            original: Some(format!("/console/events/{}", row.id)),
            sha256: Some(row.sha256.clone()),
            flags: row.flags.clone(),
            fact: None,
        },
        TimelineItemView::Notice(row) => EntryLine {
            at: instant_text(row.at_ms, zone),
            what: row.kind.clone(),
            by: "onrecord".to_owned(),
            original: None,
            sha256: None,
            flags: row.flags.clone(),
            fact: Some(row.fact.to_string()),
        },
    });
    let template = EntriesTemplate {
        lines: lines.collect(),
        next: found.next.map(|cursor| {
            // A pair of texts can always be written.
            let query = serde_urlencoded::to_string([("cursor", cursor)]).unwrap_or_default();
            format!("?{query}")
        }),
        f: PageFrame::of(&visit, Section::Calls, visit.words.t("entries.title")),
        call: found.call.clone(),
    };
    page(&Logged::of(&reader, Access::Call(found.call), template).await?.into_answer())
}
