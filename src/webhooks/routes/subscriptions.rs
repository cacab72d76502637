//! The resources of subscriptions.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::access::{WebhookManagers, WebhookReaders, unknown_webhook};
use super::manage;
use super::subscription_body::{WebhookBody, WebhookChangeBody};
use crate::http::auth::Authorized;
use crate::http::body::{CallerBody, QueryParameters};
use crate::http::paging::{self, ListBinding, PageQuery};
use crate::http::problem::Problem;
use crate::openapi::problem_sets::{ApiKeyProblems, BodyProblems, IdProblems, SettingProblems};
use crate::postgres::{SecretInfo, SignatureAlgorithm, StoredWebhook};
use crate::webhooks::context::WebhookRoutesContext;
use crate::webhooks::signature::signing_secret::public_key_text;
use onrecord_evidence::event::ids::Tenant;

/// A subscription with what may be read of its secrets.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookDetail)]
pub(super) struct WebhookView {
    #[serde(flatten)]
    webhook: StoredWebhook,
    /// The secrets that sign, the current one first. During a rotation there are two.
    secrets: Vec<SecretView>,
}

/// What may be read of a secret.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookSecretDetail)]
pub(super) struct SecretView {
    #[serde(flatten)]
    secret: SecretInfo,
    /// The public key (`whpk_…`) of a subscription with the algorithm `v1a`. Null: it has another one.
    #[schema(required = true)]
    public_key: Option<String>,
}

/// A new subscription, with its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = NewWebhook)]
pub(super) struct CreatedWebhookView {
    #[serde(flatten)]
    webhook: WebhookView,
    /// The secret (`whsec_…`). It is shown here only. Absent with the algorithm `v1a`, whose public key is
    /// in `secrets`.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// Subscriptions.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookList)]
pub(super) struct WebhookListView {
    /// The subscriptions, last created first.
    webhooks: Vec<StoredWebhook>,
    /// Pass it as `cursor`, with the same parameters, for the following rows. Absent: there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Creates a subscription.
///
/// It is `pending` until its receiver has answered a challenge: a signed message
/// `webhook.challenge`, whose answer must have the status 2xx and the challenge.
#[utoipa::path(
    post,
    path = "/v1/webhooks",
    operation_id = "createWebhook",
    tag = "webhooks",
    security(("api_key" = ["admin"])),
    request_body(content = WebhookBody, description = "What the subscription receives, and where."),
    responses(
        (status = 201, description = "The subscription, and its secret, which is shown here only.", body = CreatedWebhookView, headers(("location" = String, description = "The path of the subscription."))),
        ApiKeyProblems,
        BodyProblems,
        SettingProblems,
    ),
)]
pub(super) async fn create(
    State(context): State<WebhookRoutesContext>,
    body: CallerBody<Authorized<WebhookManagers>, WebhookBody>,
) -> Result<impl IntoResponse, Problem> {
    let caller = body.caller.caller;
    let order = body.value.parse(&context.manager.rules)?;
    let created_by = (Some(caller.id), caller.name.as_str());
    let (id, shown) = manage::create(&context.manager, &caller.tenant, &order, created_by).await?;
    let webhook = read(&context, &caller.tenant, id).await?;
    let secret = (order.algorithm == SignatureAlgorithm::V1).then_some(shown);
    let location = [(header::LOCATION, format!("/v1/webhooks/{id}"))];
    Ok((StatusCode::CREATED, location, Json(CreatedWebhookView { webhook, secret })))
}

/// Lists subscriptions.
///
/// Last created first.
#[utoipa::path(
    get,
    path = "/v1/webhooks",
    operation_id = "listWebhooks",
    tag = "webhooks",
    security(("api_key" = ["auditor", "admin"])),
    params(
        PageQuery,
    ),
    responses(
        (status = 200, description = "The subscriptions.", body = WebhookListView),
        ApiKeyProblems,
    ),
)]
pub(super) async fn list(
    State(context): State<WebhookRoutesContext>,
    Authorized { caller, .. }: Authorized<WebhookReaders>,
    QueryParameters(query): QueryParameters<PageQuery>,
) -> Result<Json<WebhookListView>, Problem> {
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let binding = ListBinding::of("webhooks", &())?;
    let after = binding.parse_cursor::<(DateTime<Utc>, Uuid)>(query.cursor.as_deref())?;
    let webhooks = context.store.read(&caller.tenant).await?.webhooks(after, limit).await?;
    let next = binding.next_cursor(&webhooks, limit, |last| (last.created_at, last.id));
    Ok(Json(WebhookListView { webhooks, next }))
}

