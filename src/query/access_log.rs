//! The access log: who read what. `GET /v1/access-log` for auditors.
//!
//! # Why
//!
//! An audit trail that can be lost without a word proves nothing. So an answer with personal data is made of
//! a [`Logged`], which exists only after its row is committed: without the row there is no answer, but 503.

use axum::Json;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::context::{AuditorReader, Reader, choice};
use super::time_range::{TimeRange, parse_zone};
use crate::clock;
use crate::http::body::{QueryParameters, secrets};
use crate::http::paging::{self, ListBinding};
use crate::http::problem::Problem;
use crate::openapi::problem_sets::{ApiKeyProblems, LimitProblems};
use crate::postgres::{AccessFilter, AccessRow};

/// The values of `what`.
pub(crate) const KINDS: &[&str] = &[
    "call",
    "person",
    "original",
    "export",
    "quarantine",
    "sign_in",
    "sign_in_refused",
    "sign_out",
];

/// What an answer shows.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    Call(String),
    /// Looked up by a raw id or a part of a name.
    Person(String),
    /// The original of an event.
    Original {
        event: Uuid,
        call: Option<String>,
    },
    Quarantine {
        filter: String,
    },
}

/// An answer whose row in the access log is committed.
pub(crate) struct Logged<T>(T);

impl<T> Logged<T> {
    /// The answer, for a caller that shows it otherwise than as JSON.
    pub(crate) fn into_answer(self) -> T {
        self.0
    }

    /// Appends the row of an answer. A caller drops its snapshot of the database before: with the snapshots of
    /// all requests held, none would get a turn to append its row.
    ///
    /// # Errors
    ///
    /// The row cannot be written: there is no answer then.
    pub(crate) async fn of(reader: &Reader, access: Access, answer: T) -> Result<Self, Problem> {
        let (what, call, person, subject) = match access {
            Access::Call(call) => ("call", Some(call), None, None),
            Access::Person(person) => ("person", None, Some(person), None),
            Access::Original { event, call } => ("original", call, None, Some(event.to_string())),
            Access::Quarantine { filter } => ("quarantine", None, None, Some(filter)),
        };
        // NO_SECRETS: what the caller wrote is kept permanently.
        for text in [&person, &subject].into_iter().flatten() {
            secrets::check_parameter("query", text)?;
        }
        let caller = &reader.caller;
        let row = AccessRow {
            id: Uuid::now_v7(),
            at: clock::now(),
            actor: caller.kind.as_str().to_owned(),
            api_key: caller.id,
            key_name: caller.name.clone(),
            role: caller.role.as_str().to_owned(),
            what: what.to_owned(),
            route: reader.route.clone(),
            call,
            person,
            subject,
            purpose: reader.purpose.clone(),
        };
        // The row uses a connection of the readers, and so a share of the tenant.
        let _turn = reader.snapshot_turn().await?;
        reader.store().log_access(&caller.tenant, &row).await?;
        Ok(Self(answer))
    }
}

impl<T: Serialize> IntoResponse for Logged<T> {
    fn into_response(self) -> Response {
        Json(self.0).into_response()
    }
}

#[derive(Default, Deserialize, Serialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AccessListQuery {
    /// Read, from this instant on: RFC 3339, or a day (`2026-11-23`) of the time zone `tz`.
    pub from: Option<String>,
    /// Read, before this instant: RFC 3339, or a day of the time zone `tz`, which is included
    /// whole.
    pub to: Option<String>,
    /// The time zone of days: a name of the IANA database. Default: UTC.
    pub tz: Option<String>,
    /// What was read.
    #[param(
        pattern = "^(call|person|original|export|quarantine|sign_in|sign_in_refused|sign_out)$"
    )]
    pub what: Option<String>,
    /// The id of a call as it was then.
    pub call: Option<String>,
    /// The raw id or text that was looked up.
    pub person: Option<String>,
    /// The id of an API key, as `onrecord key list` shows it, or of a user of the console.
    #[param(format = Uuid)]
    pub key: Option<String>,
    /// The `next` of an answer to the same parameters; what follows it is returned.
    #[serde(skip_serializing)]
    cursor: Option<String>,
    /// Maximum number of rows, 1 to 1000. Default: 100.
    #[serde(skip_serializing)]
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
}

/// Who read what.
#[derive(Serialize, ToSchema)]
#[schema(as = AccessList)]
pub(crate) struct AccessListView {
    /// The reads, newest first.
    pub accesses: Vec<AccessRow>,
    /// Pass it as `cursor`, with the same parameters, for the following rows. Absent: there are
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Lists who read what.
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/access-log",
    operation_id = "listAccesses",
    tag = "history",
    security(("api_key" = ["auditor", "admin"])),
    params(
        AccessListQuery,
    ),
    responses(
        (status = 200, description = "The list.", body = AccessListView),
        ApiKeyProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn list(
    AuditorReader(reader): AuditorReader,
    QueryParameters(query): QueryParameters<AccessListQuery>,
) -> Result<Json<AccessListView>, Problem> {
    read_accesses(&reader, query).await.map(Json)
}

/// Reads a page of the access log.
///
/// # Errors
///
/// A parameter is wrong, or the store does not answer.
pub(crate) async fn read_accesses(
    reader: &Reader,
    query: AccessListQuery,
) -> Result<AccessListView, Problem> {
    let binding = ListBinding::of("access-log", &query)?;
    let range = TimeRange::parse(
        query.from.as_deref(),
        query.to.as_deref(),
        parse_zone(query.tz.as_deref())?,
    )?;
    let key = query.key.as_deref().map(|key| {
        Uuid::try_parse(key).map_err(|_| {
            Problem::invalid("key", "key is the id of an API key, as onrecord key list shows it, or of a user of the console")
        })
    });
    let filter = AccessFilter {
        from: range.from,
        to: range.to,
        what: choice("what", query.what, "nothing of this kind is logged", KINDS)?,
        call: query.call,
        person: query.person,
        api_key: key.transpose()?,
        after: binding.parse_cursor::<(DateTime<Utc>, Uuid)>(query.cursor.as_deref())?,
        limit: paging::parse_limit(query.limit.as_deref())?,
    };
    let mut snapshot = reader.snapshot().await?;
    let accesses = snapshot.accesses(&filter).await?;
    let next = binding.next_cursor(&accesses, filter.limit, |last| (last.at, last.id));
    Ok(AccessListView { accesses, next })
}
