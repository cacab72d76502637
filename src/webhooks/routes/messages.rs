//! The messages of a subscription, and their attempts.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::access::{WebhookManagers, WebhookReaders, unknown_message, unknown_webhook};
use super::message_query::MessageQuery;
use super::subscriptions::find;
use crate::clock;
use crate::http::auth::{Authorized, Caller};
use crate::http::body::QueryParameters;
use crate::http::paging::{self, ListBinding};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::purpose::StatedPurpose;
use crate::openapi::problem_sets::{ApiKeyProblems, ConflictProblems, IdProblems};
use crate::postgres::event_name::EVENT_NAMES;
use crate::postgres::{AccessRow, MESSAGE_STATES, MessageFilter, StoredAttempt, StoredMessage};
use crate::webhooks::context::WebhookRoutesContext;

/// Messages.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookMessageList)]
pub(super) struct MessageListView {
    /// The messages, last made first.
    messages: Vec<StoredMessage>,
    /// Pass it as `cursor`, with the same parameters, for the following rows. Absent: there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// One message with its attempts.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookMessageDetail)]
pub(super) struct MessageView {
    #[serde(flatten)]
    message: StoredMessage,
    /// The data of the event, without its cursor.
    data: Value,
    /// The attempts that ended, in their order.
    timeline: Vec<StoredAttempt>,
}

/// Lists the messages of a subscription.
///
/// Last made first.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{id}/messages",
    operation_id = "listWebhookMessages",
    tag = "webhooks",
    security(("api_key" = ["auditor", "admin"])),
    params(
        ("id" = Uuid, Path, description = "The id of the subscription."),
        MessageQuery,
    ),
    responses(
        (status = 200, description = "The messages.", body = MessageListView),
        ApiKeyProblems,
        IdProblems,
    ),
)]
pub(super) async fn list(
    State(context): State<WebhookRoutesContext>,
    Authorized { caller, .. }: Authorized<WebhookReaders>,
    id: Result<Path<Uuid>, PathRejection>,
    QueryParameters(query): QueryParameters<MessageQuery>,
) -> Result<Json<MessageListView>, Problem> {
    let Path(id) = id.map_err(|_| unknown_webhook())?;
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let binding = ListBinding::of("webhook_messages", &(id, &query))?;
    let before = binding.parse_cursor::<i64>(query.cursor.as_deref())?;
    if query.state.as_deref().is_some_and(|state| !MESSAGE_STATES.contains(&state)) {
        let detail = format!("state is {}", MESSAGE_STATES.join(", "));
        return Err(Problem::invalid("state", detail).allowing(MESSAGE_STATES));
    }
    let names = EVENT_NAMES;
    let is_name = |name: &str| names.contains(&name) || name.starts_with("webhook.");
    if query.r#type.as_deref().is_some_and(|name| !is_name(name)) {
        return Err(Problem::invalid("type", "no event has this name").allowing(names));
    }
    find(&context, &caller.tenant, id).await?;
    let filter = MessageFilter { state: query.state, name: query.r#type, event: query.event };
    let mut snapshot = context.store.read(&caller.tenant).await?;
    let messages = snapshot.webhook_messages(id, &filter, before, limit).await?;
    let next = binding.next_cursor(&messages, limit, |last| last.position);
    Ok(Json(MessageListView { messages, next }))
}

/// Reads one message with its attempts.
///
/// The access log has a row of it where the message is about a call.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{id}/messages/{message}",
    operation_id = "getWebhookMessage",
    tag = "webhooks",
    security(("api_key" = ["auditor", "admin"])),
    params(
        ("id" = Uuid, Path, description = "The id of the subscription."),
        ("message" = String, Path, description = "The id of the message."),
    ),
    responses(
        (status = 200, description = "The message.", body = MessageView),
        ApiKeyProblems,
        IdProblems,
    ),
)]
pub(super) async fn one(
    State(context): State<WebhookRoutesContext>,
    Authorized { caller, .. }: Authorized<WebhookReaders>,
    StatedPurpose(purpose): StatedPurpose,
    path: Result<Path<(Uuid, String)>, PathRejection>,
) -> Result<Json<MessageView>, Problem> {
    let Path((id, message)) = path.map_err(|_| unknown_message())?;
    let mut snapshot = context.store.read(&caller.tenant).await?;
    let found = snapshot.webhook_message(id, &message).await?;
    drop(snapshot);
    let (mut message, timeline) = found.ok_or_else(unknown_message)?;
    log_read(&context, &caller, purpose, &message).await?;
    let data = message.data.take();
    Ok(Json(MessageView { message, data, timeline }))
}

/// Appends the row of the access log for a message about a call: without the row there is no answer.
async fn log_read(
    context: &WebhookRoutesContext,
    caller: &Caller,
    purpose: Option<String>,
    message: &StoredMessage,
) -> Result<(), Problem> {
    let Some(call) = message.call.clone() else { return Ok(()) };
    let row = AccessRow {
        id: Uuid::now_v7(),
        at: clock::now(),
        actor: caller.kind.as_str().to_owned(),
        api_key: caller.id,
        key_name: caller.name.clone(),
        role: caller.role.as_str().to_owned(),
        what: "call".to_owned(),
        route: "GET /v1/webhooks/{id}/messages/{message}".to_owned(),
        call: Some(call),
        person: None,
        subject: Some(message.id.clone()),
        purpose,
    };
    Ok(context.store.log_access(&caller.tenant, &row).await?)
}

/// Sends a message again.
///
/// It has the id that it had. A message that waits is sent at once.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/messages/{message}/redeliver",
    operation_id = "redeliverWebhookMessage",
    tag = "webhooks",
    security(("api_key" = ["admin"])),
    params(
        ("id" = Uuid, Path, description = "The id of the subscription."),
        ("message" = String, Path, description = "The id of the message."),
    ),
    responses(
        (status = 202, description = "It is sent soon, if the subscription is active."),
        ApiKeyProblems,
        ConflictProblems,
        IdProblems,
    ),
)]
pub(super) async fn redeliver(
    State(context): State<WebhookRoutesContext>,
    Authorized { caller, .. }: Authorized<WebhookManagers>,
    path: Result<Path<(Uuid, String)>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path((id, message)) = path.map_err(|_| unknown_message())?;
    if context.store.redeliver_webhook_message(&caller.tenant, id, &message).await? {
        return Ok(StatusCode::ACCEPTED);
    }
    let mut snapshot = context.store.read(&caller.tenant).await?;
    match snapshot.webhook_message(id, &message).await? {
        Some(_) => Err(Problem::new(
            ProblemKind::Conflict,
            "an attempt at the message goes on, or it is a challenge or a last notice",
        )),
        None => Err(unknown_message()),
    }
}
