//! Parses the JWKS (RFC 7517) of an issuer: its RSA keys for signatures.

use std::collections::HashMap;

use anyhow::{anyhow, ensure};
use jsonwebtoken::DecodingKey;
use serde::Deserialize;

/// The RSA keys by their ids.
pub(crate) type Jwks = HashMap<String, SigningKey>;

/// A key, and the issuer whose tokens it may sign.
#[derive(Clone)]
pub(crate) struct SigningKey {
    pub decoding: DecodingKey,
    /// The issuer that the JWKS states; `{tenantid}` in it matches any tenant of Entra.
    pub issuer: Option<String>,
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

/// Parses a JWKS.
///
/// # Errors
///
/// The text is not a JWKS, or contains no usable key.
pub(crate) fn parse(text: &[u8]) -> anyhow::Result<Jwks> {
    let body: JwksBody = serde_json::from_slice(text).map_err(|_| anyhow!("this is not a JWKS"))?;
    let keys: Jwks = body
        .keys
        .into_iter()
        .filter_map(|key| serde_json::from_value::<JwkBody>(key).ok())
        .filter_map(JwkBody::into_signing_key)
        .collect();
    ensure!(!keys.is_empty(), "the JWKS has no RSA key with an id");
    Ok(keys)
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
        let jwks = parse(
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
        assert!(jwks.contains_key("plain") && jwks.contains_key("full"));
        for none in ["", "[]", "{}", r#"{"keys":[]}"#, "<html>"] {
            assert!(parse(none.as_bytes()).is_err(), "{none}");
        }
    }
}
