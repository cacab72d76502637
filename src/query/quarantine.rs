//! `GET /v1/quarantine`: content that was not understood, newest first.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::access_log::{Access, Logged};
use super::context::AuditorReader;
use crate::http::body::QueryParameters;
use crate::http::paging::{self, ListBinding};
use crate::http::problem::Problem;
use crate::http::timestamp::micros;
use crate::postgres::{MAX_QUARANTINE_PAGE_BYTES, QuarantineFilter, QuarantineRow};

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuarantineListQuery {
    reason: Option<String>,
    source: Option<String>,
    #[serde(skip_serializing)]
    cursor: Option<String>,
    #[serde(skip_serializing)]
    limit: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct QuarantineListView {
    quarantined: Vec<QuarantineRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    complete_through: Option<String>,
}

pub(crate) async fn list(
    AuditorReader(reader): AuditorReader,
    QueryParameters(query): QueryParameters<QuarantineListQuery>,
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
    Logged::of(&reader, access, QuarantineListView { quarantined, next, complete_through }).await
}
