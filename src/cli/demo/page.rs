//! The page of the demonstration, `/demo/`: a call that is started and stopped by buttons, the banner of
//! each participant, and the evidence of the call.
//!
//! # Why
//!
//! Its files are built from `clients/web/demo` by `npm run demo` and embedded, so `cargo build` needs no
//! Node. The page reads the keys of the demonstration, and starts calls. So it may do that only at a
//! name of this machine, and only as a page of this server: another name may have been made to resolve
//! to this machine, and a page of another server may be open in the same browser.

mod page_calls;

use std::time::Duration;

use axum::extract::{FromRef, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Redirect, Response, Sse};
use axum::routing::{MethodRouter, delete, get, post, put};
use axum::{Json, Router};
use futures_util::stream::{self, Stream};
use serde::Serialize;

use crate::config::WebOrigin;
use crate::http::origin::names_this_machine;
use crate::http::problem::{Problem, ProblemKind};
use onrecord_evidence::fact::kinds::{CaptureType, ProviderState};
use onrecord_simulator::InteractiveChange;
pub(super) use page_calls::PageCalls;

const INDEX: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/demo.css");
const SCRIPT: &str = include_str!("page/demo.js");

/// Interval after which a browser opens the stream of a call again.
const RECONNECT_INTERVAL: Duration = Duration::from_secs(1);

/// What the page needs to be the app of the participants, and to read the evidence of their call.
#[derive(Clone, Serialize)]
pub(super) struct PageSetup {
    pub app_key: String,
    pub admin_key: String,
}

#[derive(Clone, FromRef)]
struct PageContext {
    setup: PageSetup,
    calls: PageCalls,
}

pub(super) fn router(setup: PageSetup, calls: PageCalls) -> Router {
    Router::new()
        .route("/demo/setup.json", get(setup_of_the_page))
        .route("/demo/calls", post(start_call))
        .route("/demo/calls/{call}", delete(end_call))
        .route("/demo/calls/{call}/stream", get(stream_sdks))
        .route("/demo/calls/{call}/recording", capture(CaptureType::Recording))
        .route("/demo/calls/{call}/transcription", capture(CaptureType::Transcription))
        .layer(middleware::from_fn(only_own_pages))
        .route("/demo", get(async || Redirect::permanent("/demo/")))
        .route("/demo/", get(async || file("text/html; charset=utf-8", INDEX)))
        .route("/demo/demo.css", get(async || file("text/css; charset=utf-8", STYLE)))
        .route("/demo/demo.js", get(async || file("text/javascript; charset=utf-8", SCRIPT)))
        .with_state(PageContext { setup, calls })
}

fn file(content_type: &'static str, content: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")], content)
}

async fn setup_of_the_page(State(setup): State<PageSetup>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store")], Json(setup))
}

async fn start_call(State(calls): State<PageCalls>) -> Result<impl IntoResponse, Problem> {
    Ok((StatusCode::CREATED, Json(calls.start().await?)))
}

async fn end_call(
    State(calls): State<PageCalls>,
    Path(call): Path<String>,
) -> Result<StatusCode, Problem> {
    calls.change(&call, InteractiveChange::End).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT` starts the capture, `DELETE` stops it.
fn capture(capture_type: CaptureType) -> MethodRouter<PageContext> {
    let set = move |state| {
        async move |State(calls): State<PageCalls>, Path(call): Path<String>| {
            calls.change(&call, InteractiveChange::Capture(capture_type, state)).await?;
            Ok::<_, Problem>(StatusCode::NO_CONTENT)
        }
    };
    put(set(ProviderState::Active)).delete(set(ProviderState::Inactive))
}

/// What the SDK of each participant states, now and after each change. The page is gone when the stream
/// is.
async fn stream_sdks(
    State(calls): State<PageCalls>,
    Path(call): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, axum::Error>>>, Problem> {
    let mut sdks = calls.control(&call)?.sdks();
    // So that the present states are the first event.
    sdks.mark_changed();
    let events = stream::unfold(sdks, async |mut sdks| {
        // The end of the call closes the channel, and so ends the stream.
        sdks.changed().await.ok()?;
        let states = sdks.borrow_and_update().clone();
        Some((Event::default().retry(RECONNECT_INTERVAL).json_data(states), sdks))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// Refuses requests at a name that may not be this machine, and those of pages of another origin.
async fn only_own_pages(request: Request, next: Next) -> Result<Response, Problem> {
    if is_of_own_page(request.headers()) {
        Ok(next.run(request).await)
    } else {
        let detail = "open /demo/ of this server under localhost or 127.0.0.1";
        Err(Problem::new(ProblemKind::Forbidden, detail))
    }
}

fn is_of_own_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let Some(host) = text(header::HOST).filter(|host| names_this_machine(host)) else {
        return false;
    };
    // A browser leaves it out of some requests of the same origin.
    text(header::ORIGIN)
        .is_none_or(|origin| WebOrigin::parse(origin).is_some_and(|origin| origin.is_of_host(host)))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn pages_of_other_origins_are_refused() {
        let is_allowed = |host: &'static str, origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            headers.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
            is_of_own_page(&headers)
        };
        assert!(is_allowed("127.0.0.1:8080", None));
        assert!(is_allowed("127.0.0.1:8080", Some("http://127.0.0.1:8080")));
        assert!(is_allowed("localhost:8080", Some("http://localhost:8080")));
        for origin in ["http://attacker.example", "http://127.0.0.1:9090", "null", ""] {
            assert!(!is_allowed("127.0.0.1:8080", Some(origin)), "{origin}");
        }
        assert!(!is_allowed("attacker.example", Some("http://attacker.example")));
        assert!(!is_of_own_page(&HeaderMap::new()));
    }
}
