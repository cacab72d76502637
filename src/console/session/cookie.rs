//! The cookies of the console: that of the session, that of the sign-in form, and what the reader chose.
//!
//! # Why
//!
//! A cookie with the prefix `__Host-` is one that this host alone has set, over TLS. A service on this machine
//! has no TLS, and some browsers keep no `Secure` cookie then. So at a name of this machine, and there alone,
//! the cookies have names without the prefix.

use axum::http::{HeaderMap, HeaderValue, header};

/// A cookie of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::console) enum ConsoleCookie {
    /// The token of the session.
    Session,
    /// The token of forms before the sign-in.
    SignInForm,
    /// Language, zone and theme.
    Preferences,
}

/// How long a browser keeps what the reader chose, s.
const PREFERENCES_AGE: u32 = 365 * 24 * 3600;

impl ConsoleCookie {
    fn name(self, is_local: bool) -> &'static str {
        match (self, is_local) {
            (Self::Session, false) => "__Host-onrecord-session",
            (Self::Session, true) => "onrecord-session",
            (Self::SignInForm, false) => "__Host-onrecord-sign-in",
            (Self::SignInForm, true) => "onrecord-sign-in",
            (Self::Preferences, false) => "__Host-onrecord-preferences",
            (Self::Preferences, true) => "onrecord-preferences",
        }
    }

    /// Its value in the headers of a request. Of several, the first counts, as servers do.
    pub(in crate::console) fn read(self, headers: &HeaderMap, is_local: bool) -> Option<&str> {
        let name = self.name(is_local);
        let lines = headers.get_all(header::COOKIE).into_iter();
        // A header that is no text has none of these cookies.
        let pairs = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
        let mut pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// The header that sets it. The values have letters, digits and `-_.:` only.
    pub(in crate::console) fn set(self, value: &str, is_local: bool) -> HeaderValue {
        let age = match self {
            // They end with the browser, and on the server.
            Self::Session | Self::SignInForm => String::new(),
            Self::Preferences => format!("; Max-Age={PREFERENCES_AGE}"),
        };
        self.header(value, &age, is_local)
    }

    /// The header that removes it.
    pub(in crate::console) fn remove(self, is_local: bool) -> HeaderValue {
        self.header("", "; Max-Age=0", is_local)
    }

    fn header(self, value: &str, age: &str, is_local: bool) -> HeaderValue {
        let secure = if is_local { "" } else { "; Secure" };
        let name = self.name(is_local);
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{age}");
        HeaderValue::from_str(&text).unwrap_or_else(|_| {
            tracing::error!("the value of a cookie is no text of a header");
            HeaderValue::from_static("")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_of_a_session_is_of_this_host_alone_over_tls_and_no_script_reads_it() {
        let set = ConsoleCookie::Session.set("t0ken", false);
        assert_eq!(set, "__Host-onrecord-session=t0ken; Path=/; HttpOnly; SameSite=Lax; Secure");
        let local = ConsoleCookie::Session.set("t0ken", true);
        assert_eq!(local, "onrecord-session=t0ken; Path=/; HttpOnly; SameSite=Lax");
        assert!(ConsoleCookie::Session.remove(false).to_str().unwrap().contains("Max-Age=0"));
    }

    #[test]
    fn a_cookie_is_read_by_its_whole_name_and_the_local_one_at_a_local_name_only() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("x-onrecord-session=a; a=b"));
        headers.append(
            header::COOKIE,
            HeaderValue::from_static("onrecord-session=local;__Host-onrecord-session=far"),
        );
        assert_eq!(ConsoleCookie::Session.read(&headers, true), Some("local"));
        assert_eq!(ConsoleCookie::Session.read(&headers, false), Some("far"));
        assert_eq!(ConsoleCookie::Preferences.read(&headers, false), None);
    }
}
