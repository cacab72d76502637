//! What is done with a subscription: pause, resume, test, rotate its secret, send messages again.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::access::{WebhookManagers, unknown_webhook};
use super::manage::{self, new_challenge};
use super::subscriptions::{WebhookView, find, read};
use crate::clock;
use crate::http::auth::Authorized;
use crate::http::body::{CallerBody, RequestBody};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::timestamp::serialize_micros;
use crate::openapi::problem_sets::{
    ApiKeyProblems, BodyProblems, ConflictProblems, IdProblems, SettingProblems,
};
use crate::postgres::{RedeliveredMessages, SignatureAlgorithm, WebhookChange};
use crate::webhooks::context::WebhookRoutesContext;
use onrecord_evidence::event::instant;

/// The answer to a change of the state: the subscription, or a problem.
async fn changed(
    context: &WebhookRoutesContext,
    caller: &crate::http::auth::Caller,
    id: Uuid,
    change: WebhookChange,
    refusal: &str,
) -> Result<Json<WebhookView>, Problem> {
    match change {
        WebhookChange::Changed => Ok(Json(read(context, &caller.tenant, id).await?)),
        WebhookChange::NotPermitted => Err(Problem::new(ProblemKind::Conflict, refusal)),
        WebhookChange::Unknown => Err(unknown_webhook()),
    }
}

/// Pauses a subscription.
///
/// Messages are still made, and wait.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/pause",
    operation_id = "pauseWebhook",
    tag = "webhooks",
    security(("api_key" = ["admin"])),
    params(
        ("id" = Uuid, Path, description = "The id of the subscription."),
    ),
    responses(
        (status = 200, description = "The subscription.", body = WebhookView),
        ApiKeyProblems,
        IdProblems,
        ConflictProblems,
    ),
)]
pub(super) async fn pause(
    State(context): State<WebhookRoutesContext>,
    Authorized { caller, .. }: Authorized<WebhookManagers>,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<WebhookView>, Problem> {
    let Path(id) = id.map_err(|_| unknown_webhook())?;
    let change = context.store.pause_webhook(&caller.tenant, id).await?;
    changed(&context, &caller, id, change, "only an active webhook can be paused").await
}

/// Resumes a subscription.
///
/// One that is paused or disabled is active again, and what has waited is sent. One that is pending
/// is challenged again.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/resume",
    operation_id = "resumeWebhook",
    tag = "webhooks",
    security(("api_key" = ["admin"])),
    params(
        ("id" = Uuid, Path, description = "The id of the subscription."),
    ),
    responses(
        (status = 200, description = "The subscription.", body = WebhookView),
        ApiKeyProblems,
        IdProblems,
        ConflictProblems,
    ),
)]
pub(super) async fn resume(
    State(context): State<WebhookRoutesContext>,
    Authorized { caller, .. }: Authorized<WebhookManagers>,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<WebhookView>, Problem> {
    let Path(id) = id.map_err(|_| unknown_webhook())?;
    let change = context.store.resume_webhook(&caller.tenant, id, &new_challenge()).await?;
    changed(&context, &caller, id, change, "the webhook is active").await
}

/// Sends a test message.
///
/// Its event is `webhook.test`.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/test",
    operation_id = "testWebhook",
    tag = "webhooks",
    security(("api_key" = ["admin"])),
    params(
        ("id" = Uuid, Path, description = "The id of the subscription."),
    ),
    responses(
        (status = 200, description = "The subscription. The message is sent soon.", body = WebhookView),
        ApiKeyProblems,
        IdProblems,
        ConflictProblems,
    ),
)]
pub(super) async fn test(
    State(context): State<WebhookRoutesContext>,
    Authorized { caller, .. }: Authorized<WebhookManagers>,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<WebhookView>, Problem> {
    let Path(id) = id.map_err(|_| unknown_webhook())?;
    let event = Uuid::now_v7();
    let change = context.store.test_webhook(&caller.tenant, id, event, &caller.name).await?;
    changed(&context, &caller, id, change, "only an active webhook can be tested").await
}

/// A request to replace a secret.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = SecretRotation)]
pub(super) struct RotationBody {
    /// How long the secret before signs besides, in seconds. Default: 86400.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 2592000)]
    overlap_s: Option<u32>,
}

impl RequestBody for RotationBody {
    const MAX_BYTES: usize = 1024;
}

/// A new secret.
#[derive(Serialize, ToSchema)]
#[schema(as = RotatedSecret)]
pub(super) struct RotatedView {
    /// The new secret (`whsec_…`), which is shown here only. Absent with the algorithm `v1a`.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// The new public key (`whpk_…`). Absent with the algorithm `v1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    /// Until when the one before signs besides.
    #[serde(serialize_with = "serialize_micros")]
    previous_until: DateTime<Utc>,
}

/// Replaces the secret of a subscription.
///
/// Both sign until the one before ends; an older one ends at once.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/rotate",
    operation_id = "rotateWebhookSecret",
    tag = "webhooks",
    security(("api_key" = ["admin"])),
    params(
        ("id" = Uuid, Path, description = "The id of the subscription."),
    ),
    request_body(content = RotationBody, description = "How long both sign."),
    responses(
        (status = 200, description = "The new secret, which is shown here only.", body = RotatedView),
        ApiKeyProblems,
        BodyProblems,
        IdProblems,
        SettingProblems,
    ),
)]
pub(super) async fn rotate(
    State(context): State<WebhookRoutesContext>,
    id: Result<Path<Uuid>, PathRejection>,
    body: CallerBody<Authorized<WebhookManagers>, RotationBody>,
) -> Result<Json<RotatedView>, Problem> {
    let caller = body.caller.caller;
    let Path(id) = id.map_err(|_| unknown_webhook())?;
    let stored = find(&context, &caller.tenant, id).await?;
    let overlap = body.value.overlap_s.map(|seconds| Duration::from_secs(seconds.into()));
    let rotated = manage::rotate(&context.manager, &caller.tenant, &stored, overlap).await?;
    let (shown, previous_until) = rotated.ok_or_else(unknown_webhook)?;
    let (secret, public_key) = match stored.algorithm {
        SignatureAlgorithm::V1 => (Some(shown), None),
        SignatureAlgorithm::V1a => (None, Some(shown)),
    };
    Ok(Json(RotatedView { secret, public_key, previous_until }))
}

