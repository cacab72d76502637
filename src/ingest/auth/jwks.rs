//! Parses the JWKS (RFC 7517) of an issuer: its RSA keys for signatures.

use std::collections::{BTreeSet, HashMap};

use anyhow::{anyhow, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;

/// Minimum length of an RSA key in bits (RFC 7518, section 3.3).
const MIN_RSA_BITS: usize = 2048;

/// The RSA keys of an issuer.
pub(crate) struct Jwks {
    /// The keys by their ids.
    pub keys: HashMap<String, SigningKey>,
    /// The ids of keys that are too short to be trusted.
    pub too_short: BTreeSet<String>,
}

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
    let mut jwks = Jwks { keys: HashMap::new(), too_short: BTreeSet::new() };
    // Keys of other kinds are none of this service.
    for key in body.keys.into_iter().filter_map(|key| serde_json::from_value::<JwkBody>(key).ok()) {
        if key.is_for_signatures() && key.modulus_bits().is_some_and(|bits| bits < MIN_RSA_BITS) {
            jwks.too_short.insert(key.kid);
        } else if let Some((id, key)) = key.into_signing_key() {
            jwks.keys.insert(id, key);
        }
    }
    ensure!(
        !jwks.keys.is_empty(),
        "the JWKS has no RSA key with an id and at least {MIN_RSA_BITS} bits"
    );
    Ok(jwks)
}

impl JwkBody {
    fn is_for_signatures(&self) -> bool {
        let is = |stated: &Option<String>, wanted: &str| {
            stated.as_ref().is_none_or(|text| text == wanted)
        };
        self.kty == "RSA" && is(&self.alg, "RS256") && is(&self.r#use, "sig")
    }

    /// The length of the key; `None` if the modulus is not a number.
    fn modulus_bits(&self) -> Option<usize> {
        let bytes = URL_SAFE_NO_PAD.decode(&self.n).ok()?;
        let zeros: usize = bytes.iter().take_while(|byte| **byte == 0).count();
        let first = bytes.get(zeros)?;
        Some((bytes.len() - zeros) * 8 - first.leading_zeros() as usize)
    }

    fn into_signing_key(self) -> Option<(String, SigningKey)> {
        if !self.is_for_signatures() {
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
        let text = r#"{"keys":[
                {"kty":"RSA","kid":"plain","n":"LONG","e":"AQAB"},
                {"kty":"RSA","kid":"full","use":"sig","alg":"RS256","n":"LONG","e":"AQAB","x5t":"x","x5c":["x"],"issuer":"i"},
                {"kty":"RSA","kid":"encrypts","use":"enc","n":"AQAB","e":"AQAB"},
                {"kty":"RSA","kid":"other","alg":"RS512","n":"AQAB","e":"AQAB"},
                {"kty":"RSA","kid":"no number","n":"%","e":"AQAB"},
                {"kty":"RSA","n":"AQAB","e":"AQAB"},
                {"kty":"EC","kid":"curve","crv":"P-256","x":"AQAB","y":"AQAB"},
                {"kty":"oct","kid":"secret","k":"AQAB","n":"AQAB","e":"AQAB"},
                17]}"#;
        let jwks = parse(text.replace("LONG", &modulus(2048)).as_bytes()).unwrap();
        assert_eq!(jwks.keys.len(), 2);
        assert!(jwks.keys.contains_key("plain") && jwks.keys.contains_key("full"));
        assert!(jwks.too_short.is_empty());
        for none in ["", "[]", "{}", r#"{"keys":[]}"#, "<html>"] {
            assert!(parse(none.as_bytes()).is_err(), "{none}");
        }
    }

    /// A modulus of this many bits, as a JWKS has it.
    fn modulus(bits: usize) -> String {
        let mut bytes = vec![0xff; bits.div_ceil(8)];
        bytes[0] >>= (8 - bits % 8) % 8;
        // Some writers put a zero before it.
        bytes.insert(0, 0);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    #[test]
    fn a_key_of_fewer_than_2048_bits_is_refused() {
        let jwks = |bits: &[usize]| {
            let keys: Vec<_> = bits
                .iter()
                .map(|bits| {
                    serde_json::json!({ "kty": "RSA", "kid": bits.to_string(), "n": modulus(*bits), "e": "AQAB" })
                })
                .collect();
            parse(serde_json::json!({ "keys": keys }).to_string().as_bytes())
        };
        let mixed = jwks(&[17, 1024, 2047, 2048, 4096]).unwrap();
        let mut usable: Vec<&str> = mixed.keys.keys().map(String::as_str).collect();
        usable.sort_unstable();
        assert_eq!(usable, ["2048", "4096"]);
        assert_eq!(mixed.too_short, ["1024", "17", "2047"].map(str::to_owned).into());
        assert!(jwks(&[1024]).is_err());
    }
}
