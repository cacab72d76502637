//! Everything that the record has about one person as a file, to hand over: the calls as `/v1/participants/{raw_id}` has
//! them, all of them.
//!
//! # Why
//!
//! *It is sent page by page*, so it needs the memory of one page however many calls there are. If a page cannot be
//! read, the connection ends, and what the browser has is no complete JSON.

use std::collections::BTreeSet;

use axum::body::{Body, Bytes};
use axum::http::{Uri, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde_json::json;

use super::calls::typed_filter::TypedFilter;
use super::visit::PageVisit;
use crate::clock;
use crate::http::auth::ReaderRole;
use crate::http::problem::Problem;
use crate::http::purpose::checked_purpose;
use crate::http::timestamp::micros;
use crate::query::calls::person::{PersonPage, read_person};
use crate::query::context::{ANSWER_TIMEOUT, Reader};

/// Calls of a page.
const PAGE_CALLS: &str = "100";

/// What is written next.
enum Next {
    Page(PersonPage),
    Names,
    Nothing,
}

/// A file that is being written.
struct PersonFile {
    reader: Reader,
    person: String,
    names: BTreeSet<String>,
    has_calls: bool,
    next: Next,
}

pub(super) async fn file(visit: PageVisit<ReaderRole>, uri: Uri) -> Result<Response, Problem> {
    let PageVisit { mut reader, .. } = visit;
    let typed = TypedFilter::of(uri.query())?;
    let person = typed.first("person").to_owned();
    let purpose = checked_purpose("purpose", typed.first("purpose"))?;
    reader.purpose = Some(purpose.clone());
    let first = read_person(&reader, &person, None, Some(PAGE_CALLS)).await?;
    let head = json!({
        "raw_id": person,
        "purpose": purpose,
        "tenant": reader.caller.tenant,
        "read_at": micros(clock::now()),
        "complete_through": first.complete_through.map(micros),
    });
    let file = PersonFile {
        reader,
        person,
        names: BTreeSet::new(),
        has_calls: false,
        next: Next::Page(first),
    };
    // The object goes on with its calls.
    let head = head.to_string();
    let head = format!("{},\n\"calls\": [", head.strip_suffix('}').unwrap_or(&head));
    let rest = stream::try_unfold(file, PersonFile::part);
    let parts = stream::StreamExt::chain(stream::iter([Ok(Bytes::from(head))]), rest);
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"person.json\""),
    ];
    Ok((headers, Body::from_stream(parts)).into_response())
}

impl PersonFile {
    /// The next part, and what follows it.
    async fn part(mut self) -> Result<Option<(Bytes, Self)>, axum::Error> {
        let mut page = match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Page(page) => page,
            Next::Names => {
                let end = format!("\n],\n\"names\": {}}}\n", json!(self.names));
                return Ok(Some((Bytes::from(end), self)));
            }
            Next::Nothing => return Ok(None),
        };
        self.names.append(&mut page.names.drain(..).collect());
        let cursor = page.next.take();
        let mut part = String::new();
        for call in page.into_views() {
            part.push_str(if self.has_calls { ",\n" } else { "\n" });
            part.push_str(&serde_json::to_string(&call).map_err(axum::Error::new)?);
            self.has_calls = true;
        }
        self.next = match cursor {
            Some(cursor) => {
                let page = read_person(&self.reader, &self.person, Some(&cursor), Some(PAGE_CALLS));
                // The head of the answer is sent, so no layer ends a page that takes too long.
                let page = tokio::time::timeout(ANSWER_TIMEOUT, page).await;
                let page = match page {
                    Ok(Ok(page)) => Ok(page),
                    Ok(Err(problem)) => Err(problem.detail().to_owned()),
                    Err(_) => Err("the store did not answer in time".to_owned()),
                };
                Next::Page(page.map_err(|reason| {
                    tracing::warn!("the file about a person is not complete: {reason}");
                    axum::Error::new(std::io::Error::other(reason))
                })?)
            }
            None => Next::Names,
        };
        Ok(Some((Bytes::from(part), self)))
    }
}
