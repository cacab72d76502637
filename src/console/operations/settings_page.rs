//! The settings of the tenant: its API keys. `accounts` has its users and its logins for SQL clients.

use askama::Template;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use uuid::Uuid;

use crate::clock;
use crate::console::context::ConsoleContext;
use crate::console::form::FormBody;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::{PageVisit, Visit};
use crate::http::api_role::ApiRole;
use crate::http::auth::{AdminRole, Caller};
use crate::http::body::{CallerBody, secrets};
use crate::http::problem::Problem;
use crate::postgres::ApiKey;

/// The path of the page.
const PATH: &str = "/console/settings";
/// Minimum and maximum length of the name of a key, in characters.
const NAME_LENGTH: std::ops::RangeInclusive<usize> = 2..=100;

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsTemplate {
    f: PageFrame,
    keys: Vec<ApiKey>,
    /// The id of the key by which the reader is signed in.
    own: Uuid,
    /// The text of a key that was created just now.
    created: Option<String>,
}

impl SettingsTemplate {
    fn roles(&self) -> [(&'static str, &'static str); 4] {
        let of = |role: ApiRole, key| (role.as_str(), self.f.t(key));
        [
            of(ApiRole::Auditor, "sign_in.auditor"),
            of(ApiRole::Analyst, "sign_in.analyst"),
            of(ApiRole::App, "settings.app"),
            of(ApiRole::Admin, "sign_in.admin"),
        ]
    }
}

async fn shown(
    context: &ConsoleContext,
    visit: &Visit,
    own: &Caller,
    created: Option<String>,
) -> Result<Response, Problem> {
    page(&SettingsTemplate {
        keys: context.query.store.api_keys_of(&own.tenant).await?,
        own: own.id,
        created,
        f: PageFrame::of(visit, Section::Settings, visit.words.t("settings.title")),
    })
}

pub(in crate::console) async fn settings(
    State(context): State<ConsoleContext>,
    visit: PageVisit<AdminRole>,
) -> Result<Response, Problem> {
    let PageVisit { visit, signed_in, .. } = visit;
    shown(&context, &visit, &signed_in.caller, None).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKeyFields {
    name: String,
    role: String,
}

/// Creates a key, and shows it once.
pub(in crate::console) async fn create_key(
    State(context): State<ConsoleContext>,
    form: CallerBody<PageVisit<AdminRole>, FormBody>,
) -> Result<Response, Problem> {
    let CallerBody { caller: visit, value, .. } = form;
    let PageVisit { visit, signed_in, .. } = visit;
    let fields: NewKeyFields = value.checked(&signed_in.form_token)?;
    let name = fields.name.trim();
    if !NAME_LENGTH.contains(&name.chars().count()) || name.chars().any(char::is_control) {
        let detail = "the name of a key has 2 to 100 characters: the person or the app that has it";
        return Err(Problem::invalid("name", detail));
    }
    secrets::check_parameter("name", name)?;
    let role: ApiRole = fields
        .role
        .parse()
        .map_err(|_| Problem::invalid("role", "role is app, analyst, auditor or admin"))?;
    let caller = &signed_in.caller;
    let (text, key) = ApiKey::generate(&caller.tenant, role, name, clock::now());
    context.query.store.insert_api_key(&key).await?;
    tracing::info!(api_key.id = %key.id, api_key.by = %caller.id, tenant = %caller.tenant, "the key {} was created in the console by the key {}", key.id, caller.id);
    shown(&context, &visit, caller, Some(text)).await
}

pub(in crate::console) async fn revoke_key(
    State(context): State<ConsoleContext>,
    id: Result<Path<String>, PathRejection>,
    form: CallerBody<PageVisit<AdminRole>, FormBody>,
) -> Result<Response, Problem> {
    let CallerBody { caller: visit, value, .. } = form;
    let signed_in = visit.signed_in;
    let _: NoFields = value.checked(&signed_in.form_token)?;
    let unknown = || Problem::not_found("no live key of yours has this id");
    let id = id.ok().and_then(|Path(id)| Uuid::try_parse(&id).ok()).ok_or_else(unknown)?;
    let caller = &signed_in.caller;
    let store = &context.query.store;
    if !store.revoke_api_key_of(&caller.tenant, id, clock::now()).await? {
        return Err(unknown());
    }
    tracing::info!(api_key.id = %id, api_key.by = %caller.id, tenant = %caller.tenant, "the key {id} was revoked in the console by the key {}", caller.id);
    Ok(Redirect::to(PATH).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}
