//! Who reads, and how instants are written and read.

use std::time::Duration;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, SecondsFormat, Utc};

use crate::domain::ids::Tenant;
use crate::domain::instant;
use crate::http::access::{Caller, KeyBook};
use crate::http::problem::Problem;
use crate::store::{ReadingRoom, Role, Store};

/// A question is answered within this time, whatever the store does: one that hangs never answers.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the room's resources need.
#[derive(Clone)]
pub struct Api {
    pub store: Store,
    pub keys: KeyBook,
}

impl Api {
    /// A reader of history: every role but a client app's.
    pub(super) async fn reader(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let caller = self.keys.caller(headers).await?;
        caller.must_be(&[Role::Analyst, Role::Auditor])?;
        Ok(caller)
    }

    pub(super) async fn read(&self, tenant: &Tenant) -> Result<ReadingRoom, Problem> {
        Ok(self.store.read(tenant).await?)
    }
}

/// Answers in time, if need be by asking the caller to try again.
pub(super) async fn in_time(request: Request, next: Next) -> Response {
    unless_late(next.run(request)).await
}

async fn unless_late(answer: impl Future<Output = Response>) -> Response {
    let late = Problem::try_again("the store did not answer in time", Duration::from_secs(5));
    tokio::time::timeout(PATIENCE, answer)
        .await
        .unwrap_or_else(|_| late.into_response())
}

/// RFC 3339 with microseconds, what the store holds.
pub(super) fn micros(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// RFC 3339 with milliseconds, the unit of the rules.
pub(super) fn millis(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Reads an instant out of a query.
pub(super) fn instant(
    name: &'static str,
    text: Option<&str>,
) -> Result<Option<DateTime<Utc>>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let read = instant::parse_source_time(text);
    read.map(Some).ok_or_else(|| Problem::invalid(name, format!("{name} is an instant in RFC 3339, for example 2026-11-23T18:00:00Z (percent-encode a +)")))
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_question_that_the_store_never_answers_is_answered_in_time() {
        let answer = unless_late(std::future::pending()).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("retry-after"));
    }
}
