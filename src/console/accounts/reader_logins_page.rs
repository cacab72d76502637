//! Logins for SQL clients: list, create as `onrecord reader create` does, drop.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use postgres_protocol::password::scram_sha_256;
use serde::Deserialize;

use crate::console::context::ConsoleContext;
use crate::console::form::FormBody;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::session::token::random_token;
use crate::console::visit::{PageVisit, Visit};
use crate::http::auth::{AdminRole, Caller};
use crate::http::body::{CallerBody, secrets};
use crate::http::problem::Problem;
use crate::postgres::{DropOutcome, LoginRefusal, ReaderLoginRow};

/// Maximum length of the name of a login, in bytes: that of a role of PostgreSQL.
const MAX_NAME: usize = 63;

/// What the page says first.
enum LoginNotice {
    None,
    /// A new login with its password, which is shown once.
    Created {
        login: String,
        password: String,
    },
    Dropped {
        text: &'static str,
        login: String,
    },
    Refused {
        text: &'static str,
        login: String,
    },
}

#[derive(Template)]
#[template(path = "reader_logins.html")]
struct ReaderLoginsTemplate {
    f: PageFrame,
    tenant: String,
    logins: Vec<ReaderLoginRow>,
    notice: LoginNotice,
}

async fn shown(
    context: &ConsoleContext,
    visit: &Visit,
    caller: &Caller,
    notice: LoginNotice,
) -> Result<Response, Problem> {
    let status = match notice {
        LoginNotice::Refused { .. } => StatusCode::CONFLICT,
        _ => StatusCode::OK,
    };
    let shown = page(&ReaderLoginsTemplate {
        tenant: caller.tenant.as_str().to_owned(),
        logins: context.query.store.reader_logins_of(&caller.tenant).await?,
        notice,
        f: PageFrame::of(visit, Section::Settings, visit.words.t("readers.title")),
    })?;
    Ok((status, shown).into_response())
}

pub(in crate::console) async fn reader_logins(
    State(context): State<ConsoleContext>,
    visit: PageVisit<AdminRole>,
) -> Result<Response, Problem> {
    let PageVisit { visit, signed_in, .. } = visit;
    shown(&context, &visit, &signed_in.caller, LoginNotice::None).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginFields {
    name: String,
}

/// The name of a login that the service creates or drops.
fn checked_name(name: &str) -> Result<String, Problem> {
    let name = name.trim();
    if !(1..=MAX_NAME).contains(&name.len()) || name.chars().any(char::is_control) {
        return Err(Problem::invalid("name", "the name of a login has 1 to 63 bytes"));
    }
    secrets::check_parameter("name", name)?;
    Ok(name.to_owned())
}

/// Creates a login, and shows its password once.
pub(in crate::console) async fn create(
    State(context): State<ConsoleContext>,
    form: CallerBody<PageVisit<AdminRole>, FormBody>,
) -> Result<Response, Problem> {
    let CallerBody { caller: PageVisit { visit, signed_in, .. }, value, .. } = form;
    let fields: LoginFields = value.checked(&signed_in.form_token)?;
    let (login, caller) = (checked_name(&fields.name)?, &signed_in.caller);
    let password = random_token();
    let verifier = scram_sha_256(password.as_bytes());
    let created = context.query.store.create_reader_login(&caller.tenant, &login, &verifier).await;
    let notice = match created {
        Ok(()) => {
            tracing::info!(console.by = %caller.id, tenant = %caller.tenant, "the login {login} was created in the console by {}", caller.id);
            LoginNotice::Created { login, password }
        }
        Err(error) => {
            let refusal = LoginRefusal::of(&error).ok_or(error)?;
            LoginNotice::Refused { text: refusal_text(&visit, refusal), login }
        }
    };
    shown(&context, &visit, caller, notice).await
}

/// Drops a login, and ends its connections.
pub(in crate::console) async fn drop_login(
    State(context): State<ConsoleContext>,
    form: CallerBody<PageVisit<AdminRole>, FormBody>,
) -> Result<Response, Problem> {
    let CallerBody { caller: PageVisit { visit, signed_in, .. }, value, .. } = form;
    let fields: LoginFields = value.checked(&signed_in.form_token)?;
    let (login, caller) = (checked_name(&fields.name)?, &signed_in.caller);
    let text = match context.query.store.drop_reader_login(&caller.tenant, &login).await {
        Ok(DropOutcome::Dropped) => "readers.dropped",
        Ok(DropOutcome::DroppedWithConnections) => "readers.dropped_with_connections",
        Ok(DropOutcome::Unknown) => {
            return Err(Problem::not_found("no login of yours has this name"));
        }
        Err(error) => {
            let refusal = LoginRefusal::of(&error).ok_or(error)?;
            let notice = LoginNotice::Refused { text: refusal_text(&visit, refusal), login };
            return shown(&context, &visit, caller, notice).await;
        }
    };
    tracing::info!(console.by = %caller.id, tenant = %caller.tenant, "the login {login} was dropped in the console by {}", caller.id);
    let notice = LoginNotice::Dropped { text: visit.words.t(text), login };
    shown(&context, &visit, caller, notice).await
}

fn refusal_text(visit: &Visit, refusal: LoginRefusal) -> &'static str {
    visit.words.t(match refusal {
        LoginRefusal::NameTaken => "readers.taken",
        LoginRefusal::NotPermitted => "readers.not_permitted",
        LoginRefusal::Reserved => "readers.reserved",
        LoginRefusal::InUse => "readers.in_use",
    })
}
