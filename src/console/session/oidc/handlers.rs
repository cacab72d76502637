//! The way to the provider, the way back, and the sign-out there.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use metrics::counter;
use serde::Deserialize;

use super::grants::{NoGrant, grants_of};
use super::pending::{MAX_AGE, PendingSignIn};

use super::provider::{OidcProvider, ProvenUser, ProviderError};
use super::refusal::SignInRefusal;
use crate::clock;
use crate::config::WebOrigin;
use crate::console::context::ConsoleContext;
use crate::console::session::cookie::ConsoleCookie;
use crate::console::session::handlers::continuation;
use crate::console::session::opening::{SignInLogEntry, log_sign_in, open_session};
use crate::console::session::sign_in_page::{SignInNotice, sign_in_page};
use crate::console::session::store::user_caller;
use crate::console::session::token::random_token;
use crate::console::visit::Visit;
use crate::http::api_role::ApiRole;
use crate::http::auth::CallerKind;
use crate::http::body::QueryParameters;
use crate::http::problem::{Problem, ProblemKind};
use crate::postgres::{SessionActor, StatedUser};
use crate::telemetry::names;
use onrecord_evidence::event::ids::Tenant;

/// Maximum length of the name of a user, in characters.
const MAX_NAME: usize = 200;
/// Maximum length of the code of an error in the log, in characters.
const MAX_LOGGED_CODE: usize = 60;
/// Maximum length of a subject, in bytes. OpenID Connect permits 255.
const MAX_SUBJECT: usize = 255;

fn provider_of(context: &ConsoleContext) -> Result<&OidcProvider, Problem> {
    let unknown = || Problem::not_found("the console has no page at this address");
    context.sessions.provider().ok_or_else(unknown)
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::console) struct BeginQuery {
    then: Option<String>,
    /// `other`: the provider asks for the account.
    account: Option<String>,
    /// The browser was led to the address of the settings.
    moved: Option<String>,
}

