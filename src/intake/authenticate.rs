//! Whether a delivery comes from its source: by a key, or by a bearer token; either opens.
//!
//! A refusal is never the sender's fault (law 2): it is answered 503, so that a botched rotation of
//! keys costs a retry and not an event.

use std::fmt;

use axum::http::HeaderMap;

use super::issuer_keys::Absence;
use crate::config::{Jwt, KeyHash, Source};
use crate::http::access::bearer;

/// Why a delivery is not believed; the label of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Disbelief {
    /// Neither a key nor a token came with it.
    NoCredential,
    /// The key is none of the source's live ones.
    WrongKey,
    /// A bearer token came, and the source has none configured that it could be checked by.
    UnknownToken,
    /// It is no JWT, or without the claims that every one has.
    TokenUnreadable,
    /// It was not signed by the key that it names, or not in the way of our sources.
    TokenForged,
    /// The issuer has no key of that name.
    TokenUnknownKey,
    /// The issuer's keys were never had.
    NoKeySet,
    TokenIssuer,
    TokenAudience,
    TokenApp,
    TokenExpired,
    /// It is not valid yet.
    TokenEarly,
}

impl Disbelief {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::WrongKey => "wrong_key",
            Self::UnknownToken => "unknown_token",
            Self::TokenUnreadable => "token_unreadable",
            Self::TokenForged => "token_forged",
            Self::TokenUnknownKey => "token_unknown_key",
            Self::NoKeySet => "no_key_set",
            Self::TokenIssuer => "token_issuer",
            Self::TokenAudience => "token_audience",
            Self::TokenApp => "token_app",
            Self::TokenExpired => "token_expired",
            Self::TokenEarly => "token_early",
        }
    }

    /// What the operator should look at.
    pub fn hint(self) -> &'static str {
        match self {
            Self::NoCredential => {
                "the delivery has no credential: add the header x-onrecord-key or the query parameter key to the subscription or callback URI, or let it bring a token"
            }
            Self::WrongKey => {
                "the key is none of the source's keys: after a rotation keep the old hash beside the new one until the sender has the new key"
            }
            Self::UnknownToken => "a bearer token came, but this source has only keys: set its jwt",
            Self::TokenUnreadable => "the bearer token is no JWT that could be read",
            Self::TokenForged => {
                "the bearer token was not signed (RS256) by the key that it names: somebody forged it, or jwks_url is another issuer's"
            }
            Self::TokenUnknownKey => {
                "the keys at the source's jwks_url do not have the one that the bearer token names"
            }
            Self::NoKeySet => {
                "the keys at the source's jwks_url were never read: see whether this node reaches it"
            }
            Self::TokenIssuer => "the bearer token is of another issuer than the source's",
            Self::TokenAudience => "the bearer token is for another audience than the source's",
            Self::TokenApp => {
                "the bearer token was given to none of the source's app_ids; Event Grid's own is 4962773b-9cdb-44cf-a8bf-237846a00ab7"
            }
            Self::TokenExpired => {
                "the bearer token has expired: see whether this node's clock is right"
            }
            Self::TokenEarly => {
                "the bearer token is not valid yet: see whether this node's clock is right"
            }
        }
    }
}

/// What a delivery was believed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// This one of the source's keys.
    Key(KeyHash),
    /// A token that this key of the issuer signed.
    Token { key_id: String },
}

impl Credential {
    /// As it stands on the log, by which `onrecord doctor` tells whether a key is still in use.
    pub fn label(&self) -> String {
        match self {
            Self::Key(hash) => hash.label(),
            Self::Token { key_id } => {
                format!("jwt:{}", key_id.chars().take(64).collect::<String>())
            }
        }
    }
}

impl From<Absence> for Disbelief {
    fn from(absence: Absence) -> Self {
        match absence {
            Absence::KeySet => Self::NoKeySet,
            Absence::Key => Self::TokenUnknownKey,
        }
    }
}

/// What a delivery shows.
#[derive(PartialEq)]
pub(super) enum Shown<'a> {
    /// This live key.
    Key(KeyHash),
    /// A token, to be checked by these settings.
    Token(&'a str, &'a Jwt),
}

