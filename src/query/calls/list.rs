//! `GET /v1/calls`: the calls that pass a filter, or those that changed.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::call_view::CallView;
use super::filter::CallListQuery;
use crate::http::body::QueryParameters;
use crate::http::paging::{self, ListBinding};
use crate::http::problem::Problem;
use crate::http::timestamp::{micros, millis};
use crate::postgres::{CallCount, CallFilter, ChangedCall};
use crate::query::access_log::{Access, Logged};
use crate::query::context::Reader;

/// The position before all changes.
const BEGINNING: &str = "beginning";

#[derive(Serialize)]
struct CallListView {
    calls: Vec<CallView>,
    /// On the first page.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<CallCount>,
    /// The range of starts that was read.
    from: Option<String>,
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    complete_through: Option<String>,
}

#[derive(Serialize)]
struct ChangedCallsView {
    calls: Vec<CallView>,
    /// Always present: the position from which later changes can be read.
    changed_through: Option<String>,
    complete_through: Option<String>,
}

pub(crate) async fn list(
    reader: Reader,
    QueryParameters(query): QueryParameters<CallListQuery>,
) -> Result<Response, Problem> {
    if let Some(position) = &query.changed_after {
        return Ok(Json(changes(&reader, &query, position).await?).into_response());
    }
    let binding = ListBinding::of("calls", &query)?;
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let after = binding.parse_cursor::<(DateTime<Utc>, String)>(query.cursor.as_deref())?;
    let parsed = query.parse()?;
    let (range, order, person) = (parsed.range, parsed.order, parsed.person());
    let mut snapshot = reader.snapshot().await?;
    let complete_through = snapshot.evaluated_through().await?.map(micros);
    let terms = parsed.terms(&mut snapshot).await?;
    let filter = CallFilter { from: range.from, to: range.to, terms, order, after, limit };
    let page = snapshot.calls(&filter).await?;
    drop(snapshot);
    let next = page.next.as_ref();
    let next = next.and_then(|last| binding.format_cursor(&(last.started_at, &last.call)));
    let view = CallListView {
        calls: page.calls.into_iter().map(CallView::from).collect(),
        count: page.count,
        from: range.from.map(millis),
        to: range.to.map(millis),
        next,
        complete_through,
    };
    // A list of the calls of a person is a read of that person.
    match person {
        Some(person) => {
            let logged = Logged::of(&reader, Access::Person(person), view).await?;
            Ok(logged.into_response())
        }
        None => Ok(Json(view).into_response()),
    }
}

async fn changes(
    reader: &Reader,
    query: &CallListQuery,
    position: &str,
) -> Result<ChangedCallsView, Problem> {
    let binding = ListBinding::of("changed-calls", &())?;
    let limit = paging::parse_limit(query.limit.as_deref())?;
    if query.has_filter() || query.cursor.is_some() {
        return Err(Problem::invalid(
            "changed_after",
            "changed_after goes with limit alone: a filter would leave out the change by which a call no longer passes it",
        ));
    }
    let after = if position == BEGINNING {
        ChangedCall { xid: 0, call: String::new() }
    } else {
        let after = binding.parse_cursor::<(i64, String)>(Some(position)).ok().flatten();
        let (xid, call) = after.ok_or_else(|| {
            Problem::invalid(
                "changed_after",
                "changed_after is beginning, or the changed_through of an answer",
            )
        })?;
        ChangedCall { xid, call }
    };
    let mut snapshot = reader.snapshot().await?;
    let complete_through = snapshot.evaluated_through().await?.map(micros);
    let (calls, last) = snapshot.changed_calls(&after, limit).await?;
    let last = last.unwrap_or(after);
    Ok(ChangedCallsView {
        calls: calls.into_iter().map(CallView::from).collect(),
        changed_through: binding.format_cursor(&(last.xid, last.call)),
        complete_through,
    })
}
