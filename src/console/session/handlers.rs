//! The page of the sign-in, sign-in by API key, sign-out, and what the reader chooses.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use metrics::counter;
use serde::Deserialize;

use super::cookie::ConsoleCookie;
use super::opening::{SignInLogEntry, log_sign_in, open_session};
use super::sign_in_page::{SignInNotice, sign_in_page};
use super::token::form_token;
use crate::clock;
use crate::console::context::ConsoleContext;
use crate::console::form::FormBody;
use crate::console::visit::{PageVisit, Preferences, Visit};
use crate::http::api_role::ApiRole;
use crate::http::auth::{CallerKind, RoleSet};
use crate::http::body::{BodySender, CallerBody, QueryParameters};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::shared_capacity::ShareHolder;
use crate::postgres::{SessionActor, SignOut};
use crate::telemetry::names;
use onrecord_evidence::event::ids::Tenant;

/// All roles: also one that has no pages can sign out.
pub(in crate::console) struct AnyRole;

impl RoleSet for AnyRole {
    const ROLES: &[ApiRole] = &[ApiRole::App, ApiRole::Analyst, ApiRole::Auditor];
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::console) struct SignInQuery {
    then: Option<String>,
    /// The reader has signed out.
    left: Option<String>,
}

/// A path of the console to continue with. Anything else, such as the address of another site, is not
/// followed.
pub(in crate::console) fn continuation(then: Option<&str>) -> &str {
    let is_own = |path: &str| {
        path.starts_with("/console/")
            && !path.starts_with("/console//")
            && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    then.filter(|path| is_own(path)).unwrap_or("/console/")
}

pub(in crate::console) async fn sign_in_form(
    State(context): State<ConsoleContext>,
    visit: Visit,
    QueryParameters(query): QueryParameters<SignInQuery>,
) -> Result<Response, Problem> {
    let then = continuation(query.then.as_deref());
    if visit.signed_in().is_some() {
        return Ok(Redirect::to(then).into_response());
    }
    let notice = if query.left.is_some() { SignInNotice::SignedOut } else { SignInNotice::None };
    sign_in_page(&context, &visit, then, notice)
}

/// A browser that has the cookie of the form of the sign-in.
pub(in crate::console) struct SigningIn {
    visit: Visit,
    form_token: String,
    tenant: Tenant,
}

impl<S: Send + Sync> FromRequestParts<S> for SigningIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let visit = Visit::from_request_parts(parts, state).await?;
        let cookie = visit.sign_in_token.as_deref().ok_or_else(|| {
            Problem::new(
                ProblemKind::Forbidden,
                "the browser keeps no cookie of this page: open the console by https, or on this machine by localhost, and allow its cookies",
            )
        })?;
        let form_token = form_token(cookie, "");
        let tenant = Tenant::parse("console")
            .map_err(|_| Problem::new(ProblemKind::Internal, "the sign-in has no share"))?;
        Ok(Self { visit, form_token, tenant })
    }
}

