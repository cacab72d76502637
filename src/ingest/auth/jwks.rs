//! Parses the JWKS (RFC 7517) of an issuer: its RSA keys for signatures.

use std::collections::HashMap;

use jsonwebtoken::DecodingKey;
use serde::Deserialize;

/// The RSA keys by their ids.
pub(crate) struct Jwks(HashMap<String, SigningKey>);

/// A key, and the issuer whose tokens it may sign.
#[derive(Clone)]
pub(crate) struct SigningKey {
    pub decoding: DecodingKey,
    /// The issuer that the JWKS states; `{tenantid}` in it matches any tenant of Entra.
    pub issuer: Option<String>,
}

/// A text that is not a JWKS, or contains no usable key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JwksError {
    #[error("this is not a JWKS")]
    NotJwks,
    #[error("the JWKS has no RSA key with an id")]
    Empty,
}

#[derive(Deserialize)]
struct JwksBody {
    /// Parsed one by one, because a JWKS may contain keys of unknown kinds.
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct JwkBody {
    kty: String,
    kid: String,
    n: String,
    e: String,
    alg: Option<String>,
    r#use: Option<String>,
    issuer: Option<String>,
}

impl Jwks {
    /// Parses a JWKS.
    ///
    /// # Errors
    ///
    /// [`JwksError`].
    pub(crate) fn parse(text: &[u8]) -> Result<Self, JwksError> {
        let body: JwksBody = serde_json::from_slice(text).map_err(|_| JwksError::NotJwks)?;
        let keys: HashMap<String, SigningKey> = body
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value::<JwkBody>(key).ok())
            .filter_map(JwkBody::into_signing_key)
            .collect();
        if keys.is_empty() {
            return Err(JwksError::Empty);
        }
        Ok(Self(keys))
    }

    /// The key with that id.
    pub(crate) fn key(&self, id: &str) -> Option<&SigningKey> {
        self.0.get(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl JwkBody {
    fn into_signing_key(self) -> Option<(String, SigningKey)> {
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
    fn rsa_keys_for_signatures_are_found_by_id_and_others_are_ignored() {
        let jwks = Jwks::parse(
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
        assert_eq!(jwks.len(), 2);
        assert!(jwks.key("plain").is_some() && jwks.key("full").is_some());
        for none in ["", "[]", "{}", r#"{"keys":[]}"#, "<html>"] {
            assert!(Jwks::parse(none.as_bytes()).is_err(), "{none}");
        }
    }
}
