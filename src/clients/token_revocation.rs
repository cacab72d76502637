//! `POST /v1/token-revocations`: the backend of an app revokes subscriber tokens; and the task by
//! which each node reads what was revoked on others.
//!
//! # Why
//!
//! A revocation is stored before it is answered, and every node reads the new rows each second, so
//! that a stolen token is of no use within seconds, on any node. A node whose store is away keeps the
//! list that it has; a node that starts without a store accepts tokens until it has read the list,
//! because notices need one store only (`ONE_STORE_LIVE`).

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::client_context::ClientAccess;
use super::token_body::check_known_raw_id;
use crate::clock;
use crate::http::auth::{AppRole, Authorized};
use crate::http::body::{CallerBody, RequestBody};
use crate::http::problem::Problem;
use crate::http::subscriber_token::SubscriberTokens;
use crate::http::subscriber_token::revocations::{
    IssuedUntil, RevokedTokens, TokenRevocation, TokenRevocations,
};
use crate::http::timestamp::millis;
use crate::lifecycle::Lifecycle;
use crate::openapi::problem_sets::{ApiKeyProblems, BodyProblems};
use crate::postgres::{Postgres, StoreError, UnreadRevocations};
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::raw_id::canonical_raw_id;

/// Interval between two reads of the revocations.
const READ_INTERVAL: Duration = Duration::from_secs(1);
/// Overlap of two reads, ms: a row becomes visible some time after its instant.
const READ_OVERLAP: Millis = 60_000;
/// Maximum difference between the clock of a caller and that of this node, ms.
const MAX_CLOCK_DIFFERENCE: Millis = 60_000;

/// Which subscriber tokens to revoke: exactly one of the members.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenRevocationOrder, min_properties = 1, max_properties = 1)]
pub(crate) struct RevocationBody {
    /// The tokens of a person, by any of its raw ids.
    raw_id: Option<String>,
    /// The tokens that an API key minted, by the id that `onrecord key list` shows.
    key: Option<Uuid>,
    /// All tokens of the tenant that were issued until this instant.
    issued_before: Option<DateTime<Utc>>,
}

impl RequestBody for RevocationBody {
    const MAX_BYTES: usize = 4 * 1024;
}

impl RevocationBody {
    /// Which tokens are revoked, and until which instant of issue.
    fn tokens(self, now: Millis) -> Result<(RevokedTokens, IssuedUntil), Problem> {
        match (self.raw_id, self.key, self.issued_before) {
            (Some(raw_id), None, None) => {
                check_known_raw_id("/raw_id", &raw_id)?;
                let raw_id = canonical_raw_id(&raw_id).into_owned();
                Ok((RevokedTokens::Person(raw_id), IssuedUntil::At(now)))
            }
            (None, Some(key), None) => Ok((RevokedTokens::Key(key), IssuedUntil::At(now))),
            (None, None, Some(instant)) => {
                let issued_until = instant.timestamp_millis();
                if issued_until > now + MAX_CLOCK_DIFFERENCE {
                    let detail = "issued_before lies in the future: tokens that are issued from now on cannot be revoked in advance; revoke the API key that mints them";
                    return Err(Problem::invalid("/issued_before", detail));
                }
                Ok((RevokedTokens::All, IssuedUntil::At(issued_until)))
            }
            _ => Err(Problem::invalid(
                "",
                "state exactly one of raw_id (the tokens of a person), key (those that an API key minted, by its id) and issued_before (all that were issued until then)",
            )),
        }
    }
}

/// What is revoked.
#[derive(Serialize, ToSchema)]
#[schema(as = RevokedSubscriberTokens)]
pub(crate) struct RevocationResponse {
    /// The person, in the form in which raw ids are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_id: Option<String>,
    /// The API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Uuid>,
    /// Tokens that were issued until this instant are refused. Null: whenever they are issued,
    /// because the key is revoked.
    #[schema(format = DateTime, required = true)]
    issued_before: Option<String>,
}

/// Revokes subscriber tokens.
///
/// Of a person, of an API key, or all of the tenant. Every node refuses them within seconds.
#[utoipa::path(
    post,
    path = "/v1/token-revocations",
    operation_id = "revokeSubscriberTokens",
    tag = "clients",
    security(("api_key" = ["app", "admin"])),
    request_body(content = RevocationBody, description = "Which tokens."),
    responses(
        (status = 201, description = "What is revoked.", body = RevocationResponse),
        ApiKeyProblems,
        BodyProblems,
    ),
)]
pub(crate) async fn revoke(
    State(ClientAccess { tokens, rate_limiter, .. }): State<ClientAccess>,
    State(store): State<Postgres>,
    request: CallerBody<Authorized<AppRole>, RevocationBody>,
) -> Result<(StatusCode, Json<RevocationResponse>), Problem> {
    let CallerBody { caller: Authorized { caller, .. }, value, .. } = request;
    let now = clock::now_ms();
    let (revoked, mut issued_until) = value.tokens(now)?;
    // Each revocation wakes all streams. The id of a key is no raw id.
    rate_limiter
        .count(caller.tenant.as_str(), &caller.id.to_string(), Instant::now())
        .map_err(|after| {
            let detail = "this API key revokes too often; revoke all tokens of a key, or all that were issued before an instant, at once";
            Problem::too_many(detail, after)
        })?;
    if let RevokedTokens::Key(key) = revoked
        && is_key_revoked(&store, &caller.tenant, key).await?
    {
        issued_until = IssuedUntil::Forever;
    }
    let response = RevocationResponse {
        raw_id: match &revoked {
            RevokedTokens::Person(raw_id) => Some(raw_id.clone()),
            RevokedTokens::Key(_) | RevokedTokens::All => None,
        },
        key: match revoked {
            RevokedTokens::Key(key) => Some(key),
            RevokedTokens::Person(_) | RevokedTokens::All => None,
        },
        issued_before: match issued_until {
            IssuedUntil::At(instant) => Some(instant_text(instant)?),
            IssuedUntil::Forever => None,
        },
    };
    let revocation = TokenRevocation { tenant: caller.tenant, tokens: revoked, issued_until };
    store.revoke_tokens(&revocation, Some(caller.id)).await?;
    tracing::info!(
        tenant = %revocation.tenant,
        key.id = %caller.id,
        "subscriber tokens of the tenant {} were revoked by the API key {}",
        revocation.tenant,
        caller.id
    );
    tokens.revocations().add([revocation], now);
    Ok((StatusCode::CREATED, Json(response)))
}

