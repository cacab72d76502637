//! `GET /v1/quarantine`: content that was not understood, newest first.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::access_log::{Access, Logged};
use super::context::{AuditorReader, Reader};
use crate::http::body::QueryParameters;
use crate::http::paging::{self, ListBinding};
use crate::http::problem::Problem;
use crate::http::timestamp::micros;
use crate::openapi::problem_sets::{ApiKeyProblems, LimitProblems};
use crate::postgres::{MAX_QUARANTINE_PAGE_BYTES, QuarantineFilter, QuarantineRow};

#[derive(Default, Deserialize, Serialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct QuarantineListQuery {
    /// A reason of quarantine, for example `not_json`.
    pub reason: Option<String>,
    /// The configured source.
    pub source: Option<String>,
    /// The `next` of an answer to the same parameters; what follows it is returned.
    #[serde(skip_serializing)]
    cursor: Option<String>,
    /// Maximum number of rows, 1 to 1000. Default: 100.
    #[serde(skip_serializing)]
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
}

/// Content that was not understood.
#[derive(Serialize, ToSchema)]
#[schema(as = QuarantineList)]
pub(crate) struct QuarantineListView {
    /// The contents, newest first.
    pub quarantined: Vec<QuarantineRow>,
    /// Pass it as `cursor`, with the same parameters, for the following rows. Absent: there are
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The low watermark: every event that reached the service before this instant is in the
    /// answer. Null while that is not known.
    #[schema(format = DateTime, required = true)]
    complete_through: Option<String>,
}

/// Lists content that was not understood.
///
/// Newest first. The read is logged.
#[utoipa::path(
    get,
    path = "/v1/quarantine",
    operation_id = "listQuarantine",
    tag = "history",
    security(("api_key" = ["auditor", "admin"])),
    params(
        QuarantineListQuery,
        ("x-onrecord-purpose" = Option<String>, Header, description = "Why it is read, 3 to 500 characters; kept in the access log.", min_length = 3, max_length = 500),
    ),
    responses(
        (status = 200, description = "The list.", body = QuarantineListView),
        ApiKeyProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn list(
    AuditorReader(reader): AuditorReader,
    QueryParameters(query): QueryParameters<QuarantineListQuery>,
) -> Result<Logged<QuarantineListView>, Problem> {
    read_quarantine(&reader, query).await
}

/// Reads a page of the quarantine; the access is logged.
///
/// # Errors
///
/// A parameter is wrong, or the store does not answer.
pub(crate) async fn read_quarantine(
    reader: &Reader,
    query: QuarantineListQuery,
) -> Result<Logged<QuarantineListView>, Problem> {
    let binding = ListBinding::of("quarantine", &query)?;
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let after = binding.parse_cursor::<(DateTime<Utc>, Uuid)>(query.cursor.as_deref())?;
    let named = [("reason", &query.reason), ("source", &query.source)];
    let named =
        named.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
    let access = Access::Quarantine { filter: named.collect::<Vec<String>>().join(" ") };
    let mut snapshot = reader.snapshot().await?;
    let complete_through = snapshot.complete_through().await?.map(micros);
    let filter = QuarantineFilter { reason: query.reason, source: query.source, after, limit };
    let quarantined = snapshot.quarantine(&filter).await?;
    drop(snapshot);
    let contents = quarantined.iter().flat_map(|row| [&row.content, &row.sealed]).flatten();
    let bytes: usize = contents.map(Vec::len).sum();
    let full = quarantined.len() as i64 == limit || bytes as i64 >= MAX_QUARANTINE_PAGE_BYTES;
    let next = quarantined
        .last()
        .filter(|_| full)
        .and_then(|last| binding.format_cursor(&(last.received_at, last.id)));
    Logged::of(reader, access, QuarantineListView { quarantined, next, complete_through }).await
}

/// The sealed bytes of a row of the quarantine, if it has some; the access is logged.
///
/// # Errors
///
/// There is no such row, it has no sealed bytes, or the store does not answer.
pub(crate) async fn read_sealed(reader: &Reader, id: &str) -> Result<Logged<Vec<u8>>, Problem> {
    let unknown = || Problem::not_found("no content of your quarantine with this id is sealed");
    let id = Uuid::try_parse(id).map_err(|_| unknown())?;
    let mut snapshot = reader.snapshot().await?;
    let sealed = snapshot.sealed_content(id).await?.ok_or_else(unknown)?;
    drop(snapshot);
    Logged::of(reader, Access::Quarantine { filter: format!("id={id}") }, sealed).await
}
