//! The body of a form. Its fields are readable only after its token was compared with that of the session.

use serde::de::DeserializeOwned;

use super::session::token::is_same_token;
use crate::http::body::{self, RequestBody};
use crate::http::problem::{Problem, ProblemKind};

/// The field with the token.
pub(super) const TOKEN_FIELD: &str = "form_token";

/// The body of a form as it arrived.
pub(super) struct FormBody(Vec<(String, String)>);

impl<'de> serde::Deserialize<'de> for FormBody {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self)
    }
}

impl RequestBody for FormBody {
    const MAX_BYTES: usize = 64 * 1024;

    fn of_bytes(bytes: &[u8]) -> Result<Self, Problem> {
        let pairs = serde_urlencoded::from_bytes(bytes);
        pairs.map(Self).map_err(|_| Problem::invalid("", "the body is that of a form"))
    }
}

impl FormBody {
    /// The fields, if the form has this token: that of a page of another site has not.
    ///
    /// # Errors
    ///
    /// The token is another one, or a field is wrong.
    pub(super) fn checked<T: DeserializeOwned>(self, token: &str) -> Result<T, Problem> {
        let (tokens, fields): (Vec<_>, Vec<_>) =
            self.0.into_iter().partition(|(name, _)| name == TOKEN_FIELD);
        match tokens.as_slice() {
            [(_, sent)] if is_same_token(sent, token) => body::of_pairs(fields),
            _ => Err(Problem::new(
                ProblemKind::Forbidden,
                "this form is not one of your present session; open the page again and repeat it",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, serde::Deserialize, PartialEq)]
    struct Fields {
        reason: String,
        #[serde(default)]
        id: Vec<String>,
    }

    fn read(body: &str) -> Result<Fields, Problem> {
        FormBody::of_bytes(body.as_bytes())?.checked("the-token")
    }

    #[test]
    fn a_form_without_the_token_of_the_session_has_no_fields() {
        let fields = read("form_token=the-token&reason=a+b%26c&id=1&id=2").unwrap();
        let expected =
            Fields { reason: "a b&c".to_owned(), id: vec!["1".to_owned(), "2".to_owned()] };
        assert_eq!(fields, expected);
        for body in [
            "reason=x",
            "form_token=&reason=x",
            "form_token=the-tokeN&reason=x",
            "form_token=the-token&form_token=the-token&reason=x",
        ] {
            let refused = json!(read(body).unwrap_err());
            assert_eq!(refused["status"], 403, "{body}");
        }
        assert_eq!(json!(read("form_token=the-token&reason=%00").unwrap_err())["status"], 400);
    }
}