impl BodySender for SigningIn {
    fn share_holder(&self) -> ShareHolder {
        ShareHolder::signing_in(self.tenant.clone())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignInFields {
    key: String,
    then: Option<String>,
}

pub(in crate::console) async fn sign_in(
    State(context): State<ConsoleContext>,
    headers: HeaderMap,
    request: CallerBody<SigningIn, FormBody>,
) -> Result<Response, Problem> {
    let CallerBody { caller: SigningIn { visit, form_token, .. }, value, .. } = request;
    let SignInFields { key, then } = value.checked(&form_token)?;
    let (key, then) = (key.trim(), continuation(then.as_deref()));
    if !context.sessions.takes_keys() {
        return Err(Problem::new(
            ProblemKind::Forbidden,
            "API keys do not sign in to this console; sign in with your organization",
        ));
    }
    let caller = match context.keys.known(key) {
        Some(caller) => Ok(caller),
        None => context.sessions.throttle.attempt(context.keys.look_up(key)).await?,
    };
    let caller = match caller {
        Ok(caller) => caller,
        Err(problem) if problem.kind() == ProblemKind::Unauthorized => {
            counter!(names::CONSOLE_SIGN_INS, "outcome" => "unknown_key").increment(1);
            tracing::warn!("an attempt to sign in to the console has an unknown key");
            let page =
                sign_in_page(&context, &visit, then, refusal(&visit, "sign_in.unknown_key"))?;
            return Ok((StatusCode::UNAUTHORIZED, page).into_response());
        }
        Err(problem) => return Err(problem),
    };
    if caller.role == ApiRole::App {
        counter!(names::CONSOLE_SIGN_INS, "outcome" => "role_without_pages").increment(1);
        let entry = SignInLogEntry::of(&caller, "sign_in_refused", &visit.route);
        log_sign_in(&context, entry).await?;
        let page = sign_in_page(&context, &visit, then, refusal(&visit, "sign_in.app_key"))?;
        return Ok((StatusCode::FORBIDDEN, page).into_response());
    }
    let actor = SessionActor::ApiKey(caller.id);
    open_session(&context, &visit, &caller, actor, &headers, then).await
}

fn refusal(visit: &Visit, key: &str) -> SignInNotice {
    SignInNotice::KeyRefused(visit.words.t(key))
}

/// Signs a browser of this machine in to a demonstration, by one click.
pub(in crate::console) async fn sign_in_to_demo(
    State(context): State<ConsoleContext>,
    visit: Visit,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let unknown = || Problem::not_found("the console has no page at this address");
    let key = context.demo.0.as_deref().ok_or_else(unknown)?;
    if !visit.is_local {
        return Err(Problem::new(
            ProblemKind::Forbidden,
            "this link works on the machine of the demonstration alone: open it under localhost or 127.0.0.1",
        ));
    }
    let caller = match context.keys.known(key) {
        Some(caller) => caller,
        None => context.keys.look_up(key).await?,
    };
    let actor = SessionActor::ApiKey(caller.id);
    open_session(&context, &visit, &caller, actor, &headers, "/console/").await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignOutFields {
    /// All sessions of the key, or of the user.
    everywhere: Option<String>,
}

pub(in crate::console) async fn sign_out(
    State(context): State<ConsoleContext>,
    request: CallerBody<PageVisit<AnyRole>, FormBody>,
) -> Result<Response, Problem> {
    let CallerBody { caller: PageVisit { visit, signed_in, .. }, value, .. } = request;
    let SignOutFields { everywhere } = value.checked(&signed_in.form_token)?;
    let caller = &signed_in.caller;
    let which = match everywhere {
        Some(_) => SignOut::Everywhere(caller.id),
        None => SignOut::Session(signed_in.session),
    };
    log_sign_in(&context, SignInLogEntry::of(caller, "sign_out", &visit.route)).await?;
    context.sessions.end(which, clock::now()).await?;
    // A form is not answered by a redirect to the provider: the policy of the page permits forms here only. The
    // page says that the sign-in at the provider goes on, and has a link to its sign-out.
    let target = match caller.kind {
        CallerKind::ApiKey => "/console/sign-in",
        CallerKind::User => "/console/sign-in?left=1",
    };
    let mut response = Redirect::to(target).into_response();
    let cookie = ConsoleCookie::Session.remove(visit.is_local);
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::console) struct PreferenceQuery {
    language: Option<String>,
    theme: Option<String>,
    zone: Option<String>,
    then: Option<String>,
}

/// Keeps what the reader chose in a cookie. It changes nothing on the server, so the form is sent by `GET` and
/// works before the sign-in too.
pub(in crate::console) async fn choose(
    visit: Visit,
    QueryParameters(query): QueryParameters<PreferenceQuery>,
) -> Result<Response, Problem> {
    let Preferences { language, theme, zone } = visit.preferences;
    let chosen = Preferences {
        language: query.language.and_then(|text| text.parse().ok()).or(language),
        theme: query.theme.and_then(|text| text.parse().ok()).unwrap_or(theme),
        zone: query.zone.and_then(|text| text.parse().ok()).or(zone),
    };
    let mut response = Redirect::to(continuation(query.then.as_deref())).into_response();
    let cookie = ConsoleCookie::Preferences.set(&chosen.text(), visit.is_local);
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_of_the_console_is_continued_with() {
        for path in ["/console/", "/console/calls?state=open&tz=Europe%2FBerlin"] {
            assert_eq!(continuation(Some(path)), path);
        }
        for other in [
            "",
            "/",
            "/v1/calls",
            "//attacker.example/console/",
            "https://attacker.example/console/",
            "/console//attacker.example",
            "/console/\\attacker.example",
            "/console/\r\nset-cookie: a=b",
            "javascript:alert(1)",
        ] {
            assert_eq!(continuation(Some(other)), "/console/", "{other}");
        }
        assert_eq!(continuation(None), "/console/");
    }
}
