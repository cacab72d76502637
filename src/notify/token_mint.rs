//! `POST /v1/subscriber-tokens`: a backend's API key becomes a token for one of its users.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::Notify;
use super::token::Subscriber;
use crate::clock;
use crate::domain::instant;
use crate::http::body::JsonBody;
use crate::http::problem::{Problem, ProblemKind};
use crate::store::Role;

/// Without `ttl_s` a token lives so long.
const USUAL_LIFE: i64 = 3600;
const LONGEST_RAW_ID: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    participant: OrderedParticipant,
    ttl_s: Option<i64>,
    app: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderedParticipant {
    raw_id: String,
}

#[derive(Serialize)]
pub(super) struct Minted {
    token: String,
    expires_at: Option<String>,
}

pub(super) async fn mint(
    State(notify): State<Notify>,
    headers: HeaderMap,
    order: Result<JsonBody<Order>, Problem>,
) -> Result<(StatusCode, Json<Minted>), Problem> {
    let caller = notify.keys.caller(&headers).await?;
    caller.must_be(&[Role::App])?;
    let order = order?.value;
    let raw_id = order.participant.raw_id;
    if raw_id.trim().is_empty() || raw_id.len() > LONGEST_RAW_ID {
        let detail = format!(
            "participant.raw_id is the participant's ACS or Teams raw id, 1 to {LONGEST_RAW_ID} bytes, for example 8:acs:…"
        );
        return Err(Problem::invalid("/participant/raw_id", detail));
    }
    let longest = notify.tokens.longest();
    let life = order.ttl_s.unwrap_or(USUAL_LIFE.min(seconds(longest)));
    if life < 1 || life > seconds(longest) {
        return Err(Problem::invalid(
            "/ttl_s",
            format!(
                "ttl_s is a number of seconds from 1 to {}",
                seconds(longest)
            ),
        ));
    }
    let expires = clock::now_ms() / 1000 + life;
    let subscriber = Subscriber::new(caller.tenant, raw_id, order.app, expires);
    let token = notify
        .tokens
        .mint(&subscriber)
        .map_err(|_| Problem::new(ProblemKind::Internal, "the token cannot be made"))?;
    Ok((
        StatusCode::CREATED,
        Json(Minted {
            token,
            expires_at: instant::text(expires * 1000),
        }),
    ))
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
