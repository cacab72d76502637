//! Which texts a body of a client or its backend may have: of bounded length, without control
//! characters.
//!
//! # Why
//!
//! PostgreSQL stores no NUL, and no other control character belongs into an id. A text that a store
//! refuses later would be in the live state and not in the ledger, so it is rejected here.

use crate::http::problem::Problem;
use onrecord_evidence::event::calling_event::ShownText;

/// Maximum length of an id or a short text, in bytes.
pub(crate) const MAX_TEXT_BYTES: usize = 256;

/// Checks that the text of a member has 1 to `max_bytes` bytes and no control character.
///
/// # Errors
///
/// A problem that names the member.
pub(crate) fn check(member: &str, text: &str, max_bytes: usize) -> Result<(), Problem> {
    if (1..=max_bytes).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    let detail = format!("1 to {max_bytes} bytes without control characters");
    Err(Problem::invalid(member, detail))
}

/// Checks a text that may be absent. An empty text counts as absent.
///
/// # Errors
///
/// A problem that names the member.
pub(crate) fn check_optional(
    member: &str,
    text: Option<&str>,
    max_bytes: usize,
) -> Result<(), Problem> {
    text.filter(|text| !text.is_empty()).map_or(Ok(()), |text| check(member, text, max_bytes))
}

/// Checks which words were shown: their member is `text`.
///
/// # Errors
///
/// A problem that names the member.
pub(crate) fn check_shown(text: &ShownText) -> Result<(), Problem> {
    check("/text/version", &text.version, MAX_TEXT_BYTES)?;
    check("/text/sha256", &text.sha256, MAX_TEXT_BYTES)?;
    check("/text/locale", &text.locale, MAX_TEXT_BYTES)
}
