//! What admins do with webhooks: pause, resume, test, send a message again.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use uuid::Uuid;

use super::delivery_list::PATH;
use super::delivery_page::unknown_message;
use crate::console::context::ConsoleContext;
use crate::console::form::FormBody;
use crate::console::session::token::random_token;
use crate::console::visit::PageVisit;
use crate::http::auth::AdminRole;
use crate::http::body::CallerBody;
use crate::http::problem::{Problem, ProblemKind};
use crate::postgres::WebhookChange;

/// The body of a form of an admin.
type AdminForm = CallerBody<PageVisit<AdminRole>, FormBody>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoDeliveryFields {}

fn unknown_webhook() -> Problem {
    Problem::not_found("no webhook of yours has this id")
}

fn answer(id: Uuid, change: WebhookChange) -> Result<Response, Problem> {
    match change {
        WebhookChange::Changed => Ok(Redirect::to(&format!("{PATH}?webhook={id}")).into_response()),
        WebhookChange::NotPermitted => Err(Problem::new(
            ProblemKind::Conflict,
            "the state of the webhook does not permit it; open the page again",
        )),
        WebhookChange::Unknown => Err(unknown_webhook()),
    }
}

pub(in crate::console) async fn act(
    State(context): State<ConsoleContext>,
    path: Result<Path<(Uuid, String)>, PathRejection>,
    form: AdminForm,
) -> Result<Response, Problem> {
    let CallerBody { caller: visit, value, .. } = form;
    let NoDeliveryFields {} = value.checked(&visit.signed_in.form_token)?;
    let Path((id, action)) = path.map_err(|_| unknown_webhook())?;
    let (store, caller) = (&context.query.store, &visit.signed_in.caller);
    let change = match action.as_str() {
        "pause" => store.pause_webhook(&caller.tenant, id).await?,
        "resume" => store.resume_webhook(&caller.tenant, id, &random_token()).await?,
        "test" => store.test_webhook(&caller.tenant, id, Uuid::now_v7(), &caller.name).await?,
        _ => return Err(Problem::not_found("a webhook can be paused, resumed and tested")),
    };
    answer(id, change)
}

pub(in crate::console) async fn redeliver(
    State(context): State<ConsoleContext>,
    path: Result<Path<(Uuid, String)>, PathRejection>,
    form: AdminForm,
) -> Result<Response, Problem> {
    let CallerBody { caller: visit, value, .. } = form;
    let NoDeliveryFields {} = value.checked(&visit.signed_in.form_token)?;
    let Path((id, message)) = path.map_err(|_| unknown_message())?;
    let tenant = &visit.signed_in.caller.tenant;
    if context.query.store.redeliver_webhook_message(tenant, id, &message).await? {
        Ok(Redirect::to(&format!("{PATH}/{id}/messages/{message}")).into_response())
    } else {
        Err(unknown_message())
    }
}
