//! `GET /v1/participants/{raw_id}`: everything that the record has about one person, for a request of that
//! person. It needs a purpose, and is logged.

use std::collections::HashMap;

use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::call_view::CallView;
use crate::http::body::QueryParameters;
use crate::http::paging::{self, ListBinding};
use crate::http::problem::Problem;
use crate::http::purpose::checked_purpose;
use crate::http::timestamp::micros;
use crate::openapi::problem_sets::{ApiKeyProblems, IdProblems, LimitProblems};
use crate::postgres::{
    CallCount, CallFilter, CallOrder, CallRow, MentionRow, ObligationRow, SessionOfCall,
    StatementRow, TermFilter,
};
use crate::query::access_log::{Access, Logged};
use crate::query::context::Reader;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PersonQuery {
    /// Why the record of the person is read, 3 to 500 characters: for example the number of the
    /// request. It is kept in the access log. Required, here or as the header `x-onrecord-purpose`.
    #[param(min_length = 3, max_length = 500)]
    purpose: Option<String>,
    /// The `next` of an answer to the same parameters; what follows it is returned.
    cursor: Option<String>,
    /// Maximum number of rows, 1 to 1000. Default: 100.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
}

/// What the record has about one person.
#[derive(Serialize, ToSchema)]
#[schema(as = Person)]
pub(crate) struct PersonView {
    /// The raw id of the person.
    raw_id: String,
    /// The display names in the calls of this page. Personal data.
    names: Vec<String>,
    /// The calls of the person, newest first.
    calls: Vec<CallOfPersonView>,
    /// How many calls there are. Present on the first page.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<CallCount>,
    /// Pass it as `cursor`, with the same parameters, for the following rows. Absent: there are
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// The low watermark: every event that reached the service before this instant is in the
    /// answer. Null while that is not known.
    #[schema(format = DateTime, required = true)]
    complete_through: Option<String>,
}

/// A call with what it has about one person.
#[derive(Serialize, ToSchema)]
#[schema(as = CallOfPerson)]
pub(crate) struct CallOfPersonView {
    #[serde(flatten)]
    call: CallView,
    /// When the person was in the call, and with which clients.
    of_person: PersonInCallView,
}

/// What a call has about one person.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = PersonInCall)]
pub(crate) struct PersonInCallView {
    /// The sessions of the person.
    pub sessions: Vec<SessionOfCall>,
    /// What the person had to be told.
    pub obligations: Vec<ObligationRow>,
    /// What was sent and shown to the person, and what the person answered.
    pub notices: Vec<StatementRow>,
    /// The events that name the person; `/v1/events/{id}` has each with its original.
    pub events: Vec<MentionRow>,
}

/// What the record has about a person: a page of the calls of that person.
pub(crate) struct PersonPage {
    /// The display names in the calls of this page.
    pub names: Vec<String>,
    /// The calls of the person, newest first.
    pub calls: Vec<(CallRow, PersonInCallView)>,
    /// On the first page.
    pub count: Option<CallCount>,
    pub next: Option<String>,
    pub complete_through: Option<DateTime<Utc>>,
}

impl PersonPage {
    /// The calls as an answer has them.
    pub(crate) fn into_views(self) -> impl Iterator<Item = CallOfPersonView> {
        let calls = self.calls.into_iter();
        calls.map(|(row, of_person)| CallOfPersonView { call: row.into(), of_person })
    }
}

/// Reads a page about a person. It needs the purpose of the reader, and is logged.
///
/// # Errors
///
/// There is no purpose, a parameter is wrong, or the store does not answer.
pub(crate) async fn read_person(
    reader: &Reader,
    raw_id: &str,
    cursor: Option<&str>,
    limit: Option<&str>,
) -> Result<PersonPage, Problem> {
    if reader.purpose.is_none() {
        return Err(Problem::invalid(
            "purpose",
            "purpose says why the record of a person is read, for example the number of the request; it is kept in the access log",
        ));
    }
    let binding = ListBinding::of("participants", &raw_id)?;
    let limit = paging::parse_limit(limit)?;
    let filter = CallFilter {
        from: None,
        to: None,
        terms: vec![TermFilter {
            terms: vec![format!("participant={raw_id}")],
            min_length_ms: None,
        }],
        order: CallOrder::NewestFirst,
        after: binding.parse_cursor::<(DateTime<Utc>, String)>(cursor)?,
        limit,
    };
    let mut snapshot = reader.snapshot().await?;
    let complete_through = snapshot.evaluated_through().await?;
    let page = snapshot.calls(&filter).await?;
    let calls: Vec<String> = page.calls.iter().map(|call| call.call.clone()).collect();
    let rows = snapshot.person_in(raw_id, &calls).await?;
    drop(snapshot);
    let mut names: Vec<String> =
        rows.sessions.iter().filter_map(|row| row.session.display_name.clone()).collect();
    names.sort();
    names.dedup();
    let mut by_call: HashMap<String, PersonInCallView> = HashMap::new();
    for row in rows.sessions {
        by_call.entry(row.call.clone()).or_default().sessions.push(row);
    }
    for row in rows.obligations {
        by_call.entry(row.call.clone()).or_default().obligations.push(row);
    }
    for row in rows.notices {
        by_call.entry(row.call.clone()).or_default().notices.push(row);
    }
    for row in rows.events {
        by_call.entry(row.call.clone()).or_default().events.push(row);
    }
    let next = page.next.as_ref();
    let next = next.and_then(|last| binding.format_cursor(&(last.started_at, &last.call)));
    let calls = page.calls.into_iter().map(|row| {
        // Each of the calls has a session of the person.
        let of_person = by_call.remove(&row.call).unwrap_or_default();
        (row, of_person)
    });
    let page =
        PersonPage { calls: calls.collect(), names, count: page.count, next, complete_through };
    Ok(Logged::of(reader, Access::Person(raw_id.to_owned()), page).await?.into_answer())
}

/// Reads everything about one person.
///
/// For a request of that person. Each of its calls, newest first, with its sessions, obligations,
/// notices and events. It needs a purpose, and is logged.
#[utoipa::path(
    get,
    path = "/v1/participants/{raw_id}",
    operation_id = "getPerson",
    tag = "history",
    security(("api_key" = ["analyst", "auditor", "admin"])),
    params(
        ("raw_id" = String, Path, description = "The raw id of the person, percent-encoded."),
        PersonQuery,
        ("x-onrecord-purpose" = Option<String>, Header, description = "Why it is read, 3 to 500 characters; kept in the access log.", min_length = 3, max_length = 500),
    ),
    responses(
        (status = 200, description = "The person.", body = PersonView),
        ApiKeyProblems,
        IdProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn person(
    mut reader: Reader,
    raw_id: Result<Path<String>, PathRejection>,
    QueryParameters(query): QueryParameters<PersonQuery>,
) -> Result<Json<PersonView>, Problem> {
    let Path(raw_id) =
        raw_id.map_err(|_| Problem::not_found("a person is named by a raw id, percent-encoded"))?;
    if let Some(purpose) = &query.purpose {
        reader.purpose = Some(checked_purpose("purpose", purpose)?);
    }
    let mut page =
        read_person(&reader, &raw_id, query.cursor.as_deref(), query.limit.as_deref()).await?;
    Ok(Json(PersonView {
        raw_id,
        names: std::mem::take(&mut page.names),
        count: page.count,
        next: page.next.take(),
        complete_through: page.complete_through.map(micros),
        calls: page.into_views().collect(),
    }))
}
