//! `GET /v1/participants/{raw_id}`: everything that the record has about one person, for a request of that
//! person. It needs a purpose, and is logged.

use std::collections::HashMap;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::call_view::CallView;
use crate::http::body::QueryParameters;
use crate::http::paging::{self, ListBinding};
use crate::http::problem::Problem;
use crate::http::timestamp::micros;
use crate::postgres::{
    CallCount, CallFilter, CallOrder, MentionRow, ObligationRow, SessionOfCall, StatementRow,
    TermFilter,
};
use crate::query::access_log::{Access, Logged};
use crate::query::context::{Reader, checked_purpose};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonQuery {
    purpose: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct PersonView {
    raw_id: String,
    /// The display names in the calls of this page.
    names: Vec<String>,
    /// The calls of the person, newest first.
    calls: Vec<CallOfPersonView>,
    /// On the first page.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<CallCount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    complete_through: Option<String>,
}

#[derive(Serialize)]
struct CallOfPersonView {
    #[serde(flatten)]
    call: CallView,
    /// When the person was in the call, and with which clients.
    of_person: PersonInCallView,
}

#[derive(Default, Serialize)]
struct PersonInCallView {
    sessions: Vec<SessionOfCall>,
    obligations: Vec<ObligationRow>,
    /// What was sent and shown to the person, and what the person answered.
    notices: Vec<StatementRow>,
    /// The events that name the person; `/v1/events/{id}` has each with its original.
    events: Vec<MentionRow>,
}

pub(crate) async fn person(
    mut reader: Reader,
    raw_id: Result<Path<String>, PathRejection>,
    QueryParameters(query): QueryParameters<PersonQuery>,
) -> Result<Logged<PersonView>, Problem> {
    let Path(raw_id) =
        raw_id.map_err(|_| Problem::not_found("a person is named by a raw id, percent-encoded"))?;
    if let Some(purpose) = &query.purpose {
        reader.purpose = Some(checked_purpose("purpose", purpose)?);
    }
    if reader.purpose.is_none() {
        return Err(Problem::invalid(
            "purpose",
            "purpose says why the record of a person is read, for example the number of the request; it is kept in the access log",
        ));
    }
    let binding = ListBinding::of("participants", &raw_id)?;
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let filter = CallFilter {
        from: None,
        to: None,
        terms: vec![TermFilter {
            terms: vec![format!("participant={raw_id}")],
            min_length_ms: None,
        }],
        order: CallOrder::NewestFirst,
        after: binding.parse_cursor::<(DateTime<Utc>, String)>(query.cursor.as_deref())?,
        limit,
    };
    let mut snapshot = reader.snapshot().await?;
    let complete_through = snapshot.evaluated_through().await?.map(micros);
    let page = snapshot.calls(&filter).await?;
    let calls: Vec<String> = page.calls.iter().map(|call| call.call.clone()).collect();
    let rows = snapshot.person_in(&raw_id, &calls).await?;
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
    let calls = page.calls.into_iter().map(|row| CallOfPersonView {
        // Each of the calls has a session of the person.
        of_person: by_call.remove(&row.call).unwrap_or_default(),
        call: row.into(),
    });
    let view = PersonView {
        calls: calls.collect(),
        raw_id: raw_id.clone(),
        names,
        count: page.count,
        next,
        complete_through,
    };
    Logged::of(&reader, Access::Person(raw_id), view).await
}
