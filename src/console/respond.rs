//! Makes each answer of the console: its headers, and a page of each problem.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};

use super::context::ConsoleContext;
use super::frame::{PageFrame, Section, page};
use super::visit::Visit;
use crate::http::problem::{Problem, ProblemKind};
use crate::lifecycle::Health;

/// Answers a request, with the headers that pages of the console have.
pub(super) async fn respond(
    State(context): State<ConsoleContext>,
    mut request: Request,
    next: Next,
) -> Response {
    let (visit, token) = Visit::of(&context, &request);
    let visit = visit.look_up(&context, token).await;
    if is_of_another_site(request.method(), request.headers()) {
        let problem = Problem::new(
            ProblemKind::Forbidden,
            "this form was sent by a page of another site; open the console and repeat it there",
        );
        return finished(problem_page(&context, &visit, problem), &visit);
    }
    let is_reading = request.method() == Method::GET;
    request.extensions_mut().insert(Arc::new(visit.clone()));
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = match problem.kind() {
            ProblemKind::Unauthorized if is_reading => to_sign_in(&visit),
            _ => {
                let retry_after = response.headers_mut().remove(header::RETRY_AFTER);
                let mut shown = problem_page(&context, &visit, problem);
                if let Some(retry_after) = retry_after {
                    shown.headers_mut().insert(header::RETRY_AFTER, retry_after);
                }
                shown
            }
        };
    }
    finished(response, &visit)
}

/// Whether a page of another site sends a form. Browsers state it; `SameSite=Lax` and the token of the form
/// hold besides.
fn is_of_another_site(method: &Method, headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    method != Method::GET && site.is_some_and(|site| !matches!(site, b"same-origin" | b"none"))
}

/// To the sign-in, and afterwards to the page that was asked for.
fn to_sign_in(visit: &Visit) -> Response {
    let then = serde_urlencoded::to_string([("then", &visit.path)]).unwrap_or_default();
    let path = format!("/console/sign-in?{then}");
    if visit.is_fragment {
        // A script loads the whole page.
        let target = HeaderValue::from_str(&path).unwrap_or(HeaderValue::from_static("/console/"));
        return ([(HeaderName::from_static("hx-redirect"), target)], StatusCode::NO_CONTENT)
            .into_response();
    }
    Redirect::to(&path).into_response()
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    f: PageFrame,
    status: u16,
    heading: &'static str,
    explanation: &'static str,
    detail: &'a str,
    member: Option<&'a str>,
    /// The health of the components of the node, if the store is away.
    components: Vec<(&'static str, &'static str, String)>,
}

fn problem_page(context: &ConsoleContext, visit: &Visit, problem: Problem) -> Response {
    let words = visit.words;
    let (status, name) = match problem.kind() {
        ProblemKind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        ProblemKind::Unauthorized | ProblemKind::TokenRevoked => {
            (StatusCode::UNAUTHORIZED, "unauthorized")
        }
        ProblemKind::Forbidden | ProblemKind::NotGranted => (StatusCode::FORBIDDEN, "forbidden"),
        ProblemKind::InvalidRequest | ProblemKind::RangeNotSatisfiable => {
            (StatusCode::BAD_REQUEST, "invalid")
        }
        ProblemKind::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "invalid"),
        ProblemKind::Conflict | ProblemKind::NotConfigured => (StatusCode::CONFLICT, "conflict"),
        ProblemKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "invalid"),
        ProblemKind::AnswerTooLarge => (StatusCode::UNPROCESSABLE_ENTITY, "too_large"),
        ProblemKind::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "too_many"),
        ProblemKind::TryAgain => (StatusCode::SERVICE_UNAVAILABLE, "away"),
        ProblemKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    };
    let heading = words.t(&format!("problem.{name}.heading"));
    let components = if status == StatusCode::SERVICE_UNAVAILABLE {
        let view = context.readiness.view();
        view.into_iter()
            .map(|(name, health)| match health {
                Health::Healthy => (name, "healthy", String::new()),
                Health::Starting => (name, "starting", String::new()),
                Health::Stale => (name, "stale", String::new()),
                Health::Unhealthy(why) => (name, "unhealthy", why),
            })
            .collect()
    } else {
        Vec::new()
    };
    let shown = page(&ProblemPage {
        f: PageFrame::of(visit, Section::Other, heading),
        status: status.as_u16(),
        heading,
        explanation: words.t(&format!("problem.{name}.explanation")),
        detail: problem.detail(),
        member: problem.member(),
        components,
    });
    let shown = match shown {
        Ok(shown) => shown,
        // There is no other page to show it on.
        Err(problem) => return problem.into_response(),
    };
    (status, shown).into_response()
}

/// Adds the headers that protect a page.
fn finished(mut response: Response, visit: &Visit) -> Response {
    let policy = format!(
        "default-src 'none'; script-src 'self' 'nonce-{}'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'; \
         require-trusted-types-for 'script'; trusted-types htmx",
        visit.nonce
    );
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
        ("vary", "cookie, accept-language, hx-request"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_of_another_site_is_refused_and_a_link_from_there_is_not() {
        let headers = |site: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("sec-fetch-site", HeaderValue::from_static(site));
            headers
        };
        for site in ["cross-site", "same-site"] {
            assert!(is_of_another_site(&Method::POST, &headers(site)), "{site}");
            assert!(!is_of_another_site(&Method::GET, &headers(site)), "{site}");
        }
        for site in ["same-origin", "none"] {
            assert!(!is_of_another_site(&Method::POST, &headers(site)), "{site}");
        }
        assert!(!is_of_another_site(&Method::POST, &HeaderMap::new()));
    }
}
