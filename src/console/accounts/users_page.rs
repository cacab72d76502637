//! Who signed in to the console: users and API keys with their sessions, which an admin can end.

use std::collections::HashMap;

use askama::Template;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

use crate::clock;
use crate::console::context::ConsoleContext;
use crate::console::form::FormBody;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::session::opening::{SignInLogEntry, log_sign_in};
use crate::console::visit::PageVisit;
use crate::http::auth::AdminRole;
use crate::http::body::CallerBody;
use crate::http::problem::Problem;
use crate::postgres::{ListedSession, SignOut};
use onrecord_evidence::event::ids::Tenant;

/// The path of the page.
const PATH: &str = "/console/settings/users";

/// A user, or an API key that is signed in.
struct Person {
    id: Uuid,
    name: String,
    login: Option<String>,
    is_key: bool,
    role: String,
    last_sign_in_at: Option<DateTime<Utc>>,
    sessions: Vec<ListedSession>,
}

#[derive(Template)]
#[template(path = "users.html")]
struct UsersTemplate {
    f: PageFrame,
    people: Vec<Person>,
    /// The id of the reader.
    own: Uuid,
    /// The issuer of the users; `None`: only API keys sign in.
    issuer: Option<String>,
}

/// The users of a tenant, and its API keys that are signed in.
async fn people_of(context: &ConsoleContext, tenant: &Tenant) -> Result<Vec<Person>, Problem> {
    let store = &context.query.store;
    let mut sessions: HashMap<Uuid, Vec<ListedSession>> = HashMap::new();
    for session in context.sessions.of_tenant(tenant, clock::now()).await? {
        sessions.entry(session.actor).or_default().push(session);
    }
    let users = store.console_users_of(tenant).await?.into_iter().map(|user| Person {
        sessions: sessions.remove(&user.id).unwrap_or_default(),
        id: user.id,
        name: user.name,
        login: user.login,
        is_key: false,
        role: user.role,
        last_sign_in_at: Some(user.last_sign_in_at),
    });
    let mut people: Vec<Person> = users.collect();
    for key in store.api_keys_of(tenant).await? {
        let Some(sessions) = sessions.remove(&key.id) else { continue };
        people.push(Person {
            id: key.id,
            name: key.name,
            login: None,
            is_key: true,
            role: key.role.as_str().to_owned(),
            last_sign_in_at: sessions.iter().map(|session| session.created_at).max(),
            sessions,
        });
    }
    Ok(people)
}

pub(in crate::console) async fn users(
    State(context): State<ConsoleContext>,
    visit: PageVisit<AdminRole>,
) -> Result<Response, Problem> {
    let PageVisit { visit, signed_in, .. } = visit;
    page(&UsersTemplate {
        people: people_of(&context, &signed_in.caller.tenant).await?,
        own: signed_in.caller.id,
        issuer: context.sessions.provider().map(|provider| provider.settings().issuer.clone()),
        f: PageFrame::of(&visit, Section::Settings, visit.words.t("users.title")),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndFields {}

/// Ends all sessions of a user or an API key, in whatever tenant they are: each of them could come to this one.
pub(in crate::console) async fn end_sessions(
    State(context): State<ConsoleContext>,
    id: Result<Path<String>, PathRejection>,
    form: CallerBody<PageVisit<AdminRole>, FormBody>,
) -> Result<Response, Problem> {
    let CallerBody { caller: PageVisit { visit, signed_in, .. }, value, .. } = form;
    let EndFields {} = value.checked(&signed_in.form_token)?;
    let caller = &signed_in.caller;
    let unknown = || Problem::not_found("no user and no key of yours has this id and a session");
    let id = id.ok().and_then(|Path(id)| Uuid::try_parse(&id).ok()).ok_or_else(unknown)?;
    let people = people_of(&context, &caller.tenant).await?;
    let person = people.into_iter().find(|person| person.id == id).ok_or_else(unknown)?;
    let entry = SignInLogEntry::of(caller, "sign_out", &visit.route);
    log_sign_in(&context, SignInLogEntry { subject: Some(id.to_string()), ..entry }).await?;
    let ended = context.sessions.end(SignOut::ByAdmin(id), clock::now()).await?;
    tracing::info!(console.actor = %id, console.by = %caller.id, tenant = %caller.tenant, sessions = ended, "{ended} sessions of {} {id} were ended in the console by {}", if person.is_key { "the key" } else { "the user" }, caller.id);
    Ok(Redirect::to(PATH).into_response())
}
