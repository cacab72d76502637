//! Whether a delivery comes from its source.
//!
//! A refusal is never the sender's fault (law 2): it is answered 503, so that a botched rotation of
//! keys costs a retry and not an event.

use axum::http::HeaderMap;

use crate::config::{KeyHash, Source};
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
}

impl Disbelief {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::WrongKey => "wrong_key",
            Self::UnknownToken => "unknown_token",
        }
    }

    /// What the operator should look at.
    pub fn hint(self) -> &'static str {
        match self {
            Self::NoCredential => {
                "the delivery has no key: add the header x-onrecord-key or the query parameter key to the subscription or callback URI"
            }
            Self::WrongKey => {
                "the key is none of the source's keys: after a rotation keep the old hash beside the new one until the sender has the new key"
            }
            Self::UnknownToken => "a bearer token came, but this source has only keys",
        }
    }
}

/// What a delivery was believed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// This one of the source's keys.
    Key(KeyHash),
}

impl Credential {
    /// As it stands on the log, by which `onrecord doctor` tells whether a key is still in use.
    pub fn label(&self) -> String {
        match self {
            Self::Key(hash) => hash.label(),
        }
    }
}

/// Believes a delivery that shows a live key: in the header `x-onrecord-key`, else in the query.
pub(super) fn authenticate(
    source: &Source,
    headers: &HeaderMap,
    query_key: Option<&str>,
) -> Result<Credential, Disbelief> {
    let in_header = headers
        .get("x-onrecord-key")
        .and_then(|value| value.to_str().ok());
    match in_header.or(query_key) {
        Some(key) => {
            // Every key is compared, each in constant time.
            let matching = source.keys.iter().filter(|hash| hash.matches(key));
            matching
                .fold(None, |_, hash| Some(Credential::Key(*hash)))
                .ok_or(Disbelief::WrongKey)
        }
        None if bearer(headers).is_some() => Err(Disbelief::UnknownToken),
        None => Err(Disbelief::NoCredential),
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
            Ok(Credential::Key(KeyHash::of("old")))
        );
        assert_eq!(
            authenticate(&source, &HeaderMap::new(), Some("new")),
            Ok(Credential::Key(KeyHash::of("new")))
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
    fn a_source_without_keys_believes_nobody() {
        assert_eq!(
            authenticate(&source(&[]), &HeaderMap::new(), Some("")),
            Err(Disbelief::WrongKey)
        );
    }
}
