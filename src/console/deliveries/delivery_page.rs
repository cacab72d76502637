//! One message of an outbound webhook, with the timeline of its attempts.

use askama::Template;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use uuid::Uuid;

use super::delivery_list::message_state;
use crate::console::context::ConsoleContext;
use crate::console::display::length::exact_ms;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::PageVisit;
use crate::http::api_role::ApiRole;
use crate::http::auth::AuditorRole;
use crate::http::problem::Problem;
use crate::postgres::{MessageState, StoredAttempt, StoredMessage};
use crate::query::access_log::{Access, Logged};

#[derive(Template)]
#[template(path = "delivery.html")]
struct DeliveryTemplate {
    f: PageFrame,
    message: StoredMessage,
    attempts: Vec<StoredAttempt>,
    data: String,
    may_act: bool,
}

impl DeliveryTemplate {
    fn state(&self) -> &'static str {
        message_state(&self.message.state)
    }

    fn reason(&self) -> Option<&str> {
        match &self.message.state {
            MessageState::Exhausted { reason, .. } | MessageState::Dropped { reason, .. } => {
                Some(reason)
            }
            _ => None,
        }
    }

    /// What follows, with its instant.
    fn next(&self) -> Option<(&'static str, String)> {
        let at = |at| self.f.at(at).text();
        match &self.message.state {
            MessageState::Due { due_at } | MessageState::Retrying { due_at } => {
                Some((self.f.t("deliveries.next_attempt"), at(due_at)))
            }
            MessageState::Delivered { finished_at }
            | MessageState::Exhausted { finished_at, .. }
            | MessageState::Dropped { finished_at, .. } => {
                Some((self.f.t("deliveries.finished"), at(finished_at)))
            }
            MessageState::InFlight { .. } => None,
        }
    }

    fn length(&self, ms: &i32) -> String {
        exact_ms((*ms).into())
    }
}

/// A message that there is not.
pub(super) fn unknown_message() -> Problem {
    Problem::not_found("no message of yours has this id; it may have been deleted")
}

pub(in crate::console) async fn delivery(
    State(context): State<ConsoleContext>,
    visit: PageVisit<AuditorRole>,
    path: Result<Path<(Uuid, String)>, PathRejection>,
) -> Result<Response, Problem> {
    let PageVisit { visit, reader, signed_in, .. } = visit;
    let Path((webhook, id)) = path.map_err(|_| unknown_message())?;
    let turn = reader.snapshot_turn().await?;
    let mut snapshot = context.query.store.read(&signed_in.caller.tenant).await?;
    let found = snapshot.webhook_message(webhook, &id).await?;
    drop(snapshot);
    drop(turn);
    let (message, attempts) = found.ok_or_else(unknown_message)?;
    if let Some(call) = message.call.clone() {
        Logged::of(&reader, Access::Call(call), ()).await?;
    }
    page(&DeliveryTemplate {
        f: PageFrame::of(&visit, Section::Deliveries, visit.words.t("deliveries.one")),
        data: format!("{:#}", message.data),
        may_act: signed_in.caller.role == ApiRole::Admin,
        message,
        attempts,
    })
}
