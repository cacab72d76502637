//! One entry with its original bytes and their hash.

use askama::Template;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use serde_json::Value;

use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::PageVisit;
use crate::http::auth::ReaderRole;
use crate::http::problem::Problem;
use crate::query::events::{EventDetailView, read_event};

#[derive(Template)]
#[template(path = "entry.html")]
struct EntryTemplate {
    f: PageFrame,
    event_type: String,
    event: EventDetailView,
    normalized: String,
    redacted: Vec<String>,
}

pub(in crate::console) async fn entry(
    visit: PageVisit<ReaderRole>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let PageVisit { visit, reader, .. } = visit;
    let id = id.ok().map(|Path(id)| id);
    let event = read_event(&reader, id.as_deref()).await?.into_answer();
    let redacted = event.entry.event["redacted"].as_array().into_iter().flatten();
    page(&EntryTemplate {
        redacted: redacted.filter_map(Value::as_str).map(str::to_owned).collect(),
        normalized: format!("{:#}", event.entry.event),
        event_type: event.entry.r#type.clone(),
        event,
        f: PageFrame::of(&visit, Section::Calls, visit.words.t("entry.title")),
    })
}
