//! Keeps secrets out of what callers send (`NO_SECRETS`).
//!
//! # Why
//!
//! An app or a person may put a credential into a text of their own: a signed address, a token in the
//! name of a version, a password in the reason why an exception is closed. Bodies are refused then. A
//! report goes on without it, because a report of a recording must not be lost by it; all later steps
//! read the redacted text. An id without its secret would be another id, so it is refused.

use onrecord_json::{JsonIndex, RedactedJson, RedactionScope, TextPolicy, redact};
use serde::de::IgnoredAny;

use super::deserialize::deserialize;
use crate::http::problem::Problem;

/// The detail of the problem of a text that must not be stored.
const SECRET: &str = "this text contains what looks like a credential (a token, a key, a signed address), which is never stored; send another one";

/// Redacts a JSON text.
///
/// # Errors
///
/// A problem, if an id at one of these pointers contains a secret.
pub(crate) fn redact_body(json: &[u8], ids: &[&str]) -> Result<RedactedJson, Problem> {
    let text = std::str::from_utf8(json).map_err(|_| Problem::invalid("", "the body is UTF-8"))?;
    let index = JsonIndex::parse(text).map_err(|_| unreadable(json))?;
    let scope = RedactionScope::Calls { keeps: None, texts: TextPolicy::All };
    let redacted = redact(&index, scope)
        .map_err(|_| Problem::invalid("", "the body has too many members that are never stored"))?;
    match redacted.pointers.iter().find(|pointer| ids.contains(&pointer.as_str())) {
        Some(pointer) => Err(Problem::invalid(pointer.clone(), SECRET)),
        None => Ok(redacted),
    }
}

/// The problem of a text that cannot be indexed.
fn unreadable(json: &[u8]) -> Problem {
    let parsed = deserialize::<IgnoredAny>(&mut serde_json::Deserializer::from_slice(json));
    parsed.err().unwrap_or_else(|| Problem::invalid("", "the body has too many levels or values"))
}

/// Checks that a JSON text has no secret.
///
/// # Errors
///
/// A problem that names the first member with a secret.
pub(crate) fn check(json: &[u8]) -> Result<(), Problem> {
    match redact_body(json, &[])?.pointers.into_iter().next() {
        Some(pointer) => Err(Problem::invalid(pointer, SECRET)),
        None => Ok(()),
    }
}

/// Checks that a parameter has no secret.
///
/// # Errors
///
/// A problem that names it.
pub(crate) fn check_parameter(name: &str, value: &str) -> Result<(), Problem> {
    let json = serde_json::Value::from(value).to_string();
    check(json.as_bytes()).map_err(|_| Problem::invalid(name, SECRET))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JWT: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln";

    #[test]
    fn a_secret_is_cut_out_and_an_id_with_one_is_refused() {
        let body = format!(r#"{{"report_id":"1","app":"shop {JWT}"}}"#);
        let redacted = redact_body(body.as_bytes(), &["/report_id"]).ok().unwrap();
        assert_eq!(redacted.text, r#"{"report_id":"1","app":"shop [redacted]"}"#);
        assert_eq!(redacted.pointers, ["/app"]);
        let refused = redact_body(body.as_bytes(), &["/app"]).err().unwrap();
        assert!(serde_json::to_string(&refused).unwrap().contains("\"member\":\"/app\""));
        assert!(check(body.as_bytes()).is_err() && check(br#"{"id":"1"}"#).is_ok());
        assert!(check_parameter("version", &format!("\"{JWT}\"")).is_err());
        assert!(check_parameter("version", "2026-11 \"a\" \\ 1.0").is_ok());
    }
}
