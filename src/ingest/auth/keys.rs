//! Authenticates a delivery by a key or by a bearer token; either is enough.
//!
//! A rejection is answered 503, so that a failed key rotation costs a retry and not an event
//! (`NEVER_REFUSE_FINALLY`).

use axum::http::HeaderMap;

use crate::config::{Jwt, KeyHash, Source};
use crate::http::auth::bearer_token;

/// Why a delivery is not authenticated; also the `reason` label of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum AuthError {
    /// The delivery has neither a key nor a token.
    NoCredential,
    /// The key is not one of the source's keys.
    WrongKey,
    /// The delivery has a bearer token, but the source has no `jwt` settings.
    UnknownToken,
    /// The token is not a JWT, or lacks a mandatory claim.
    TokenUnreadable,
    /// The signature is not of the key that the token names, or not RS256.
    TokenSignature,
    /// The issuer's JWKS does not contain the key that the token names.
    TokenUnknownKey,
    /// The issuer's JWKS was never fetched.
    NoJwks,
    /// The issuer is another one.
    TokenIssuer,
    /// The audience is another one.
    TokenAudience,
    /// The app is not one of the source's `app_ids`.
    TokenApp,
    /// The token has expired.
    TokenExpired,
    /// The token is not valid yet.
    TokenEarly,
}

impl AuthError {
    /// A sentence for the operator.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::NoCredential => {
                "the delivery has no credential: add the header x-onrecord-key or the query parameter key to the subscription or callback URI, or send a bearer token"
            }
            Self::WrongKey => {
                "the key is not one of the source's keys: after a rotation keep the old hash beside the new one until the sender has the new key"
            }
            Self::UnknownToken => {
                "the delivery has a bearer token, but this source has only keys: set its jwt"
            }
            Self::TokenUnreadable => "the bearer token is not a readable JWT",
            Self::TokenSignature => {
                "the bearer token was not signed (RS256) by the key that it names: it is forged, or jwks_url belongs to another issuer"
            }
            Self::TokenUnknownKey => {
                "the JWKS at the source's jwks_url does not contain the key that the bearer token names"
            }
            Self::NoJwks => {
                "the JWKS at the source's jwks_url was never fetched: check that this node can reach it"
            }
            Self::TokenIssuer => "the issuer of the bearer token is not the source's",
            Self::TokenAudience => "the audience of the bearer token is not the source's",
            Self::TokenApp => {
                "the app of the bearer token is not one of the source's app_ids; Event Grid's own is 4962773b-9cdb-44cf-a8bf-237846a00ab7"
            }
            Self::TokenExpired => "the bearer token has expired: check this node's clock",
            Self::TokenEarly => "the bearer token is not valid yet: check this node's clock",
        }
    }
}

/// The credential that a delivery presents.
// Not for logs, because a token is a secret.
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) enum PresentedCredential<'a> {
    /// One of the source's keys.
    Key(KeyHash),
    /// A token, and the settings to verify it by.
    Token(&'a str, &'a Jwt),
}

/// The headers that may carry a key: the service's own, and that of Event Grid's topics.
const KEY_HEADERS: [&str; 2] = ["x-onrecord-key", "aeg-sas-key"];

