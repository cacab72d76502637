//! Opens a session, and logs it: the one way in, for each kind of sign-in.

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use metrics::counter;
use uuid::Uuid;

use super::cookie::ConsoleCookie;
use crate::clock;
use crate::console::context::ConsoleContext;
use crate::console::visit::Visit;
use crate::http::auth::{Caller, CallerKind};
use crate::http::problem::Problem;
use crate::postgres::{AccessRow, SessionActor};
use crate::telemetry::names;
use onrecord_evidence::event::ids::Tenant;

/// Opens a session, and continues with a page. The session that the browser had before ends: its token is
/// never that of the new one.
pub(in crate::console::session) async fn open_session(
    context: &ConsoleContext,
    visit: &Visit,
    caller: &Caller,
    actor: SessionActor,
    headers: &HeaderMap,
    then: &str,
) -> Result<Response, Problem> {
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    log_sign_in(context, SignInLogEntry::of(caller, "sign_in", &visit.route)).await?;
    let sessions = &context.sessions;
    let replaces = visit.session_hash;
    let token = sessions.open(&caller.tenant, actor, user_agent, replaces, clock::now()).await?;
    counter!(names::CONSOLE_SIGN_INS, "outcome" => "signed_in").increment(1);
    let kind = match caller.kind {
        CallerKind::ApiKey => "key",
        CallerKind::User => "user",
    };
    tracing::info!(console.actor = %caller.id, tenant = %caller.tenant, "the {kind} {} signs in to the console", caller.id);
    let mut response = Redirect::to(then).into_response();
    let cookies = response.headers_mut();
    cookies.append(header::SET_COOKIE, ConsoleCookie::Session.set(&token, visit.is_local));
    cookies.append(header::SET_COOKIE, ConsoleCookie::SignInForm.remove(visit.is_local));
    Ok(response)
}

/// A sign-in, a sign-out or a refusal, for the access log.
#[derive(Clone, Debug)]
pub(in crate::console) struct SignInLogEntry<'a> {
    pub tenant: &'a Tenant,
    pub kind: CallerKind,
    /// The id of the API key or the user.
    pub actor: Uuid,
    pub name: &'a str,
    pub role: &'a str,
    pub what: &'static str,
    pub route: &'a str,
    pub subject: Option<String>,
}

impl<'a> SignInLogEntry<'a> {
    /// What a caller did.
    pub(in crate::console) fn of(caller: &'a Caller, what: &'static str, route: &'a str) -> Self {
        Self {
            tenant: &caller.tenant,
            kind: caller.kind,
            actor: caller.id,
            name: &caller.name,
            role: caller.role.as_str(),
            what,
            route,
            subject: None,
        }
    }
}

/// Appends a row to the access log.
///
/// # Errors
///
/// The row cannot be written: nothing is done without it.
pub(in crate::console) async fn log_sign_in(
    context: &ConsoleContext,
    entry: SignInLogEntry<'_>,
) -> Result<(), Problem> {
    let row = AccessRow {
        id: Uuid::now_v7(),
        at: clock::now(),
        actor: entry.kind.as_str().to_owned(),
        api_key: entry.actor,
        key_name: entry.name.to_owned(),
        role: entry.role.to_owned(),
        what: entry.what.to_owned(),
        route: entry.route.to_owned(),
        call: None,
        person: None,
        subject: entry.subject,
        purpose: None,
    };
    Ok(context.query.store.log_access(entry.tenant, &row).await?)
}
