//! The page of the sign-in.

use askama::Template;
use axum::http::header;
use axum::response::Response;

use super::cookie::ConsoleCookie;
use super::token::{form_token, random_token};
use crate::console::context::ConsoleContext;
use crate::console::frame::{PageFrame, Section, page};
use crate::console::visit::Visit;
use crate::http::problem::{Problem, ProblemKind};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    f: PageFrame,
    /// Path of the page to show afterwards.
    then: String,
    /// The same as the query of an address.
    then_query: String,
    form_token: String,
    /// What was wrong with the last attempt.
    refusal: Option<String>,
    /// What the provider said about it.
    detail: Option<String>,
    /// It was about the API key.
    is_key_refused: bool,
    /// The reader has signed out just now.
    is_signed_out: bool,
    /// The provider has a sign-out of its own.
    offers_sign_out: bool,
    has_keys: bool,
    has_provider: bool,
}

/// What the page of the sign-in says besides.
#[derive(Clone, Debug, Default)]
pub(super) enum SignInNotice {
    #[default]
    None,
    SignedOut,
    /// The API key is refused.
    KeyRefused(&'static str),
    /// The sign-in by OpenID Connect is refused.
    Refused {
        text: String,
        detail: Option<String>,
    },
}

/// The page of the sign-in. Its form has the token of a cookie, so that no other page can sign a browser in.
pub(super) fn sign_in_page(
    context: &ConsoleContext,
    visit: &Visit,
    then: &str,
    notice: SignInNotice,
) -> Result<Response, Problem> {
    let (cookie, is_new) = match &visit.sign_in_token {
        Some(cookie) => (cookie.clone(), false),
        None => (random_token(), true),
    };
    let is_signed_out = matches!(notice, SignInNotice::SignedOut);
    let is_key_refused = matches!(notice, SignInNotice::KeyRefused(_));
    let (refusal, detail) = match notice {
        SignInNotice::KeyRefused(text) => (Some(text.to_owned()), None),
        SignInNotice::Refused { text, detail } => (Some(text), detail),
        SignInNotice::None | SignInNotice::SignedOut => (None, None),
    };
    let provider = context.sessions.provider();
    let then_query = serde_urlencoded::to_string([("then", then)])
        .map_err(|_| Problem::new(ProblemKind::Internal, "the address has no query"))?;
    let mut response = page(&SignInPage {
        f: PageFrame::of(visit, Section::Other, visit.words.t("sign_in.title")),
        then: then.to_owned(),
        then_query,
        form_token: form_token(&cookie, ""),
        refusal,
        detail,
        is_signed_out,
        is_key_refused,
        offers_sign_out: provider.is_some_and(|provider| provider.offers_sign_out()),
        has_keys: context.sessions.takes_keys(),
        has_provider: provider.is_some(),
    })?;
    if is_new {
        let cookie = ConsoleCookie::SignInForm.set(&cookie, visit.is_local);
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