/// Reads one subscription.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{id}",
    operation_id = "getWebhook",
    tag = "webhooks",
    security(("api_key" = ["auditor", "admin"])),
    params(
        ("id" = Uuid, Path, description = "The id of the subscription."),
    ),
    responses(
        (status = 200, description = "The subscription.", body = WebhookView),
        ApiKeyProblems,
        IdProblems,
    ),
)]
pub(super) async fn one(
    State(context): State<WebhookRoutesContext>,
    Authorized { caller, .. }: Authorized<WebhookReaders>,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<WebhookView>, Problem> {
    let Path(id) = id.map_err(|_| unknown_webhook())?;
    Ok(Json(read(&context, &caller.tenant, id).await?))
}

/// Changes a subscription.
///
/// What is absent stays as it is.
#[utoipa::path(
    patch,
    path = "/v1/webhooks/{id}",
    operation_id = "changeWebhook",
    tag = "webhooks",
    security(("api_key" = ["admin"])),
    params(
        ("id" = Uuid, Path, description = "The id of the subscription."),
    ),
    request_body(content = WebhookChangeBody, description = "What changes."),
    responses(
        (status = 200, description = "The subscription.", body = WebhookView),
        ApiKeyProblems,
        BodyProblems,
        IdProblems,
    ),
)]
pub(super) async fn change(
    State(context): State<WebhookRoutesContext>,
    id: Result<Path<Uuid>, PathRejection>,
    body: CallerBody<Authorized<WebhookManagers>, WebhookChangeBody>,
) -> Result<Json<WebhookView>, Problem> {
    let caller = body.caller.caller;
    let Path(id) = id.map_err(|_| unknown_webhook())?;
    let stored = find(&context, &caller.tenant, id).await?;
    let order = body.value.parse(&stored, &context.manager.rules)?;
    if !manage::change(&context.manager, &caller.tenant, &stored, &order).await? {
        return Err(unknown_webhook());
    }
    Ok(Json(read(&context, &caller.tenant, id).await?))
}

/// Deletes a subscription.
///
/// Its messages are deleted too.
#[utoipa::path(
    delete,
    path = "/v1/webhooks/{id}",
    operation_id = "deleteWebhook",
    tag = "webhooks",
    security(("api_key" = ["admin"])),
    params(
        ("id" = Uuid, Path, description = "The id of the subscription."),
    ),
    responses(
        (status = 204, description = "It is deleted."),
        ApiKeyProblems,
        IdProblems,
    ),
)]
pub(super) async fn delete(
    State(context): State<WebhookRoutesContext>,
    Authorized { caller, .. }: Authorized<WebhookManagers>,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path(id) = id.map_err(|_| unknown_webhook())?;
    if context.store.delete_webhook(&caller.tenant, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(unknown_webhook())
    }
}

/// A subscription of the tenant.
pub(super) async fn find(
    context: &WebhookRoutesContext,
    tenant: &Tenant,
    id: Uuid,
) -> Result<StoredWebhook, Problem> {
    let found = context.store.read(tenant).await?.webhook(id).await?;
    found.ok_or_else(unknown_webhook)
}

/// A subscription of the tenant, with what may be read of its secrets.
pub(super) async fn read(
    context: &WebhookRoutesContext,
    tenant: &Tenant,
    id: Uuid,
) -> Result<WebhookView, Problem> {
    let webhook = find(context, tenant, id).await?;
    let secrets = context.store.webhook_secrets(tenant, id).await?;
    let secrets = secrets.into_iter().map(|secret| SecretView {
        public_key: secret.public_key.as_deref().map(public_key_text),
        secret,
    });
    Ok(WebhookView { webhook, secrets: secrets.collect() })
}
