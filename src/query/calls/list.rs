//! `GET /v1/calls`: the calls that pass a filter, or those that changed.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::call_view::CallView;
use super::filter::CallListQuery;
use crate::http::body::QueryParameters;
use crate::http::paging::{self, ListBinding};
use crate::http::problem::Problem;
use crate::http::timestamp::{micros, millis};
use crate::openapi::problem_sets::{ApiKeyProblems, LimitProblems};
use crate::postgres::{CallCount, CallFilter, CallRow, ChangedCall};
use crate::query::access_log::{Access, Logged};
use crate::query::context::Reader;
use crate::query::time_range::TimeRange;

/// The position before all changes.
const BEGINNING: &str = "beginning";

/// Calls that pass a filter.
#[derive(Serialize, ToSchema)]
#[schema(as = CallList)]
pub(crate) struct CallListView {
    /// The calls, in the order of `sort`.
    calls: Vec<CallView>,
    /// How many calls pass the filter. Present on the first page.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<CallCount>,
    /// The first instant of the starts that were read. Null: no bound.
    #[schema(format = DateTime, required = true)]
    from: Option<String>,
    /// The instant before which the starts that were read are. Null: no bound.
    #[schema(format = DateTime, required = true)]
    to: Option<String>,
    /// Pass it as `cursor`, with the same parameters, for the following rows. Absent: there are
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// The low watermark: every event that reached the service before this instant is in the
    /// answer. Null while that is not known.
    #[schema(format = DateTime, required = true)]
    complete_through: Option<String>,
}

/// Calls that changed, in the order of their last change.
#[derive(Serialize, ToSchema)]
#[schema(as = ChangedCalls)]
pub(crate) struct ChangedCallsView {
    /// The calls, in the order of their last change.
    calls: Vec<CallView>,
    /// Pass it as `changed_after` for what changes later. It is always present.
    #[schema(required = true)]
    changed_through: Option<String>,
    /// The low watermark: every event that reached the service before this instant is in the
    /// answer. Null while that is not known.
    #[schema(format = DateTime, required = true)]
    complete_through: Option<String>,
}

/// Lists calls.
///
/// Calls by their start, newest first, that pass a filter; or, with `changed_after`, those that
/// changed. A list of the calls of a person (`participant`, `q`) is logged.
#[utoipa::path(
    get,
    path = "/v1/calls",
    operation_id = "listCalls",
    tag = "history",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        CallListQuery,
        ("x-onrecord-purpose" = Option<String>, Header, description = "Why it is read, 3 to 500 characters; kept in the access log.", min_length = 3, max_length = 500),
    ),
    responses(
        (status = 200, description = "Calls.", body = CallsAnswer),
        ApiKeyProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn list(
    reader: Reader,
    QueryParameters(query): QueryParameters<CallListQuery>,
) -> Result<Response, Problem> {
    if let Some(position) = &query.changed_after {
        let changes = changes(&reader, &query, position).await?;
        return Ok(Json(CallsAnswer::Changes(changes)).into_response());
    }
    let page = read_page(&reader, &query).await?;
    let view = CallListView {
        calls: page.calls.into_iter().map(CallView::from).collect(),
        count: page.count,
        from: page.range.from.map(millis),
        to: page.range.to.map(millis),
        next: page.next,
        complete_through: page.complete_through.map(micros),
    };
    Ok(Json(CallsAnswer::List(view)).into_response())
}

/// A page of the list of calls.
pub(crate) struct CallListPage {
    pub calls: Vec<CallRow>,
    /// On the first page.
    pub count: Option<CallCount>,
    /// The range of starts that was read.
    pub range: TimeRange,
    pub next: Option<String>,
    pub complete_through: Option<DateTime<Utc>>,
}

/// Reads a page of the list of calls. A list of the calls of a person is a read of that person, which is in
/// the access log when this returns.
///
/// # Errors
///
/// A parameter is wrong, or the store does not answer.
pub(crate) async fn read_page(
    reader: &Reader,
    query: &CallListQuery,
) -> Result<CallListPage, Problem> {
    let binding = ListBinding::of("calls", query)?;
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let after = binding.parse_cursor::<(DateTime<Utc>, String)>(query.cursor.as_deref())?;
    let parsed = query.parse()?;
    let (range, order, person) = (parsed.range, parsed.order, parsed.person());
    let mut snapshot = reader.snapshot().await?;
    let complete_through = snapshot.evaluated_through().await?;
    let terms = parsed.terms(&mut snapshot).await?;
    let filter = CallFilter { from: range.from, to: range.to, terms, order, after, limit };
    let page = snapshot.calls(&filter).await?;
    drop(snapshot);
    let next = page.next.as_ref();
    let next = next.and_then(|last| binding.format_cursor(&(last.started_at, &last.call)));
    let page = CallListPage { calls: page.calls, count: page.count, range, next, complete_through };
    match person {
        Some(person) => Ok(Logged::of(reader, Access::Person(person), page).await?.into_answer()),
        None => Ok(page),
    }
}

/// The answer: a list of calls, or of changes.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum CallsAnswer {
    List(CallListView),
    Changes(ChangedCallsView),
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
