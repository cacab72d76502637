//! Origins of pages, as `cors.origins` names them and browsers send them.
//!
//! # Why
//!
//! Browsers leave out the usual port, and the web views of app frameworks have schemes of their own
//! (`capacitor://localhost`). So origins are compared by their parts. `null` is the origin of every
//! sandboxed frame and local file at once, so it is allowed only if it is named.

use serde::{Deserialize, Deserializer};

use super::units::parsed;

/// What is wrong with an origin of the settings.
const NO_ORIGIN: &str = "no browser sends this origin; write scheme, host and port (if it is not the usual one) in small letters and nothing else, for example \"https://app.contoso.com\" or \"capacitor://localhost\"; \"http://localhost:*\" has every port of this machine";

/// An origin that the settings allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedOrigin(OriginPattern);

#[derive(Clone, Debug, PartialEq, Eq)]
enum OriginPattern {
    /// `null`: a page without an origin.
    Null,
    /// One origin.
    Exact(WebOrigin),
    /// Every port of this machine, for development: `http://localhost:*`.
    AnyPort { scheme: String, host: String },
}

/// The origin of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WebOrigin {
    scheme: String,
    host: String,
    /// Without the usual port of the scheme.
    port: Option<u16>,
}

impl AllowedOrigin {
    /// Parses an origin of the settings; `None` if no page has it. `*` would allow all pages, so it is
    /// accepted as the port of this machine only.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self(OriginPattern::Null));
        }
        if let Some(any_port) = text.strip_suffix(":*") {
            let WebOrigin { scheme, host, .. } = WebOrigin::parse(any_port)?;
            let is_local = matches!(&*host, "localhost" | "127.0.0.1" | "[::1]");
            let is_web = matches!(&*scheme, "http" | "https");
            // Nothing but the port is left open: another one beside it would contradict.
            let is_whole = any_port == format!("{scheme}://{host}");
            return (is_local && is_web && is_whole)
                .then_some(Self(OriginPattern::AnyPort { scheme, host }));
        }
        // A capital letter would show a misunderstanding: no browser sends one.
        let is_lower_case = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        let exact = WebOrigin::parse(text).filter(|_| is_lower_case);
        exact.map(|exact| Self(OriginPattern::Exact(exact)))
    }

    /// Whether this is the origin that a request has.
    pub(crate) fn matches(&self, origin: &str) -> bool {
        match &self.0 {
            OriginPattern::Null => origin == "null",
            OriginPattern::Exact(exact) => WebOrigin::parse(origin).as_ref() == Some(exact),
            OriginPattern::AnyPort { scheme, host } => WebOrigin::parse(origin)
                .is_some_and(|origin| origin.scheme == *scheme && origin.host == *host),
        }
    }
}

impl<'de> Deserialize<'de> for AllowedOrigin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, Self::parse, NO_ORIGIN)
    }
}

impl WebOrigin {
    /// Parses scheme, host and port, and nothing else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, place) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let is_letter =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if !scheme.starts_with(|first: char| first.is_ascii_lowercase())
            || !scheme.bytes().all(is_letter)
        {
            return None;
        }
        // The colons of an IPv6 address are within brackets.
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port_of(port)?)),
            _ => (place, None),
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match address {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            // Pages of a file have no host.
            None if host.is_empty() => scheme == "file" && port.is_none(),
            None => host.bytes().all(is_name),
        };
        let usual_port = match &*scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let (host, port) =
            (host.to_ascii_lowercase(), port.filter(|port| Some(*port) != usual_port));
        is_host.then_some(Self { scheme, host, port })
    }

    /// Whether what is sent to it is protected: by TLS, or because it does not leave this machine.
    pub(crate) fn is_protected(&self) -> bool {
        match &*self.scheme {
            "https" => true,
            "http" => matches!(&*self.host, "localhost" | "127.0.0.1" | "[::1]"),
            _ => false,
        }
    }

    /// Whether this is an origin of a web server at the address `host` of a request.
    pub(crate) fn is_of_host(&self, host: &str) -> bool {
        let is_web = matches!(&*self.scheme, "http" | "https");
        is_web && Self::parse(&format!("{}://{host}", self.scheme)).as_ref() == Some(self)
    }
}

