//! The page of calls in progress, with who was told within how many milliseconds.

use std::collections::HashMap;

use askama::Template;
use axum::response::Response;

use crate::console::display::length::exact_ms;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::PageVisit;
use crate::http::auth::ReaderRole;
use crate::http::problem::Problem;
use crate::postgres::{CallCount, CallRow, CurrentObligation};
use crate::query::calls::filter::CallListQuery;
use crate::query::calls::list::read_page;
use onrecord_evidence::identity::person_name::person_name;

/// Maximum number of calls of the page.
const MAX_CALLS: &str = "50";

#[derive(Template)]
#[template(path = "live.html")]
struct LiveTemplate {
    f: PageFrame,
    calls: Vec<(CallRow, Vec<CurrentObligation>)>,
    count: Option<CallCount>,
}

impl LiveTemplate {
    fn name(&self, due: &CurrentObligation) -> String {
        person_name(due.display_name.as_deref(), due.raw_id.as_deref(), &due.session)
    }

    fn ms(&self, ms: &i64) -> String {
        exact_ms(*ms)
    }

    fn names(&self, row: &CallRow) -> String {
        row.names.join(", ")
    }

    fn shown(&self) -> i64 {
        self.count.map_or(0, |count| count.value)
    }
}

pub(in crate::console) async fn live(visit: PageVisit<ReaderRole>) -> Result<Response, Problem> {
    let PageVisit { visit, reader, .. } = visit;
    let query = CallListQuery {
        state: vec!["open".to_owned()],
        limit: Some(MAX_CALLS.to_owned()),
        ..CallListQuery::default()
    };
    let found = read_page(&reader, &query).await?;
    let ids: Vec<String> = found.calls.iter().map(|row| row.call.clone()).collect();
    let mut by_call: HashMap<String, Vec<CurrentObligation>> = HashMap::new();
    for due in reader.snapshot().await?.current_obligations(&ids).await? {
        by_call.entry(due.call.clone()).or_default().push(due);
    }
    let calls = found.calls.into_iter().map(|row| {
        // A call of which nothing was captured has none.
        let due = by_call.remove(&row.call).unwrap_or_default();
        (row, due)
    });
    page(&LiveTemplate {
        calls: calls.collect(),
        count: found.count,
        f: PageFrame::of(&visit, Section::Live, visit.words.t("live.title"))
            .complete_through(found.complete_through),
    })
}
