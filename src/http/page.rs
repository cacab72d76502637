//! Pages of a list: limit and keyset cursor.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// A page has so many rows unless the caller says otherwise.
const USUAL: i64 = 100;
/// And at most so many.
const MOST: i64 = 1000;

/// Reads `limit`.
///
/// # Errors
///
/// A problem that names the parameter.
pub fn limit(text: Option<&str>) -> Result<i64, Problem> {
    let Some(text) = text else { return Ok(USUAL) };
    text.parse()
        .ok()
        .filter(|limit| (1..=MOST).contains(limit))
        .ok_or_else(|| {
            Problem::invalid("limit", format!("limit is a whole number from 1 to {MOST}"))
        })
}

/// Reads a cursor that [`write`] made. Tampering with one only moves its owner within their own
/// rows: every query names its tenant.
///
/// # Errors
///
/// A problem that names the parameter.
pub fn read<T: DeserializeOwned>(text: Option<&str>) -> Result<Option<T>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .map(Some)
        .ok_or_else(|| {
            Problem::invalid(
                "cursor",
                "the cursor is not one that this list gave; start without it",
            )
        })
}

/// A cursor out of the last row of a full page.
#[must_use]
pub fn write<T: Serialize>(key: &T) -> Option<String> {
    serde_json::to_vec(key)
        .ok()
        .map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
}
