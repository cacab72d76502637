//! A request to the console: who asks, in which language, zone and theme, and how the answer is shown.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::http::header;
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use chrono_tz::Tz;

use super::context::ConsoleContext;
use super::session::cookie::ConsoleCookie;
use super::session::store::SignedIn;
use super::session::token::random_token;
use super::words::catalogue::Words;
use super::words::language::ConsoleLanguage;
use crate::clock;
use crate::http::api_role::ApiRole;
use crate::http::auth::RoleSet;
use crate::http::body::BodySender;
use crate::http::origin::names_this_machine;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::shared_capacity::ShareHolder;
use crate::query::context::Reader;
use onrecord_evidence::event::ids::Digest;

/// What the reader chose, in a cookie: `de.dark.Europe:Berlin`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Preferences {
    pub language: Option<ConsoleLanguage>,
    pub theme: Theme,
    pub zone: Option<Tz>,
}

/// The colours of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub(super) enum Theme {
    /// Those that the system prefers.
    #[default]
    Auto,
    Light,
    Dark,
}

impl Theme {
    pub(super) fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Preferences {
    /// Parses the value of the cookie; what cannot be read is not chosen.
    fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, '.');
        let language = parts.next().and_then(|part| part.parse().ok());
        let theme = parts.next().and_then(|part| part.parse().ok()).unwrap_or_default();
        let zone = parts.next().and_then(|part| part.replace(':', "/").parse().ok());
        Self { language, theme, zone }
    }

    /// The value of the cookie.
    pub(super) fn text(self) -> String {
        let language = self.language.map_or("", ConsoleLanguage::tag);
        let zone = self.zone.map_or("", Tz::name).replace('/', ":");
        format!("{language}.{}.{zone}", self.theme.as_str())
    }
}

/// Whether the reader is signed in.
#[derive(Clone, Debug)]
pub(super) enum SignInState {
    Out,
    In(Box<SignedIn>),
    /// The store did not answer.
    Unknown(Problem),
}

/// A request to the console.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    /// The nonce of the scripts of the page.
    pub nonce: String,
    pub words: Words,
    pub preferences: Preferences,
    /// Path and query.
    pub path: String,
    /// Method and path of the resource, without its ids.
    pub route: String,
    /// Whether the request was made at a name of this machine.
    pub is_local: bool,
    /// Whether a script asks for a part of the page.
    pub is_fragment: bool,
    /// The token of the form of the sign-in, if the browser has it.
    pub sign_in_token: Option<String>,
    /// SHA-256 of the token of a session that the browser has, valid or not.
    pub session_hash: Option<Digest>,
    pub state: SignInState,
    /// Whether the service is a demonstration.
    pub is_demo: bool,
}

impl Visit {
    /// The visit of a request whose session was not looked up, and the token of that.
    pub(super) fn of(context: &ConsoleContext, request: &Request) -> (Self, Option<String>) {
        let headers = request.headers();
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let is_local = text(header::HOST).is_some_and(names_this_machine);
        let cookie = |cookie: ConsoleCookie| cookie.read(headers, is_local);
        let preferences =
            cookie(ConsoleCookie::Preferences).map(Preferences::parse).unwrap_or_default();
        let accepted = text(header::ACCEPT_LANGUAGE).and_then(ConsoleLanguage::accepted);
        let language = preferences.language.or(accepted).unwrap_or(ConsoleLanguage::En);
        let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let path = request.uri().path_and_query().map_or("/console/", PathAndQuery::as_str);
        let session = cookie(ConsoleCookie::Session);
        let visit = Self {
            nonce: random_token(),
            words: Words::of(language),
            preferences,
            path: path.to_owned(),
            route: format!("{} {route}", request.method()),
            is_local,
            is_fragment: headers.contains_key("hx-request")
                && !headers.contains_key("hx-history-restore-request"),
            sign_in_token: cookie(ConsoleCookie::SignInForm).map(str::to_owned),
            session_hash: session.map(|token| Digest::of(token.as_bytes())),
            state: SignInState::Out,
            is_demo: context.demo.0.is_some(),
        };
        (visit, session.map(str::to_owned))
    }

    /// Looks the session of a token up, and notes its use.
    pub(super) async fn look_up(self, context: &ConsoleContext, token: Option<String>) -> Self {
        let Some(token) = token else { return self };
        let state = match context.sessions.of_token(&token, clock::now()).await {
            Ok(Some(signed_in)) => SignInState::In(Box::new(signed_in)),
            Ok(None) => SignInState::Out,
            Err(error) => SignInState::Unknown(error.into()),
        };
        Self { state, ..self }
    }

    pub(super) fn signed_in(&self) -> Option<&SignedIn> {
        match &self.state {
            SignInState::In(signed_in) => Some(signed_in),
            SignInState::Out | SignInState::Unknown(_) => None,
        }
    }

    /// The zone in which the page shows instants.
    pub(super) fn zone(&self) -> Tz {
        self.preferences.zone.unwrap_or(Tz::UTC)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let visit = parts.extensions.get::<Arc<Visit>>().map(|visit| (**visit).clone());
        visit.ok_or_else(|| Problem::new(ProblemKind::Internal, "the request has no visit"))
    }
}

/// A visit of a reader who is signed in, and has one of these roles.
pub(super) struct PageVisit<R> {
    pub visit: Visit,
    pub signed_in: SignedIn,
    pub reader: Reader,
    roles: PhantomData<R>,
}

impl<R: RoleSet + Send> FromRequestParts<ConsoleContext> for PageVisit<R> {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        context: &ConsoleContext,
    ) -> Result<Self, Problem> {
        let visit = Visit::from_request_parts(parts, context).await?;
        let signed_in = match &visit.state {
            SignInState::In(signed_in) => SignedIn::clone(signed_in),
            SignInState::Unknown(problem) => return Err(problem.clone()),
            SignInState::Out => {
                return Err(Problem::new(ProblemKind::Unauthorized, "sign in to see this page"));
            }
        };
        let role = signed_in.caller.role;
        if role != ApiRole::Admin && !R::ROLES.contains(&role) {
            let names: Vec<&str> = R::ROLES.iter().map(|role| role.as_str()).collect();
            let names = if names.is_empty() { "admin".to_owned() } else { names.join(" or ") };
            return Err(Problem::new(
                ProblemKind::Forbidden,
                format!("this page needs the role {names}"),
            ));
        }
        let caller = signed_in.caller.clone();
        let reader =
            Reader::authenticated(context.query.clone(), caller, visit.route.clone(), None);
        Ok(Self { visit, signed_in, reader, roles: PhantomData })
    }
}

impl<R> BodySender for PageVisit<R> {
    fn share_holder(&self) -> ShareHolder {
        let caller = &self.signed_in.caller;
        ShareHolder::api_key(&caller.tenant, caller.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_reader_chose_is_read_again_and_nothing_else_is() {
        for chosen in [
            Preferences::default(),
            Preferences {
                language: Some(ConsoleLanguage::De),
                theme: Theme::Dark,
                zone: Some(Tz::America__Argentina__Buenos_Aires),
            },
        ] {
            let text = chosen.text();
            assert!(text.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.:".contains(&it)));
            assert_eq!(Preferences::parse(&text), chosen);
        }
        for wrong in ["", "..", "xx.neon.Mars:Base", "<script>", "de"] {
            let read = Preferences::parse(wrong);
            assert_eq!((read.theme, read.zone), (Theme::Auto, None), "{wrong}");
        }
    }
}
