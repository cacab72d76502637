//! What all resources share: authorization of the caller, parameters, and the time limit.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts, MatchedPath, Path, Request};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};

use super::turns::{TooManyWaiting, Turn, Turns};
use crate::http::api_role::ApiRole;
use crate::http::auth::{ApiKeyCache, Caller};
use crate::http::body::BodyCapacity;
use crate::http::problem::Problem;
use crate::http::purpose::stated_purpose;
use crate::postgres::{Postgres, TenantSnapshot};
use onrecord_evidence::event::instant;

/// Timeout of an answer, for a database that does not answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// The state of the handlers.
#[derive(Clone, FromRef)]
pub(crate) struct QueryContext {
    pub store: Postgres,
    pub keys: ApiKeyCache,
    pub bodies: BodyCapacity,
    pub shares: QueryShares,
}

/// What the tenants do at a time.
#[derive(Clone)]
pub(crate) struct QueryShares {
    /// Snapshots of the database.
    snapshots: Turns,
    /// Answers that need all facts of a call, and take seconds for a very large one.
    whole_calls: Turns,
}

impl QueryShares {
    /// One connection is left for the look-up of API keys and for what is written; of the others a tenant
    /// has half. Of the answers about whole calls a tenant has one at a time, and all have a half of the
    /// connections.
    pub(crate) fn new(connections: u32) -> Self {
        let connections = usize::try_from(connections).unwrap_or(usize::MAX);
        Self {
            snapshots: Turns::new(connections - 1, connections / 2),
            whole_calls: Turns::new(connections / 2, 1),
        }
    }
}

/// A snapshot of the database, and its turn.
pub(crate) struct Snapshot {
    snapshot: TenantSnapshot,
    _turn: Turn,
}

impl Deref for Snapshot {
    type Target = TenantSnapshot;

    fn deref(&self) -> &TenantSnapshot {
        &self.snapshot
    }
}

impl DerefMut for Snapshot {
    fn deref_mut(&mut self) -> &mut TenantSnapshot {
        &mut self.snapshot
    }
}

impl QueryContext {
    /// A snapshot of the database for the tenant of the caller, when the tenant has its turn.
    pub(crate) async fn read(&self, caller: &Caller) -> Result<Snapshot, Problem> {
        let turn = self.shares.snapshots.take(&caller.tenant).await?;
        Ok(Snapshot { snapshot: self.store.read(&caller.tenant).await?, _turn: turn })
    }
}

impl From<TooManyWaiting> for Problem {
    fn from(TooManyWaiting: TooManyWaiting) -> Self {
        Self::too_many(
            "too many requests of the tenant wait for their turn",
            Duration::from_secs(1),
        )
    }
}

/// A caller that may read the history: all roles but `app`.
pub(crate) struct Reader {
    pub caller: Caller,
    /// Method and path of the resource, without its ids.
    pub route: String,
    /// The purpose that the caller states.
    pub purpose: Option<String>,
    context: QueryContext,
}

impl Reader {
    /// A reader who was authenticated otherwise than by the head of a request to `/v1`. `route` is that of
    /// the request, without ids.
    pub(crate) fn authenticated(
        context: QueryContext,
        caller: Caller,
        route: String,
        purpose: Option<String>,
    ) -> Self {
        Self { caller, route, purpose, context }
    }

    /// A snapshot of the database for the tenant of the caller.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, Problem> {
        self.context.read(&self.caller).await
    }

    /// The turn of an answer that needs all facts of a call. It is taken before a snapshot, so that a request
    /// that waits for it holds no connection.
    pub(crate) async fn whole_call_turn(&self) -> Result<Turn, Problem> {
        Ok(self.context.shares.whole_calls.take(&self.caller.tenant).await?)
    }

    /// The turn of a use of a connection.
    pub(crate) async fn snapshot_turn(&self) -> Result<Turn, Problem> {
        Ok(self.context.shares.snapshots.take(&self.caller.tenant).await?)
    }

    pub(crate) fn store(&self) -> &Postgres {
        &self.context.store
    }

    async fn of(
        parts: &mut Parts,
        context: &QueryContext,
        roles: &[ApiRole],
    ) -> Result<Self, Problem> {
        let caller = context.keys.authorize(&parts.headers, roles).await?;
        let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        Ok(Self {
            caller,
            route: format!("{} {route}", parts.method),
            purpose: stated_purpose(&parts.headers)?,
            context: context.clone(),
        })
    }
}

impl FromRequestParts<QueryContext> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &QueryContext,
    ) -> Result<Self, Problem> {
        Self::of(parts, context, &[ApiRole::Analyst, ApiRole::Auditor]).await
    }
}

/// A caller that may also read the quarantine and the access log.
pub(crate) struct AuditorReader(pub Reader);

impl FromRequestParts<QueryContext> for AuditorReader {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &QueryContext,
    ) -> Result<Self, Problem> {
        Reader::of(parts, context, &[ApiRole::Auditor]).await.map(Self)
    }
}

/// The id of a call in the path: any of its ids.
pub(crate) struct CallPath(pub String);

impl<S: Send + Sync> FromRequestParts<S> for CallPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let call = Path::from_request_parts(parts, state).await;
        call.map(|Path(call)| Self(call)).map_err(|_| unknown_call())
    }
}

pub(crate) fn unknown_call() -> Problem {
    Problem::not_found(
        "no call of yours has this id; name it by its call id, correlationId, serverCallId (percent-encoded), callConnectionId, recordingId or attachment",
    )
}

/// Answers within [`ANSWER_TIMEOUT`], otherwise with 503 and `Retry-After`.
pub(crate) async fn limit_time(request: Request, next: Next) -> Response {
    within_timeout(next.run(request)).await
}

async fn within_timeout(answer: impl Future<Output = Response>) -> Response {
    let timed_out = Problem::try_again("the store did not answer in time", Duration::from_secs(5));
    tokio::time::timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| timed_out.into_response())
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

/// Parses a query parameter that has one of the allowed values.
pub(crate) fn choice(
    name: &'static str,
    text: Option<String>,
    detail: &str,
    allowed: &'static [&'static str],
) -> Result<Option<&'static str>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let chosen = allowed.iter().find(|value| **value == text).copied();
    chosen.map(Some).ok_or_else(|| Problem::invalid(name, detail).allowing(allowed))
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
