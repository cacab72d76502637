//! Which browsers may call `/v1`.
//!
//! # Why
//!
//! CORS keeps a page of a foreign origin from reading our answers, but no browser asks it before
//! it opens a WebSocket, nor keeps what comes over one from the page. So a handshake is judged here
//! by what the browser says of the page's origin. Whoever says nothing is no browser.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// The origins whose pages may call.
#[derive(Clone, Default)]
pub struct Origins(Arc<[HeaderValue]>);

impl Origins {
    /// These, each as a browser writes it: `https://app.contoso.com`.
    #[must_use]
    pub fn new(origins: &[String]) -> Self {
        let origins = origins
            .iter()
            .filter_map(|origin| HeaderValue::from_str(origin).ok());
        Self(origins.collect())
    }

    /// Lets pages of these origins read what `/v1` answers. No cookies: nobody is known by them.
    pub fn cors(&self) -> CorsLayer {
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(self.0.iter().cloned()))
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                HeaderName::from_static("last-event-id"),
            ])
            .expose_headers([header::RETRY_AFTER])
            .max_age(Duration::from_secs(3600))
    }

    /// Whether a handshake may come from where it says that it comes from: one of these origins,
    /// the host that was asked, or no browser at all.
    #[must_use]
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let is_ours = || {
            let (_, place) = origin.to_str().ok()?.split_once("://")?;
            let host = headers.get(header::HOST)?.to_str().ok()?;
            Some(place.eq_ignore_ascii_case(host))
        };
        self.0.contains(origin) || is_ours().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_comes_from_a_configured_origin_our_own_or_no_browser() {
        let origins = Origins::new(&["https://app.contoso.com".to_owned()]);
        for (origin, admitted) in [
            (None, true),
            (Some("https://app.contoso.com"), true),
            (Some("https://onrecord.contoso.com"), true),
            (Some("https://app.contoso.com:8443"), false),
            (Some("http://app.contoso.com"), false),
            (Some("https://app.contoso.com.evil.example"), false),
            (Some("https://evil.example"), false),
            (Some("null"), false),
            (Some(""), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(
                header::HOST,
                HeaderValue::from_static("onrecord.contoso.com"),
            );
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(origins.admit(&headers), admitted, "{origin:?}");
        }
    }

    #[test]
    fn without_a_host_nothing_is_our_own() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::ORIGIN,
            HeaderValue::from_static("https://a.example"),
        );
        assert!(!Origins::default().admit(&headers));
    }
}
