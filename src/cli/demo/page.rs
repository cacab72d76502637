//! The page of the demonstration, `/demo/`: a call that is started and stopped by buttons, the banner of
//! each participant, and the evidence of the call.
//!
//! # Why
//!
//! Its files are built from `clients/web/demo` by `npm run demo` and embedded, so `cargo build` needs no
//! Node. The page reads the keys of the demonstration. So these are given to a page of this machine
//! only, by the name in its address: another name may have been made to resolve to this machine.

use std::net::IpAddr;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

const INDEX: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/demo.css");
const SCRIPT: &str = include_str!("page/demo.js");

/// What the page needs to play a call and to read its evidence.
#[derive(Clone, Serialize)]
pub(super) struct PageSetup {
    pub app_key: String,
    pub admin_key: String,
    /// The source of the Event Grid events of the call.
    pub source: String,
    pub source_key: String,
    /// The resource to which the participants belong.
    pub resource_id: String,
}

pub(super) fn router(setup: PageSetup) -> Router {
    Router::new()
        .route("/demo", get(async || Redirect::permanent("/demo/")))
        .route("/demo/", get(async || file("text/html; charset=utf-8", INDEX)))
        .route("/demo/demo.css", get(async || file("text/css; charset=utf-8", STYLE)))
        .route("/demo/demo.js", get(async || file("text/javascript; charset=utf-8", SCRIPT)))
        .route("/demo/setup.json", get(setup_of_the_page))
        .with_state(setup)
}

fn file(content_type: &'static str, content: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")], content)
}

async fn setup_of_the_page(State(setup): State<PageSetup>, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(names_this_machine) {
        ([(header::CACHE_CONTROL, "no-store")], Json(setup)).into_response()
    } else {
        (StatusCode::FORBIDDEN, "open this page under localhost or 127.0.0.1\n").into_response()
    }
}

/// Whether the value of a `Host` header names this machine and can name no other one.
fn names_this_machine(host: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::names_this_machine;

    #[test]
    fn only_names_of_this_machine_are_given_the_keys() {
        for host in
            ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080"]
        {
            assert!(names_this_machine(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "localhost.example.com:8080",
            "192.168.0.2:8080",
            "127.0.0.1.example.com",
            "[2001:db8::1]:80",
        ] {
            assert!(!names_this_machine(host), "{host}");
        }
    }
}
