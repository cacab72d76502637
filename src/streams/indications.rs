//! `GET /v1/indications`: the current indication of a call, by any of its aliases.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::cursor::CursorCodec;
use super::subscription::{ScopeQuery, SubscribeAccess, SubscribeRequest, Subscription, authorize};
use crate::clock;
use crate::http::body::QueryParameters;
use crate::http::problem::Problem;
use crate::live::live_calls::LiveCalls;
use crate::openapi::named_schemas::SnapshotSchema;
use crate::openapi::problem_sets::{LimitProblems, TokenProblems};

/// Reads the current indication of a call.
///
/// A snapshot, as the stream sends it. A parameter must name the call. Unknown parameters are
/// ignored.
#[utoipa::path(
    get,
    path = "/v1/indications",
    operation_id = "getIndication",
    tag = "clients",
    security(("subscriber_token" = []), ("subscriber_token_query" = []), ("api_key" = ["app", "analyst", "auditor", "admin"])),
    params(ScopeQuery),
    responses(
        (status = 200, description = "The snapshot.", body = SnapshotSchema),
        TokenProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn indication(
    State(access): State<SubscribeAccess>,
    State(live_calls): State<LiveCalls>,
    headers: HeaderMap,
    QueryParameters(query): QueryParameters<ScopeQuery>,
) -> Result<Response, Problem> {
    let request = SubscribeRequest::new(&headers, &query);
    let Subscription { tenant, scope, .. } = authorize(&access, &request).await?;
    if scope.one_call().is_none() {
        return Err(Problem::invalid(
            "attachment",
            "name the call: attachment=…, server_call_id=…, or with an API key call=…",
        ));
    }
    let snapshot = live_calls.snapshot(&tenant, &scope, clock::now_ms());
    let codec = CursorCodec::new(&access.tokens, &live_calls.incarnation(), &tenant, &scope);
    let cursor = codec.write(snapshot.at, None);
    let body = snapshot.body(Some(&cursor));
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}
