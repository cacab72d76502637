//! The origins whose pages may call `/v1` from a browser or a web view.
//!
//! # Why
//!
//! CORS keeps a page of another origin from reading responses, but browsers do not apply it to
//! WebSockets. So the handshake of a WebSocket is checked here by its `Origin` header. A request
//! without that header does not come from a browser, nor does one with a credential in a header: a
//! page cannot set headers of a handshake.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::purpose::PURPOSE_HEADER;
use crate::config::{AllowedOrigin, WebOrigin};

/// The configured origins.
#[derive(Clone, Default)]
pub(crate) struct Origins(Arc<[AllowedOrigin]>);

impl Origins {
    #[must_use]
    pub(crate) fn new(origins: &[AllowedOrigin]) -> Self {
        Self(origins.into())
    }

    /// The CORS layer: pages of these origins may read responses of `/v1`. Cookies are not used.
    pub(crate) fn cors(&self) -> CorsLayer {
        let origins = self.clone();
        let is_allowed = move |origin: &HeaderValue, _: &_| origins.contains(origin);
        CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(is_allowed))
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                HeaderName::from_static("last-event-id"),
                HeaderName::from_static(PURPOSE_HEADER),
                // What libraries for server-sent events, HTTP and tracing add by themselves.
                header::CACHE_CONTROL,
                HeaderName::from_static("x-requested-with"),
                HeaderName::from_static("traceparent"),
                HeaderName::from_static("tracestate"),
            ])
            .expose_headers([header::RETRY_AFTER])
            .max_age(Duration::from_secs(3600))
    }

    /// Whether the `Origin` of a handshake is allowed: one of these origins, the host of the
    /// request itself, or none, as from a client that is no browser.
    #[must_use]
    pub(crate) fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let is_own_host = || {
            let origin = WebOrigin::parse(origin.to_str().ok()?)?;
            let host = headers.get(header::HOST)?.to_str().ok()?;
            Some(origin.is_of_host(host))
        };
        self.contains(origin) || is_own_host().unwrap_or(false)
    }

    fn contains(&self, origin: &HeaderValue) -> bool {
        origin.to_str().is_ok_and(|origin| self.0.iter().any(|allowed| allowed.matches(origin)))
    }
}

/// Whether the value of a `Host` header names this machine and can name no other one.
pub(crate) fn names_this_machine(host: &str) -> bool {
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
    use super::*;

    #[test]
    fn a_handshake_comes_from_a_configured_origin_the_own_host_or_no_browser() {
        let configured = ["https://app.contoso.com", "capacitor://localhost"];
        let configured = configured.map(|it| AllowedOrigin::parse(it).unwrap());
        let origins = Origins::new(&configured);
        for (origin, allowed) in [
            (None, true),
            (Some("https://app.contoso.com"), true),
            (Some("https://app.contoso.com:443"), true),
            (Some("capacitor://localhost"), true),
            (Some("https://onrecord.contoso.com"), true),
            (Some("https://onrecord.contoso.com:443"), true),
            (Some("ionic://localhost"), false),
            (Some("capacitor://onrecord.contoso.com"), false),
            (Some("https://app.contoso.com:8443"), false),
            (Some("http://app.contoso.com"), false),
            (Some("https://app.contoso.com.evil.example"), false),
            (Some("https://evil.example"), false),
            (Some("null"), false),
            (Some(""), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("onrecord.contoso.com"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(origins.allows(&headers), allowed, "{origin:?}");
        }
    }

    #[test]
    fn without_a_host_header_no_origin_is_the_own_host() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static("https://a.example"));
        assert!(!Origins::default().allows(&headers));
    }

    #[test]
    fn only_names_of_this_machine_are_recognized() {
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
