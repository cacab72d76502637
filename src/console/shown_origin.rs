//! The address of the service in commands that pages show.

use axum::http::{HeaderMap, header};

use crate::http::origin::names_this_machine;

/// The origin that a browser asks. A header with signs that a name does not have is not shown: commands are
/// copied into a shell.
pub(super) fn shown_origin(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_name =
        !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-.:[]".contains(c));
    if !is_name {
        return "https://onrecord.example".to_owned();
    }
    let scheme = if names_this_machine(host) { "http" } else { "https" };
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_host_that_a_shell_would_run_is_not_shown() {
        for (host, origin) in [
            ("onrecord.contoso.com", "https://onrecord.contoso.com"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("x';reboot;'", "https://onrecord.example"),
            ("$(reboot)", "https://onrecord.example"),
        ] {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            assert_eq!(shown_origin(&headers), origin);
        }
        assert_eq!(shown_origin(&HeaderMap::new()), "https://onrecord.example");
    }
}