/// A token is a credential.
impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(hash) => write!(f, "Key({hash})"),
            Self::Token(..) => f.write_str("Token"),
        }
    }
}

/// Looks at the credentials of a delivery: a key in the header `x-onrecord-key`, else in the query;
/// without a live one, the bearer token.
///
/// # Errors
///
/// [`Disbelief`]: there is neither a live key nor a token that could be checked.
pub(super) fn authenticate<'a>(
    source: &'a Source,
    headers: &'a HeaderMap,
    query_key: Option<&str>,
) -> Result<Shown<'a>, Disbelief> {
    let in_header = headers
        .get("x-onrecord-key")
        .and_then(|value| value.to_str().ok());
    let key = in_header.or(query_key);
    // Every hash is compared, each in constant time.
    let live = |key: &str| {
        let matching = source.keys.iter().filter(|hash| hash.matches(key));
        matching.fold(None, |_, hash| Some(*hash))
    };
    if let Some(hash) = key.and_then(live) {
        return Ok(Shown::Key(hash));
    }
    match (bearer(headers), &source.jwt, key) {
        (Some(token), Some(jwt), _) => Ok(Shown::Token(token, jwt)),
        (_, _, Some(_)) => Err(Disbelief::WrongKey),
        (Some(_), None, None) => Err(Disbelief::UnknownToken),
        (None, _, None) => Err(Disbelief::NoCredential),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::config::{KeyHash, Settings};

    fn source(keys: &[&str]) -> Source {
        let hashes: Vec<String> = keys
            .iter()
            .map(|key| format!("\"{}\"", KeyHash::of(key)))
            .collect();
        let toml = format!(
            "[sources.s]\nkind = \"event-grid\"\ntenant = \"t\"\nkeys = [{}]",
            hashes.join(",")
        );
        Settings::from_toml(&toml)
            .unwrap()
            .sources
            .remove("s")
            .unwrap()
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(
            axum::http::HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        )])
    }

    #[test]
    fn both_live_keys_open_the_door_by_header_and_by_query() {
        let source = source(&["old", "new"]);
        assert_eq!(
            authenticate(&source, &headers("x-onrecord-key", "old"), None),
            Ok(Shown::Key(KeyHash::of("old")))
        );
        assert_eq!(
            authenticate(&source, &HeaderMap::new(), Some("new")),
            Ok(Shown::Key(KeyHash::of("new")))
        );
        assert_eq!(
            authenticate(&source, &headers("x-onrecord-key", "other"), Some("new")),
            Err(Disbelief::WrongKey)
        );
        assert_eq!(
            authenticate(&source, &HeaderMap::new(), None),
            Err(Disbelief::NoCredential)
        );
        assert_eq!(
            authenticate(&source, &headers("authorization", "Bearer x.y.z"), None),
            Err(Disbelief::UnknownToken)
        );
    }

    #[test]
    fn a_token_is_looked_at_where_no_live_key_is_shown() {
        let mut source = source(&["key"]);
        let toml = "[sources.s]\nkind = \"event-grid\"\ntenant = \"t\"\njwt = { issuer = \"i\", audience = \"a\", jwks_url = \"https://h/k\" }";
        let with_jwt = Settings::from_toml(toml).unwrap().sources.remove("s");
        source.jwt = with_jwt.unwrap().jwt;
        let jwt = source.jwt.clone().unwrap();
        let token = headers("authorization", "bearer x.y.z");
        let shown = Ok(Shown::Token("x.y.z", &jwt));
        assert_eq!(authenticate(&source, &token, None), shown);
        assert_eq!(authenticate(&source, &token, Some("wrong")), shown);
        assert_eq!(
            authenticate(&source, &token, Some("key")),
            Ok(Shown::Key(KeyHash::of("key")))
        );
        assert_eq!(
            authenticate(&source, &HeaderMap::new(), Some("wrong")),
            Err(Disbelief::WrongKey)
        );
        assert_eq!(
            authenticate(&source, &HeaderMap::new(), None),
            Err(Disbelief::NoCredential)
        );
    }

    #[test]
    fn a_source_without_keys_believes_nobody() {
        assert_eq!(
            authenticate(&source(&[]), &HeaderMap::new(), Some("")),
            Err(Disbelief::WrongKey)
        );
    }
}
