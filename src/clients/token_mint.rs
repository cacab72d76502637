//! `POST /v1/subscriber-tokens`: mints a subscriber token for one participant. The caller is the
//! backend of a client app, with an API key.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::client_context::ClientAccess;
use super::token_body::TokenBody;
use crate::clock;
use crate::http::auth::{AppRole, Authorized};
use crate::http::body::CallerBody;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::subscriber_token::SubscriberClaims;
use crate::openapi::problem_sets::{ApiKeyProblems, BodyProblems};
use onrecord_evidence::event::instant;

/// Default lifetime of a token, in seconds.
const DEFAULT_LIFETIME_S: i64 = 3600;
/// Maximum length of a token, in bytes: it must fit into a header, an address, and a frame of a
/// WebSocket.
const MAX_TOKEN_BYTES: usize = 6 * 1024;

/// A subscriber token.
#[derive(Serialize, ToSchema)]
#[schema(as = SubscriberToken)]
pub(crate) struct TokenResponse {
    /// The subscriber token, at most 6 KiB.
    token: String,
    /// When it expires.
    #[schema(format = DateTime, required = true)]
    expires_at: Option<String>,
}

/// Makes a subscriber token.
///
/// The backend of an app gets a token for one participant, with which the client of that
/// participant reports, acknowledges and opens streams.
#[utoipa::path(
    post,
    path = "/v1/subscriber-tokens",
    operation_id = "createSubscriberToken",
    tag = "clients",
    security(("api_key" = ["app", "admin"])),
    request_body(content = TokenBody, description = "Whom the token speaks for."),
    responses(
        (status = 201, description = "The token.", body = TokenResponse),
        ApiKeyProblems,
        BodyProblems,
    ),
)]
pub(crate) async fn mint(
    State(ClientAccess { tokens, .. }): State<ClientAccess>,
    request: CallerBody<Authorized<AppRole>, TokenBody>,
) -> Result<(StatusCode, Json<TokenResponse>), Problem> {
    let CallerBody { caller: Authorized { caller, .. }, value: request, .. } = request;
    let ttl_s = request.ttl_s;
    let subject = request.subject()?;
    let max_lifetime = seconds(tokens.max_lifetime());
    let lifetime = ttl_s.unwrap_or(DEFAULT_LIFETIME_S.min(max_lifetime));
    if !(1..=max_lifetime).contains(&lifetime) {
        return Err(Problem::invalid(
            "/ttl_s",
            format!("ttl_s is a number of seconds from 1 to {max_lifetime}"),
        ));
    }
    let now = clock::now_ms();
    let expires = now / 1000 + lifetime;
    let claims = SubscriberClaims::new(caller.tenant, subject.raw_id, subject.app, expires)
        .granting(subject.other_raw_ids, subject.grant)
        .minted(now, caller.id);
    let token = tokens
        .mint(&claims)
        .map_err(|_| Problem::new(ProblemKind::Internal, "the token cannot be made"))?;
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Problem::invalid(
            "/grant",
            format!(
                "the token would have {} bytes, and may have {MAX_TOKEN_BYTES}; grant fewer or shorter ids",
                token.len()
            ),
        ));
    }
    Ok((
        StatusCode::CREATED,
        Json(TokenResponse { token, expires_at: instant::text(expires * 1000) }),
    ))
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
