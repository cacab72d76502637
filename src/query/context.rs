//! What all resources share: authorization of the caller, the time limit, and the text of instants.

use std::time::Duration;

use axum::extract::{FromRef, Request};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};

use crate::http::api_role::ApiRole;
use crate::http::auth::{ApiKeyCache, Caller};
use crate::http::problem::Problem;
pub(crate) use crate::http::timestamp::{micros, millis};
use crate::postgres::{Postgres, TenantSnapshot};
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::event::instant;

/// Timeout of an answer, for a database that does not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// The state of the handlers.
#[derive(Clone, FromRef)]
pub(crate) struct QueryContext {
    pub store: Postgres,
    pub keys: ApiKeyCache,
}

impl QueryContext {
    /// Authorizes the caller to read: all roles but `app`.
    pub(crate) async fn reader(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let caller = self.keys.authenticate(headers).await?;
        caller.require_role(&[ApiRole::Analyst, ApiRole::Auditor])?;
        Ok(caller)
    }

    /// A snapshot of the database for the tenant of the caller.
    pub(crate) async fn read(&self, tenant: &Tenant) -> Result<TenantSnapshot, Problem> {
        Ok(self.store.read(tenant).await?)
    }
}

/// Answers within [`ANSWER_TIMEOUT`], otherwise with 503 and `Retry-After`.
pub(crate) async fn limit_time(request: Request, next: Next) -> Response {
    within_timeout(next.run(request)).await
}

async fn within_timeout(answer: impl Future<Output = Response>) -> Response {
    let timed_out = Problem::try_again("the store did not answer in time", Duration::from_secs(5));
    tokio::time::timeout(ANSWER_TIMEOUT, answer)
        .await
        .unwrap_or_else(|_| timed_out.into_response())
}

/// Parses an instant in a query parameter.
pub(crate) fn instant(
    name: &'static str,
    text: Option<&str>,
) -> Result<Option<DateTime<Utc>>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let parsed = instant::parse_source_time(text);
    parsed.map(Some).ok_or_else(|| Problem::invalid(name, format!("{name} is an instant in RFC 3339, for example 2026-11-23T18:00:00Z (percent-encode a +)")))
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_the_database_never_answers_gets_503_after_the_timeout() {
        let answer = within_timeout(std::future::pending()).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("retry-after"));
    }
}
