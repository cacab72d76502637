//! The purpose of a read, as the caller states it for the access log.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::body::secrets;
use super::problem::Problem;

/// The header with the purpose.
pub(crate) const PURPOSE_HEADER: &str = "x-onrecord-purpose";
/// Minimum and maximum length of a purpose, in characters.
const PURPOSE_LENGTH: std::ops::RangeInclusive<usize> = 3..=500;

/// The purpose in the header of a request, if it states one.
#[derive(Clone, Debug, Default)]
pub(crate) struct StatedPurpose(pub Option<String>);

impl<S: Sync> FromRequestParts<S> for StatedPurpose {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        stated_purpose(&parts.headers).map(Self)
    }
}

/// The purpose in the header of a request.
pub(crate) fn stated_purpose(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(PURPOSE_HEADER) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes()).ok();
    let text =
        text.ok_or_else(|| Problem::invalid(PURPOSE_HEADER, "the purpose is text in UTF-8"))?;
    checked_purpose(PURPOSE_HEADER, text).map(Some)
}

/// A purpose that can be stored.
pub(crate) fn checked_purpose(member: &'static str, text: &str) -> Result<String, Problem> {
    let text = text.trim();
    if !PURPOSE_LENGTH.contains(&text.chars().count()) || text.chars().any(char::is_control) {
        let detail = "a purpose has 3 to 500 characters: why this is read, or the number of a case";
        return Err(Problem::invalid(member, detail));
    }
    // NO_SECRETS: the access log keeps it permanently.
    secrets::check_parameter(member, text)?;
    Ok(text.to_owned())
}