/// A request to send messages again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Redelivery)]
pub(super) struct RedeliveryBody {
    /// The first instant of the period in which the messages were made, RFC 3339.
    #[schema(format = DateTime)]
    since: String,
    /// The first instant after the period, RFC 3339. Default: now.
    #[serde(default)]
    #[schema(format = DateTime)]
    until: Option<String>,
    /// Which messages. `failed`: those that were exhausted or dropped. `all`: all that are finished, in their
    /// order.
    #[schema(value_type = RedeliveredKind)]
    which: String,
}

/// Which messages are sent again.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes the texts of a body")]
enum RedeliveredKind {
    Failed,
    All,
}

impl RequestBody for RedeliveryBody {
    const MAX_BYTES: usize = 4 * 1024;
}

/// Messages that are sent again.
#[derive(Serialize, ToSchema)]
#[schema(as = Redelivered)]
pub(super) struct RedeliveredView {
    /// Their number.
    messages: u64,
}

/// Sends messages again.
///
/// Those that failed since an instant, or all of a period. Each has the id that it had.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/redeliver",
    operation_id = "redeliverWebhookMessages",
    tag = "webhooks",
    security(("api_key" = ["admin"])),
    params(
        ("id" = Uuid, Path, description = "The id of the subscription."),
    ),
    request_body(content = RedeliveryBody, description = "Which messages."),
    responses(
        (status = 200, description = "How many messages are sent again.", body = RedeliveredView),
        ApiKeyProblems,
        BodyProblems,
        IdProblems,
    ),
)]
pub(super) async fn redeliver(
    State(context): State<WebhookRoutesContext>,
    id: Result<Path<Uuid>, PathRejection>,
    body: CallerBody<Authorized<WebhookManagers>, RedeliveryBody>,
) -> Result<Json<RedeliveredView>, Problem> {
    const WHICH: &[&str] = &["failed", "all"];
    let caller = body.caller.caller;
    let Path(id) = id.map_err(|_| unknown_webhook())?;
    let since = parse_instant("/since", &body.value.since)?;
    let until =
        body.value.until.as_deref().map(|text| parse_instant("/until", text)).transpose()?;
    let until = until.unwrap_or_else(clock::now);
    if since >= until {
        return Err(Problem::invalid("/until", "until is after since"));
    }
    let which = match body.value.which.as_str() {
        "failed" => RedeliveredMessages::Failed,
        "all" => RedeliveredMessages::All,
        _ => return Err(Problem::invalid("/which", "which is failed or all").allowing(WHICH)),
    };
    find(&context, &caller.tenant, id).await?;
    let period = (since, until);
    let messages =
        context.store.redeliver_webhook_messages(&caller.tenant, id, period, which).await?;
    Ok(Json(RedeliveredView { messages }))
}

fn parse_instant(member: &str, text: &str) -> Result<DateTime<Utc>, Problem> {
    instant::parse_source_time(text).ok_or_else(|| {
        let detail = "an instant in RFC 3339, for example 2026-11-23T18:00:00Z";
        Problem::invalid(member, detail)
    })
}