/// Finds the credential of a delivery: a key in a header, else in the query; if it is not a key of the
/// source, the bearer token. An empty header is none.
///
/// # Errors
///
/// [`AuthError`]: there is neither a key of the source nor a token that can be verified.
pub(crate) fn authenticate<'a>(
    source: &'a Source,
    headers: &'a HeaderMap,
    query_key: Option<&str>,
) -> Result<PresentedCredential<'a>, AuthError> {
    let in_header = KEY_HEADERS.iter().find_map(|name| {
        // Bytes beyond ASCII are no key.
        headers.get(*name)?.to_str().ok().map(str::trim).filter(|key| !key.is_empty())
    });
    let key = in_header.or(query_key.filter(|key| !key.is_empty()));
    // All hashes are compared, each in constant time.
    let find = |key: &str| {
        let matching = source.keys.iter().filter(|hash| hash.matches(key));
        matching.fold(None, |_, hash| Some(*hash))
    };
    if let Some(hash) = key.and_then(find) {
        return Ok(PresentedCredential::Key(hash));
    }
    match (bearer_token(headers), &source.jwt, key) {
        (Some(token), Some(jwt), _) => Ok(PresentedCredential::Token(token, jwt)),
        (_, _, Some(_)) => Err(AuthError::WrongKey),
        (Some(_), None, None) => Err(AuthError::UnknownToken),
        (None, _, None) => Err(AuthError::NoCredential),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::config::{KeyHash, Settings};

    fn source(keys: &[&str]) -> Source {
        let hashes: Vec<String> =
            keys.iter().map(|key| format!("\"{}\"", KeyHash::of(key))).collect();
        let toml = format!(
            "[sources.s]\nkind = \"event-grid\"\ntenant = \"t\"\nkeys = [{}]",
            hashes.join(",")
        );
        Settings::from_toml(&toml).unwrap().sources.remove("s").unwrap()
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(
            axum::http::HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        )])
    }

    #[test]
    fn each_key_of_the_source_is_accepted_in_header_and_query() {
        let source = source(&["old", "new"]);
        assert_eq!(
            authenticate(&source, &headers("x-onrecord-key", "old"), None),
            Ok(PresentedCredential::Key(KeyHash::of("old")))
        );
        assert_eq!(
            authenticate(&source, &HeaderMap::new(), Some("new")),
            Ok(PresentedCredential::Key(KeyHash::of("new")))
        );
        assert_eq!(
            authenticate(&source, &headers("aeg-sas-key", "new"), None),
            Ok(PresentedCredential::Key(KeyHash::of("new")))
        );
        // An empty header hides neither another one nor the query.
        for name in ["x-onrecord-key", "aeg-sas-key"] {
            let mut headers = headers(name, " ");
            let presented = Ok(PresentedCredential::Key(KeyHash::of("new")));
            assert_eq!(authenticate(&source, &headers, Some("new")), presented);
            headers.insert("aeg-sas-key", HeaderValue::from_static("new"));
            assert_eq!(authenticate(&source, &headers, None), presented);
        }
        assert_eq!(
            authenticate(&source, &headers("x-onrecord-key", "other"), Some("new")),
            Err(AuthError::WrongKey)
        );
        assert_eq!(authenticate(&source, &HeaderMap::new(), None), Err(AuthError::NoCredential));
        assert_eq!(
            authenticate(&source, &headers("authorization", "Bearer x.y.z"), None),
            Err(AuthError::UnknownToken)
        );
    }

    #[test]
    fn a_token_is_used_where_no_key_of_the_source_is_presented() {
        let mut source = source(&["key"]);
        let toml = "[sources.s]\nkind = \"event-grid\"\ntenant = \"t\"\njwt = { issuer = \"i\", audience = \"a\", jwks_url = \"https://h/k\" }";
        let with_jwt = Settings::from_toml(toml).unwrap().sources.remove("s");
        source.jwt = with_jwt.unwrap().jwt;
        let jwt = source.jwt.clone().unwrap();
        let token = headers("authorization", "bearer x.y.z");
        let presented = Ok(PresentedCredential::Token("x.y.z", &jwt));
        assert_eq!(authenticate(&source, &token, None), presented);
        assert_eq!(authenticate(&source, &token, Some("wrong")), presented);
        assert_eq!(
            authenticate(&source, &token, Some("key")),
            Ok(PresentedCredential::Key(KeyHash::of("key")))
        );
        assert_eq!(
            authenticate(&source, &HeaderMap::new(), Some("wrong")),
            Err(AuthError::WrongKey)
        );
        assert_eq!(authenticate(&source, &HeaderMap::new(), None), Err(AuthError::NoCredential));
    }

    #[test]
    fn a_source_without_keys_accepts_no_key() {
        assert_eq!(
            authenticate(&source(&[]), &HeaderMap::new(), Some("a")),
            Err(AuthError::WrongKey)
        );
        assert_eq!(
            authenticate(&source(&[]), &HeaderMap::new(), Some("")),
            Err(AuthError::NoCredential)
        );
    }
}