/// Sends the browser to the provider.
pub(in crate::console) async fn begin(
    State(context): State<ConsoleContext>,
    visit: Visit,
    headers: HeaderMap,
    QueryParameters(query): QueryParameters<BeginQuery>,
) -> Result<Response, Problem> {
    let provider = provider_of(&context)?;
    let then = continuation(query.then.as_deref());
    if !is_at(&provider.settings().base_url, &headers) {
        return to_base_url(provider, then, query.moved.is_some());
    }
    let (cookie, is_new) = match &visit.sign_in_token {
        Some(cookie) => (cookie.clone(), false),
        None => (random_token(), true),
    };
    let pending = PendingSignIn::begin(&cookie, then, clock::now());
    let language = visit.words.language.tag();
    let other_account = query.account.as_deref() == Some("other");
    let url = match provider.sign_in_url(&pending, language, other_account).await {
        Ok(url) => url,
        Err(error) => return refused(&context, &visit, then, SignInRefusal::Exchange(error)),
    };
    let mut response = Redirect::to(&url).into_response();
    if is_new {
        let cookie = ConsoleCookie::SignInForm.set(&cookie, visit.is_local);
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Whether the browser asks at the address of the settings: the cookie of another one does not come back.
fn is_at(base_url: &str, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let base = WebOrigin::parse(base_url);
    host.zip(base).is_some_and(|(host, base)| base.is_of_host(host))
}

fn to_base_url(provider: &OidcProvider, then: &str, moved: bool) -> Result<Response, Problem> {
    let base_url = &provider.settings().base_url;
    if moved {
        return Err(Problem::new(
            ProblemKind::Forbidden,
            format!(
                "the console is asked at another address than {base_url}, that of the settings: the proxy in front of it has to pass the header Host on"
            ),
        ));
    }
    let query = serde_urlencoded::to_string([("then", then), ("moved", "1")]);
    let query =
        query.map_err(|_| Problem::new(ProblemKind::Internal, "the address has no query"))?;
    Ok(Redirect::to(&format!("{base_url}/console/oidc/sign-in?{query}")).into_response())
}

/// What the provider sends a browser back with. Other members, such as those of its session, are not read.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct CallbackQuery {
    state: Option<String>,
    code: Option<String>,
    /// RFC 9207.
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// Signs the browser in that the provider sends back.
pub(in crate::console) async fn callback(
    State(context): State<ConsoleContext>,
    visit: Visit,
    headers: HeaderMap,
    QueryParameters(query): QueryParameters<CallbackQuery>,
) -> Result<Response, Problem> {
    let provider = provider_of(&context)?;
    let now = clock::now();
    let cookie = visit.sign_in_token.as_deref();
    let state = query.state.as_deref();
    let pending =
        cookie.zip(state).and_then(|(cookie, state)| PendingSignIn::returned(cookie, state, now));
    let Some(pending) = pending else {
        return refused(&context, &visit, "/console/", SignInRefusal::UnknownState);
    };
    let forget_before = now - MAX_AGE - MAX_AGE;
    let store = &context.query.store;
    if !store.use_sign_in_state(&pending.state_hash(), now, forget_before).await? {
        return refused(&context, &visit, &pending.then, SignInRefusal::UnknownState);
    }
    let user = match answered(provider, &pending, query).await? {
        Ok(user) => user,
        Err(refusal) => return refused(&context, &visit, &pending.then, refusal),
    };
    sign_in(&context, provider, &visit, &headers, &pending, user).await
}

/// The user of the answer of the provider.
async fn answered(
    provider: &OidcProvider,
    pending: &PendingSignIn,
    query: CallbackQuery,
) -> Result<Result<ProvenUser, SignInRefusal>, Problem> {
    // The answer of another provider must not be taken for that of this one (mix-up).
    if query.iss.is_some_and(|issuer| issuer != provider.settings().issuer) {
        return Ok(Err(SignInRefusal::OtherIssuer));
    }
    if let Some(code) = query.error {
        let description = query.error_description;
        return Ok(Err(SignInRefusal::ByProvider { code, description }));
    }
    let Some(code) = query.code else {
        return Ok(Err(SignInRefusal::UnknownState));
    };
    let user = provider.redeem(code, pending, clock::now()).await?;
    Ok(user.map_err(SignInRefusal::Exchange))
}

/// Opens a session for a user who has a role.
async fn sign_in(
    context: &ConsoleContext,
    provider: &OidcProvider,
    visit: &Visit,
    headers: &HeaderMap,
    pending: &PendingSignIn,
    user: ProvenUser,
) -> Result<Response, Problem> {
    let settings = provider.settings();
    if user.subject.is_empty() || user.subject.len() > MAX_SUBJECT || user.subject.contains('\0') {
        let error = ProviderError::Token("its subject has no length of 1 to 255 bytes".to_owned());
        return refused(context, visit, &pending.then, SignInRefusal::Exchange(error));
    }
    let login = user.login.as_deref().map(shown_name).filter(|login| !login.is_empty());
    let name = user.name.as_deref().map(shown_name).filter(|name| !name.is_empty());
    let name = name.or_else(|| login.clone()).unwrap_or_else(|| shown_name(&user.subject));
    let stated = StatedUser {
        issuer: &settings.issuer,
        subject: &user.subject,
        name: &name,
        login: login.as_deref(),
    };
    let grants = grants_of(settings, &user.claims);
    let granted = grants.as_ref().map_or(&[][..], Vec::as_slice);
    let store = &context.query.store;
    // Also of a user who is refused: what earlier sign-ins permitted ends.
    let id = store.store_console_user(stated, granted, clock::now()).await?;
    let grants = match grants {
        Ok(grants) => grants,
        Err(no_grant) => {
            log_refusal(context, &visit.route, id, &name, settings.tenant.as_ref(), &no_grant)
                .await?;
            let refusal = match no_grant {
                NoGrant::NoRole(_) => SignInRefusal::NoRole(name),
                NoGrant::NoTenant => SignInRefusal::NoTenant(name),
                NoGrant::TooManyValues(_) => SignInRefusal::TooManyValues(name),
            };
            return refused(context, visit, &pending.then, refusal);
        }
    };
    let last = store.last_tenant_of_user(id).await?;
    let is_last = |(tenant, _): &&(Tenant, ApiRole)| Some(tenant.as_str()) == last.as_deref();
    let (tenant, role) = grants
        .iter()
        .find(is_last)
        .or(grants.first())
        .cloned()
        .ok_or_else(|| Problem::new(ProblemKind::Internal, "the user has no tenant"))?;
    let caller = user_caller(id, tenant, role, name);
    let actor = SessionActor::User { id, rules: provider.rules() };
    open_session(context, visit, &caller, actor, headers, &pending.then).await
}

/// Logs that a user was refused, in each of the tenants that are known.
async fn log_refusal(
    context: &ConsoleContext,
    route: &str,
    id: uuid::Uuid,
    name: &str,
    fallback: Option<&Tenant>,
    no_grant: &NoGrant,
) -> Result<(), Problem> {
    let tenants = match no_grant {
        NoGrant::NoRole(tenants) | NoGrant::TooManyValues(tenants) => tenants.clone(),
        NoGrant::NoTenant => fallback.into_iter().cloned().collect(),
    };
    for tenant in &tenants {
        let entry = SignInLogEntry {
            tenant,
            kind: CallerKind::User,
            actor: id,
            name,
            role: "",
            what: "sign_in_refused",
            route,
            subject: None,
        };
        log_sign_in(context, entry).await?;
    }
    Ok(())
}

/// A name that a page and the access log can have.
fn shown_name(text: &str) -> String {
    let readable = text.chars().filter(|it| !it.is_control());
    readable.take(MAX_NAME).collect::<String>().trim().to_owned()
}

/// The page that says why a sign-in is refused.
fn refused(
    context: &ConsoleContext,
    visit: &Visit,
    then: &str,
    refusal: SignInRefusal,
) -> Result<Response, Problem> {
    let outcome = refusal.outcome();
    counter!(names::CONSOLE_SIGN_INS, "outcome" => outcome).increment(1);
    let (text, detail) = refusal.words(visit.words);
    match &refusal {
        SignInRefusal::Exchange(error) => {
            tracing::warn!(error = %error, "a sign-in to the console is refused ({outcome}): {error}");
        }
        // The description of the provider may name the user, so the page alone has it.
        SignInRefusal::ByProvider { code, .. } => {
            let code: String = code.escape_debug().take(MAX_LOGGED_CODE).collect();
            tracing::warn!(oidc.error = %code, "a sign-in to the console is refused by the provider: {code}");
        }
        _ => tracing::warn!("a sign-in to the console is refused ({outcome})"),
    }
    let notice = SignInNotice::Refused { text, detail };
    let page = sign_in_page(context, visit, then, notice)?;
    Ok((refusal.status(), page).into_response())
}

/// Sends a browser that signed out here to the sign-out of the provider.
pub(in crate::console) async fn sign_out_at_provider(
    State(context): State<ConsoleContext>,
    visit: Visit,
) -> Result<Response, Problem> {
    let provider = provider_of(&context)?;
    match provider.sign_out_url().await {
        Ok(Some(url)) => Ok(Redirect::to(&url).into_response()),
        Ok(None) => Ok(Redirect::to("/console/sign-in").into_response()),
        Err(error) => refused(&context, &visit, "/console/", SignInRefusal::Exchange(error)),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_sign_in_begins_at_the_address_of_the_settings_only() {
        for (base, host, is_it) in [
            ("https://onrecord.contoso.com", "onrecord.contoso.com", true),
            ("https://onrecord.contoso.com", "OnRecord.contoso.com:443", true),
            ("http://127.0.0.1:8080", "127.0.0.1:8080", true),
            ("http://127.0.0.1:8080", "localhost:8080", false),
            ("https://onrecord.contoso.com", "onrecord.contoso.com.evil.example", false),
            ("https://onrecord.contoso.com", "10.0.0.7:8080", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            assert_eq!(is_at(base, &headers), is_it, "{base} {host}");
        }
    }

    #[test]
    fn a_name_has_no_control_characters_and_a_bounded_length() {
        assert_eq!(shown_name(" Ada\u{0}\r\n Lindqvist "), "Ada Lindqvist");
        assert_eq!(shown_name(&"x".repeat(500)).len(), MAX_NAME);
    }
}
