//! Paging of lists: `limit` and the keyset cursor, which is bound to its list.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body;
use super::problem::{Problem, ProblemKind};
use onrecord_evidence::event::ids::Digest;

/// Default number of rows of a page.
const DEFAULT_LIMIT: i64 = 100;
/// Maximum number of rows of a page.
const MAX_LIMIT: i64 = 1000;
/// Length of the digest that binds a cursor to its list.
const BINDING_BYTES: usize = 8;

/// The parameters of a list without a filter.
#[derive(Deserialize, Serialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// The `next` of an answer to the same parameters; what follows it is returned.
    #[serde(skip_serializing)]
    pub cursor: Option<String>,
    /// Maximum number of rows, 1 to 1000. Default: 100.
    #[serde(skip_serializing)]
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000)]
    pub limit: Option<String>,
}

/// A list with its filter and order, to which its cursors are bound.
///
/// # Why
///
/// A cursor is a position in one order of one set of rows. With another filter it would leave out rows
/// without a word.
pub(crate) struct ListBinding(String);

impl ListBinding {
    /// The binding of the list of this name. `filter` has all parameters but `cursor` and `limit`.
    ///
    /// # Errors
    ///
    /// The filter cannot be written as JSON.
    pub(crate) fn of(name: &str, filter: &impl Serialize) -> Result<Self, Problem> {
        let text = serde_json::to_vec(&(name, filter)).map_err(|error| {
            tracing::error!(error = %error, "a filter cannot be written as JSON: {error}");
            Problem::new(ProblemKind::Internal, "the log of the server has details")
        })?;
        let digest = Digest::of(&text);
        Ok(Self(URL_SAFE_NO_PAD.encode(&digest.as_bytes()[..BINDING_BYTES])))
    }

    /// Parses a cursor of this list. It is not signed: a changed cursor only selects other rows of the same
    /// tenant (`TENANT_ISOLATION`).
    ///
    /// # Errors
    ///
    /// A problem that names the parameter.
    pub(crate) fn parse_cursor<T: DeserializeOwned>(
        &self,
        text: Option<&str>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = text else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let cursor: Option<(String, Value)> = bytes.and_then(|bytes| body::parse(&bytes).ok());
        let unknown = || {
            let detail = "the cursor is not one that this list gave; start without it";
            Problem::invalid("cursor", detail)
        };
        let (binding, position) = cursor.ok_or_else(unknown)?;
        if binding != self.0 {
            return Err(Problem::invalid(
                "cursor",
                "the cursor belongs to a list with another filter or order; repeat the parameters of the request that gave it, or start without it",
            ));
        }
        T::deserialize(position).map(Some).map_err(|_| unknown())
    }

    /// The cursor after a row, given by its sort key. `None` only for a key that is no JSON.
    pub(crate) fn format_cursor<T: Serialize>(&self, sort_key: &T) -> Option<String> {
        let cursor = serde_json::to_vec(&(&self.0, sort_key));
        cursor.ok().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The cursor of the page after these rows. `None`: the page is not full, so it is the last one.
    pub(crate) fn next_cursor<R, K: Serialize>(
        &self,
        rows: &[R],
        limit: i64,
        sort_key: impl Fn(&R) -> K,
    ) -> Option<String> {
        let last = rows.last().filter(|_| rows.len() as i64 == limit)?;
        self.format_cursor(&sort_key(last))
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cursor_is_refused_by_a_list_with_another_filter() {
        let open = ListBinding::of("calls", &json!({ "state": "open" })).unwrap();
        let ended = ListBinding::of("calls", &json!({ "state": "ended" })).unwrap();
        let events = ListBinding::of("events", &json!({ "state": "open" })).unwrap();
        let cursor = open.format_cursor(&(5, "x")).unwrap();
        assert_eq!(open.parse_cursor(Some(&cursor)).unwrap(), Some((5, "x".to_owned())));
        assert_eq!(open.parse_cursor::<(i64, String)>(None).unwrap(), None);
        for other in [&ended, &events] {
            let refused = other.parse_cursor::<(i64, String)>(Some(&cursor)).unwrap_err();
            assert!(json!(refused)["detail"].as_str().unwrap().contains("another filter"));
        }
        for wrong in ["", "x", "é", &cursor[1..]] {
            assert!(open.parse_cursor::<(i64, String)>(Some(wrong)).is_err(), "{wrong}");
        }
        assert!(open.parse_cursor::<(Vec<i64>, String)>(Some(&cursor)).is_err());
    }
}