fn instant_text(instant: Millis) -> Result<String, Problem> {
    DateTime::from_timestamp_millis(instant)
        .map(millis)
        .ok_or_else(|| Problem::invalid("/issued_before", "this instant is out of range"))
}

/// Whether a key is revoked. A key must exist: the revocation of a mistyped id would revoke nothing.
async fn is_key_revoked(store: &Postgres, tenant: &Tenant, key: Uuid) -> Result<bool, Problem> {
    let known = store.api_keys().await?;
    let key = known.iter().find(|known| known.id == key && known.tenant == *tenant);
    let key = key.ok_or_else(|| {
        let detail = "no API key of this tenant has this id; `onrecord key list` shows the ids";
        Problem::invalid("/key", detail)
    })?;
    Ok(key.revoked_at.is_some())
}

/// Reads the revocations until the stop.
pub(crate) async fn follow(tokens: SubscriberTokens, store: Postgres, lifecycle: Lifecycle) {
    // The first read is of all revocations that may cover a valid token.
    let mut recorded_after = 0;
    let soft = lifecycle.soft().clone();
    while !soft.is_cancelled() {
        match read_new(tokens.revocations(), &store, recorded_after).await {
            Ok(read_through) => recorded_after = read_through,
            Err(error) => {
                tracing::debug!(error = %error, "the token revocations stay as they were: {error}");
            }
        }
        soft.run_until_cancelled(tokio::time::sleep(READ_INTERVAL)).await;
    }
}

/// Reads the revocations that were recorded after an instant (ms), page by page. Returns after which
/// instant those of the next read are recorded.
async fn read_new(
    revocations: &TokenRevocations,
    store: &Postgres,
    recorded_after: Millis,
) -> Result<Millis, StoreError> {
    let mut read_through = recorded_after;
    let mut unread = UnreadRevocations {
        recorded_after,
        issued_after: revocations.expired_until(clock::now_ms()),
        after_id: 0,
    };
    while let Some(page) = store.token_revocations(&unread).await? {
        if unread.after_id == 0 {
            read_through = recorded_after.max(page.read_at - READ_OVERLAP);
        }
        unread.after_id = page.last_id;
        revocations.add(page.revocations, clock::now_ms());
        if !page.is_full {
            break;
        }
    }
    Ok(read_through)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::http::body;

    const NOW: Millis = 1_764_384_000_000;

    fn tokens(body: Value) -> Result<(RevokedTokens, IssuedUntil), String> {
        body::deserialize::<RevocationBody>(body)
            .and_then(|body| body.tokens(NOW))
            .map_err(|problem| serde_json::to_string(&problem).unwrap())
    }

    #[test]
    fn a_person_and_a_key_are_revoked_until_now_and_all_tokens_until_the_instant() {
        let person = RevokedTokens::Person("8:acs:r_u".to_owned());
        let now = IssuedUntil::At(NOW);
        assert_eq!(tokens(json!({"raw_id": "8:acs:r_u"})), Ok((person.clone(), now)));
        assert_eq!(tokens(json!({"raw_id": "8:ACS:R_U"})), Ok((person, now)), "in any case");
        assert_eq!(tokens(json!({"key": Uuid::max()})), Ok((RevokedTokens::Key(Uuid::max()), now)));
        let earlier = tokens(json!({"issued_before": "2025-11-29T01:00:00+01:00"}));
        assert_eq!(earlier, Ok((RevokedTokens::All, IssuedUntil::At(1_764_374_400_000))));
    }

    #[test]
    fn anything_but_exactly_one_choice_is_rejected_with_its_member() {
        for (body, member) in [
            (json!({}), ""),
            (json!({"raw_id": "8:acs:r_u", "key": Uuid::max()}), ""),
            (json!({"raw_id": "a\u{0}b"}), "/raw_id"),
            (json!({"raw_id": "REDACTED"}), "/raw_id"),
            (json!({"raw_id": " 8:acs:r_u"}), "/raw_id"),
            (json!({"raw_id": "8:acs:r_u\u{200b}"}), "/raw_id"),
            (json!({"raw_id": "8:acs:alice"}), "/raw_id"),
            (json!({"key": "backend"}), "/key"),
            (json!({"issued_before": "2099-01-01T00:00:00Z"}), "/issued_before"),
            (json!({"issued_before": "yesterday"}), "/issued_before"),
            (json!({"person": "8:acs:r_u"}), "/person"),
        ] {
            let problem = tokens(body).unwrap_err();
            assert!(problem.contains(&format!("\"member\":\"{member}\"")), "{member}: {problem}");
        }
    }
}
