//! `POST /v1/subscriber-tokens`: mints a subscriber token for one participant. The caller is the
//! backend of a client app, with an API key.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::client_context::ClientAccess;
use crate::clock;
use crate::http::api_role::ApiRole;
use crate::http::auth::ApiKeyCache;
use crate::http::body::JsonBody;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::subscriber_token::SubscriberClaims;
use onrecord_evidence::event::instant;

/// Default lifetime of a token, in seconds.
const DEFAULT_LIFETIME_S: i64 = 3600;
/// Maximum length of a raw id, in bytes.
const MAX_RAW_ID_BYTES: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    participant: TokenParticipant,
    ttl_s: Option<i64>,
    app: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenParticipant {
    raw_id: String,
}

#[derive(Serialize)]
pub(crate) struct TokenResponse {
    token: String,
    expires_at: Option<String>,
}

pub(crate) async fn mint(
    State(keys): State<ApiKeyCache>,
    State(ClientAccess { tokens, .. }): State<ClientAccess>,
    headers: HeaderMap,
    body: Result<JsonBody<TokenRequest>, Problem>,
) -> Result<(StatusCode, Json<TokenResponse>), Problem> {
    let caller = keys.authorize(&headers, &[ApiRole::App]).await?;
    let request = body?.value;
    let raw_id = request.participant.raw_id;
    if raw_id.trim().is_empty() || raw_id.len() > MAX_RAW_ID_BYTES {
        let detail = format!(
            "participant.raw_id is the participant's ACS or Teams raw id, 1 to {MAX_RAW_ID_BYTES} bytes, for example 8:acs:…"
        );
        return Err(Problem::invalid("/participant/raw_id", detail));
    }
    let max_lifetime = seconds(tokens.max_lifetime());
    let lifetime = request.ttl_s.unwrap_or(DEFAULT_LIFETIME_S.min(max_lifetime));
    if !(1..=max_lifetime).contains(&lifetime) {
        return Err(Problem::invalid(
            "/ttl_s",
            format!("ttl_s is a number of seconds from 1 to {max_lifetime}"),
        ));
    }
    let expires = clock::now_ms() / 1000 + lifetime;
    let claims = SubscriberClaims::new(caller.tenant, raw_id, request.app, expires);
    let token = tokens
        .mint(&claims)
        .map_err(|_| Problem::new(ProblemKind::Internal, "the token cannot be made"))?;
    Ok((
        StatusCode::CREATED,
        Json(TokenResponse { token, expires_at: instant::text(expires * 1000) }),
    ))
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
