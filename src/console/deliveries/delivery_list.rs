//! The subscriptions of outbound webhooks, and the messages of one of them.

use askama::Template;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use uuid::Uuid;

use crate::console::calls::typed_filter::TypedFilter;
use crate::console::context::ConsoleContext;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::PageVisit;
use crate::http::api_role::ApiRole;
use crate::http::auth::AuditorRole;
use crate::http::problem::Problem;
use crate::postgres::{
    MESSAGE_STATES, MessageFilter, MessageState, StoredMessage, StoredWebhook, WebhookState,
};

/// The path of the page.
pub(super) const PATH: &str = "/console/deliveries";
/// Maximum number of subscriptions on the page.
const MAX_WEBHOOKS: i64 = 1_000;
/// Number of messages of a page.
const PAGE: i64 = 50;

/// The name of the state of a subscription.
pub(super) fn webhook_state(state: &WebhookState) -> &'static str {
    match state {
        WebhookState::Pending { .. } => "pending",
        WebhookState::Active => "active",
        WebhookState::Paused => "paused",
        WebhookState::Disabled { .. } => "disabled",
    }
}

/// The name of the state of a message.
pub(super) fn message_state(state: &MessageState) -> &'static str {
    match state {
        MessageState::Due { .. } => "due",
        MessageState::InFlight { .. } => "in_flight",
        MessageState::Delivered { .. } => "delivered",
        MessageState::Retrying { .. } => "retrying",
        MessageState::Exhausted { .. } => "exhausted",
        MessageState::Dropped { .. } => "dropped",
    }
}

/// The messages of the subscription that is chosen.
struct ChosenWebhook {
    webhook: StoredWebhook,
    messages: Vec<StoredMessage>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "deliveries.html")]
struct DeliveriesTemplate {
    f: PageFrame,
    typed: TypedFilter,
    webhooks: Vec<StoredWebhook>,
    chosen: Option<ChosenWebhook>,
    /// The filter names a subscription, or a place in its list, that there is not.
    is_unknown: bool,
    may_act: bool,
}

impl DeliveriesTemplate {
    fn states(&self) -> Vec<(&'static str, String)> {
        let word = |state: &&'static str| {
            let word = self.f.words.find(&format!("message_state.{state}.word"));
            (*state, word.unwrap_or(state).to_owned())
        };
        MESSAGE_STATES.iter().map(word).collect()
    }

    fn webhook_state(&self, webhook: &StoredWebhook) -> &'static str {
        webhook_state(&webhook.state)
    }

    fn message_state(&self, message: &StoredMessage) -> &'static str {
        message_state(&message.state)
    }

    /// The address without its query, which may have a secret.
    fn address(&self, webhook: &StoredWebhook) -> String {
        webhook.url.split('?').next().unwrap_or_default().to_owned()
    }

    fn reason<'w>(&self, webhook: &'w StoredWebhook) -> Option<&'w str> {
        match &webhook.state {
            WebhookState::Pending { reason } => reason.as_deref(),
            WebhookState::Disabled { reason } => Some(reason),
            WebhookState::Active | WebhookState::Paused => None,
        }
    }

    fn next_address(&self, cursor: &str) -> String {
        self.typed.address(PATH, "cursor", cursor)
    }
}

pub(in crate::console) async fn deliveries(
    State(context): State<ConsoleContext>,
    visit: PageVisit<AuditorRole>,
    uri: Uri,
) -> Result<Response, Problem> {
    let PageVisit { visit, reader, signed_in, .. } = visit;
    let typed = TypedFilter::of(uri.query())?;
    let tenant = &signed_in.caller.tenant;
    let _turn = reader.snapshot_turn().await?;
    let mut snapshot = context.query.store.read(tenant).await?;
    let webhooks = snapshot.webhooks(None, MAX_WEBHOOKS).await?;
    let text = |name: &str| Some(typed.first(name).to_owned()).filter(|text| !text.is_empty());
    let wanted = text("webhook");
    let found = wanted.as_deref().and_then(|id| Uuid::try_parse(id).ok());
    let found = webhooks.iter().find(|webhook| Some(webhook.id) == found);
    let cursor = text("cursor").map(|cursor| cursor.parse::<i64>());
    let mut chosen = None;
    if let (Some(webhook), None | Some(Ok(_))) = (found, &cursor) {
        let filter =
            MessageFilter { state: text("state"), name: text("type"), event: text("event") };
        let before = cursor.as_ref().and_then(|cursor| cursor.as_ref().ok().copied());
        let messages = snapshot.webhook_messages(webhook.id, &filter, before, PAGE).await?;
        let is_full = i64::try_from(messages.len()).is_ok_and(|number| number == PAGE);
        let last = messages.last().filter(|_| is_full);
        let next = last.map(|last| last.position.to_string());
        chosen = Some(ChosenWebhook { webhook: webhook.clone(), messages, next });
    }
    drop(snapshot);
    let template = DeliveriesTemplate {
        f: PageFrame::of(&visit, Section::Deliveries, visit.words.t("deliveries.title")),
        is_unknown: wanted.is_some() && chosen.is_none(),
        may_act: signed_in.caller.role == ApiRole::Admin,
        typed,
        webhooks,
        chosen,
    };
    let shown = page(&template)?;
    let status = if template.is_unknown { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok((status, shown).into_response())
}
