//! Paging of lists: `limit` and the keyset cursor.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::body;
use super::problem::Problem;

/// Default number of rows of a page.
const DEFAULT_LIMIT: i64 = 100;
/// Maximum number of rows of a page.
const MAX_LIMIT: i64 = 1000;

/// The parameters of a list without a filter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    pub cursor: Option<String>,
    pub limit: Option<String>,
}

/// Parses the parameter `limit`.
///
/// # Errors
///
/// A problem that names the parameter.
pub(crate) fn parse_limit(text: Option<&str>) -> Result<i64, Problem> {
    let Some(text) = text else {
        return Ok(DEFAULT_LIMIT);
    };
    text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(|| {
        Problem::invalid("limit", format!("limit is a whole number from 1 to {MAX_LIMIT}"))
    })
}

/// Parses a cursor of [`format_cursor`]. It is not signed: a changed cursor only selects other rows
/// of the same tenant (`TENANT_ISOLATION`).
///
/// # Errors
///
/// A problem that names the parameter.
pub(crate) fn parse_cursor<T: DeserializeOwned>(text: Option<&str>) -> Result<Option<T>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    bytes.and_then(|bytes| body::parse(&bytes).ok()).map(Some).ok_or_else(|| {
        Problem::invalid("cursor", "the cursor is not one that this list gave; start without it")
    })
}

/// The cursor after a row, given by its sort key.
pub(crate) fn format_cursor<T: Serialize>(sort_key: &T) -> Option<String> {
    serde_json::to_vec(sort_key).ok().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
}

/// The cursor of the page after these rows. `None`: the page is not full, so it is the last one.
pub(crate) fn next_cursor<R, K: Serialize>(
    rows: &[R],
    limit: i64,
    sort_key: impl Fn(&R) -> K,
) -> Option<String> {
    let last = rows.last().filter(|_| rows.len() as i64 == limit)?;
    format_cursor(&sort_key(last))
}
