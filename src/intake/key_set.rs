//! The keys that one issuer publishes (JWKS, RFC 7517), as far as its tokens are signed by them.

use std::collections::HashMap;

use jsonwebtoken::DecodingKey;
use serde::Deserialize;

/// The RSA keys of a set by their ids.
pub(super) struct KeySet(HashMap<String, SigningKey>);

/// A key, and whose tokens it may sign.
#[derive(Clone)]
pub(super) struct SigningKey {
    pub decoding: DecodingKey,
    /// As the set says; `{tenantid}` in it stands for every tenant of Entra.
    pub issuer: Option<String>,
}

/// A text that is no set of keys, or has none that we could use.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoKeySet {
    #[error("this is no set of keys")]
    Unreadable,
    #[error("the set has no RSA key with an id")]
    Empty,
}

#[derive(Deserialize)]
struct Document {
    /// Read one by one: a set may hold keys of kinds that do not exist yet.
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Key {
    kty: String,
    kid: String,
    n: String,
    e: String,
    alg: Option<String>,
    r#use: Option<String>,
    issuer: Option<String>,
}

impl KeySet {
    /// Reads a set.
    ///
    /// # Errors
    ///
    /// [`NoKeySet`].
    pub fn parse(text: &[u8]) -> Result<Self, NoKeySet> {
        let document: Document = serde_json::from_slice(text).map_err(|_| NoKeySet::Unreadable)?;
        let keys: HashMap<String, SigningKey> = document
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value::<Key>(key).ok())
            .filter_map(Key::for_signatures)
            .collect();
        if keys.is_empty() {
            return Err(NoKeySet::Empty);
        }
        Ok(Self(keys))
    }

    /// The key of an id.
    pub fn key(&self, id: &str) -> Option<&SigningKey> {
        self.0.get(id)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Key {
    fn for_signatures(self) -> Option<(String, SigningKey)> {
        let is = |stated: Option<String>, wanted: &str| stated.is_none_or(|text| text == wanted);
        if self.kty != "RSA" || !is(self.alg, "RS256") || !is(self.r#use, "sig") {
            return None;
        }
        let decoding = DecodingKey::from_rsa_components(&self.n, &self.e).ok()?;
        let issuer = self.issuer;
        Some((self.kid, SigningKey { decoding, issuer }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rsa_keys_for_signatures_are_known_by_their_ids_and_others_are_passed_over() {
        let set = KeySet::parse(
            br#"{"keys":[
                {"kty":"RSA","kid":"plain","n":"AQAB","e":"AQAB"},
                {"kty":"RSA","kid":"full","use":"sig","alg":"RS256","n":"AQAB","e":"AQAB","x5t":"x","x5c":["x"],"issuer":"i"},
                {"kty":"RSA","kid":"encrypts","use":"enc","n":"AQAB","e":"AQAB"},
                {"kty":"RSA","kid":"other","alg":"RS512","n":"AQAB","e":"AQAB"},
                {"kty":"RSA","kid":"no number","n":"%","e":"AQAB"},
                {"kty":"RSA","n":"AQAB","e":"AQAB"},
                {"kty":"EC","kid":"curve","crv":"P-256","x":"AQAB","y":"AQAB"},
                {"kty":"oct","kid":"secret","k":"AQAB","n":"AQAB","e":"AQAB"},
                17]}"#,
        )
        .unwrap();
        assert_eq!(set.len(), 2);
        assert!(set.key("plain").is_some() && set.key("full").is_some());
        for none in ["", "[]", "{}", r#"{"keys":[]}"#, "<html>"] {
            assert!(KeySet::parse(none.as_bytes()).is_err(), "{none}");
        }
    }
}