/// A port, in digits only.
fn port_of(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(allowed: &str, origin: &str) -> bool {
        AllowedOrigin::parse(allowed).is_some_and(|it| it.matches(origin))
    }

    #[test]
    fn an_origin_is_compared_by_its_parts() {
        for (allowed, origin) in [
            ("https://app.contoso.com", "https://app.contoso.com"),
            ("https://app.contoso.com:443", "https://app.contoso.com"),
            ("https://app.contoso.com", "https://app.contoso.com:443"),
            ("https://app.contoso.com", "HTTPS://App.Contoso.com"),
            ("http://localhost:80", "http://localhost"),
            ("http://[::1]:5173", "http://[::1]:5173"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("ionic://localhost", "ionic://localhost"),
            ("tauri://localhost", "tauri://localhost"),
            ("app://.", "app://."),
            ("app://visits", "app://visits"),
            ("app://visits:80", "app://visits:80"),
            ("file://", "file://"),
            ("null", "null"),
            ("http://localhost:*", "http://localhost"),
            ("http://localhost:*", "http://localhost:5173"),
            ("https://127.0.0.1:*", "https://127.0.0.1:8443"),
            ("http://[::1]:*", "http://[::1]:3000"),
        ] {
            assert!(matches(allowed, origin), "{allowed} {origin}");
        }
        for (allowed, origin) in [
            ("https://app.contoso.com", "http://app.contoso.com"),
            ("https://app.contoso.com", "https://app.contoso.com:80"),
            ("https://app.contoso.com", "https://app.contoso.com:8443"),
            ("https://app.contoso.com", "https://app.contoso.com.evil.example"),
            ("https://app.contoso.com", "https://app.contoso.com/"),
            ("https://app.contoso.com", "https://evil@app.contoso.com"),
            ("https://app.contoso.com", "null"),
            ("https://app.contoso.com", ""),
            ("capacitor://localhost", "http://localhost"),
            ("capacitor://localhost", "capacitor://localhost:80"),
            ("app://visits:443", "app://visits"),
            ("http://localhost:*", "https://localhost:5173"),
            ("http://localhost:*", "http://localhost.evil.example:5173"),
            ("http://localhost:*", "http://localhost:x"),
            ("http://localhost:*", "capacitor://localhost"),
            ("http://localhost:*", "null"),
            ("null", "file://"),
        ] {
            assert!(!matches(allowed, origin), "{allowed} {origin}");
        }
    }

    #[test]
    fn an_origin_that_no_page_has_is_refused() {
        for wrong in [
            "",
            "*",
            "Null",
            "app.contoso.com",
            "https://",
            "https://*",
            "https://*.contoso.com",
            "https://app.contoso.com:*",
            "http://localhost:80:*",
            "capacitor://localhost:*",
            "https://app.contoso.com/",
            "https://app.contoso.com/path",
            "https://App.contoso.com",
            "https://user@app.contoso.com",
            "https://app.contoso.com:",
            "https://app.contoso.com:+80",
            "https://app.contoso.com:65536",
            "https://[::1",
            "https://[x]",
            "://app",
            "1app://x",
            "app://",
            "app://a b",
            "null ",
        ] {
            assert_eq!(AllowedOrigin::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_own_host_has_the_usual_port_of_the_page() {
        let is_own = |origin: &str, host: &str| {
            WebOrigin::parse(origin).is_some_and(|origin| origin.is_of_host(host))
        };
        for (origin, host) in [
            ("https://onrecord.contoso.com", "onrecord.contoso.com"),
            ("https://onrecord.contoso.com", "onrecord.contoso.com:443"),
            ("http://onrecord.contoso.com", "OnRecord.contoso.com:80"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert!(is_own(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("https://onrecord.contoso.com", "onrecord.contoso.com:80"),
            ("http://onrecord.contoso.com", "onrecord.contoso.com:443"),
            ("https://evil.example", "onrecord.contoso.com"),
            ("capacitor://localhost", "localhost"),
            ("null", "null"),
        ] {
            assert!(!is_own(origin, host), "{origin} {host}");
        }
    }
}
