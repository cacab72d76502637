//! Verifies bearer tokens (JWT).
//!
//! Call Automation signs its tokens itself; the audience is the immutable id of the ACS resource.
//! Event Grid sends tokens of Entra; the audience is the app that the operator registered, the caller
//! is Event Grid's own app. Both are RS256. The algorithm and key URL that a token states are not
//! trusted.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::jwks::SigningKey;
use super::keys::AuthError;
use crate::config::Jwt;
use crate::http::jwt_crypto;

/// Maximum length of a token; tokens have some two thousand characters.
const MAX_TOKEN_LENGTH: usize = 16 * 1024;
/// Maximum difference between the clocks of issuer and node, in seconds, as in Microsoft's libraries.
const MAX_CLOCK_DIFFERENCE: f64 = 300.0;

/// A token whose header is parsed and whose signature is not verified yet.
// Not for logs, because the text is a credential.
#[cfg_attr(test, derive(Debug))]
pub(crate) struct BearerToken<'t> {
    text: &'t str,
    /// The id of the signing key that the token states.
    pub(crate) key_id: String,
}

#[derive(Deserialize)]
struct JwtHeader {
    alg: String,
    kid: Option<String>,
    /// Extensions that a verifier must understand (RFC 7515, section 4.1.11), also if it is null.
    #[serde(default, deserialize_with = "is_present")]
    crit: bool,
}

/// Whether a member is present, with any value.
fn is_present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// The claims of a token. `appid` is in version 1.0 of Entra's tokens, `azp` in 2.0.
#[derive(Deserialize)]
struct JwtClaims {
    iss: String,
    aud: JwtAudience,
    exp: f64,
    nbf: Option<f64>,
    appid: Option<String>,
    azp: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum JwtAudience {
    One(String),
    Several(Vec<String>),
}

impl<'t> BearerToken<'t> {
    /// Parses the header.
    ///
    /// # Errors
    ///
    /// [`AuthError`]: the text is not a token, its algorithm is not RS256, or it requires an extension.
    pub(crate) fn parse(text: &'t str) -> Result<Self, AuthError> {
        let header = text
            .split_once('.')
            .filter(|_| text.len() <= MAX_TOKEN_LENGTH)
            .and_then(|(header, _)| URL_SAFE_NO_PAD.decode(header).ok())
            .and_then(|header| serde_json::from_slice::<JwtHeader>(&header).ok())
            .ok_or(AuthError::TokenUnreadable)?;
        // Excludes `none`, and HMAC with the public key as secret.
        if header.alg != "RS256" {
            return Err(AuthError::TokenSignature);
        }
        // The service has no extension, so it understands none that is required.
        if header.crit {
            return Err(AuthError::TokenUnreadable);
        }
        Ok(Self { text, key_id: header.kid.ok_or(AuthError::TokenUnknownKey)? })
    }

    /// Verifies the signature, and the claims against the source's settings, at `now` (seconds since
    /// 1970).
    ///
    /// # Errors
    ///
    /// [`AuthError`].
    pub(crate) fn verify(&self, key: &SigningKey, jwt: &Jwt, now: i64) -> Result<(), AuthError> {
        jwt_crypto::install();
        let mut validation = Validation::new(Algorithm::RS256);
        // The claims are verified below, each with its own error and by the server's clock.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let decoded = jsonwebtoken::decode::<JwtClaims>(self.text, &key.decoding, &validation);
        let decoded = decoded.map_err(|error| match error.kind() {
            ErrorKind::Json(_) | ErrorKind::Utf8(_) | ErrorKind::InvalidToken => {
                AuthError::TokenUnreadable
            }
            _ => AuthError::TokenSignature,
        })?;
        if key.issuer.as_deref().is_some_and(|issuer| !may_sign_for(issuer, &decoded.claims.iss)) {
            return Err(AuthError::TokenIssuer);
        }
        decoded.claims.verify(jwt, now)
    }
}

impl JwtClaims {
    fn verify(&self, jwt: &Jwt, now: i64) -> Result<(), AuthError> {
        if !is_issuer(&jwt.issuer, &self.iss) {
            return Err(AuthError::TokenIssuer);
        }
        let is_audience = match &self.aud {
            JwtAudience::One(audience) => *audience == jwt.audience,
            JwtAudience::Several(audiences) => audiences.contains(&jwt.audience),
        };
        if !is_audience {
            return Err(AuthError::TokenAudience);
        }
        let app = self.appid.as_ref().or(self.azp.as_ref());
        let is_listed = |id: &String| app.is_some_and(|app| app.eq_ignore_ascii_case(id));
        if !jwt.app_ids.is_empty() && !jwt.app_ids.iter().any(is_listed) {
            return Err(AuthError::TokenApp);
        }
        let now = now as f64;
        if self.exp + MAX_CLOCK_DIFFERENCE <= now {
            return Err(AuthError::TokenExpired);
        }
        if self.nbf.is_some_and(|begin| begin - MAX_CLOCK_DIFFERENCE > now) {
            return Err(AuthError::TokenEarly);
        }
        Ok(())
    }
}

/// Whether the configured issuer is the stated one. A tenant of Entra has two issuers, one for each
/// version of its tokens; the version depends on the registration of the app.
fn is_issuer(configured: &str, stated: &str) -> bool {
    configured == stated
        || entra_tenant(configured)
            .zip(entra_tenant(stated))
            .is_some_and(|(one, other)| one.eq_ignore_ascii_case(other))
}

/// Whether a key of `issuer` may sign a token of the issuer `stated`. The JWKS that Entra publishes
/// for all tenants contains keys for company tenants and keys for others.
fn may_sign_for(issuer: &str, stated: &str) -> bool {
    let tenant = entra_tenant(stated).unwrap_or_default();
    is_issuer(&issuer.replace("{tenantid}", tenant), stated)
}

fn entra_tenant(issuer: &str) -> Option<&str> {
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    let version_1 = issuer.strip_prefix("https://sts.windows.net/");
    let version_2 = issuer
        .strip_prefix("https://login.microsoftonline.com/")
        .and_then(|rest| rest.strip_suffix("/v2.0"));
    let tenant = version_1.or(version_2);
    tenant.filter(|tenant| !tenant.is_empty() && !tenant.contains('/'))
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::Jwk;
    use jsonwebtoken::{DecodingKey, EncodingKey};
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Settings;

    const NOW: i64 = 1_800_000_000;
    const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

    fn jwt(issuer: &str, app_ids: &str) -> Jwt {
        let toml = format!(
            "[sources.s]\nkind = \"call-automation\"\ntenant = \"t\"\njwt = {{ issuer = \"{issuer}\", audience = \"us\", jwks_url = \"https://h/k\", app_ids = [{app_ids}] }}"
        );
        let mut settings = Settings::from_toml(&toml).unwrap();
        settings.sources.remove("s").unwrap().jwt.unwrap()
    }

    fn claims(more: &Value) -> Value {
        let mut claims = json!({ "iss": "them", "aud": "us", "exp": NOW + 300, "nbf": NOW });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    fn signed(key: &EncodingKey, claims: &Value) -> String {
        let header = jsonwebtoken::Header {
            kid: Some("one".to_owned()),
            ..jsonwebtoken::Header::new(Algorithm::RS256)
        };
        jsonwebtoken::encode(&header, claims, key).unwrap()
    }

    fn one() -> EncodingKey {
        jwt_crypto::install();
        EncodingKey::from_rsa_der(include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/jwt/one.der"
        )))
    }

    fn other_issuer() -> EncodingKey {
        jwt_crypto::install();
        EncodingKey::from_rsa_der(include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/jwt/unknown_key.der"
        )))
    }

    fn public(key: &EncodingKey) -> SigningKey {
        let jwk = Jwk::from_encoding_key(key, Algorithm::RS256).unwrap();
        SigningKey { decoding: DecodingKey::from_jwk(&jwk).unwrap(), issuer: None }
    }

    fn verified(jwt: &Jwt, more: &Value) -> Result<(), AuthError> {
        let token = signed(&one(), &claims(more));
        let token = BearerToken::parse(&token).unwrap();
        assert_eq!(token.key_id, "one");
        token.verify(&public(&one()), jwt, NOW)
    }

    #[test]
    fn a_token_is_accepted_only_if_each_claim_matches_the_settings() {
        use AuthError::*;
        let any_app = jwt("them", "");
        let one_app = jwt("them", "\"App-1\", \"app-2\"");
        for (jwt, more, expected) in [
            (&any_app, json!({}), Ok(())),
            (&any_app, json!({ "aud": ["x", "us"] }), Ok(())),
            (&any_app, json!({ "exp": NOW - 299 }), Ok(())),
            (&any_app, json!({ "exp": NOW - 300 }), Err(TokenExpired)),
            (&any_app, json!({ "nbf": NOW + 300 }), Ok(())),
            (&any_app, json!({ "nbf": NOW + 301 }), Err(TokenEarly)),
            (&any_app, json!({ "iss": "Them" }), Err(TokenIssuer)),
            (&any_app, json!({ "aud": "them" }), Err(TokenAudience)),
            (&any_app, json!({ "aud": [] }), Err(TokenAudience)),
            (&any_app, json!({ "aud": null }), Err(TokenUnreadable)),
            (&any_app, json!({ "exp": "never" }), Err(TokenUnreadable)),
            (&one_app, json!({ "appid": "app-1" }), Ok(())),
            (&one_app, json!({ "azp": "APP-2" }), Ok(())),
            (&one_app, json!({ "azp": "app-3" }), Err(TokenApp)),
            (&one_app, json!({ "appid": "app-3", "azp": "app-2" }), Err(TokenApp)),
            (&one_app, json!({}), Err(TokenApp)),
        ] {
            assert_eq!(verified(jwt, &more), expected, "{more}");
        }
    }

    #[test]
    fn a_tenant_of_entra_has_two_issuers() {
        let v1 = format!("https://sts.windows.net/{TENANT}/");
        let v2 = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
        for configured in [&v1, &v2] {
            for stated in [&v1, &v2] {
                let jwt = jwt(configured, "");
                assert_eq!(verified(&jwt, &json!({ "iss": stated })), Ok(()));
            }
            for other in [
                v1.replace("72f9", "72f8"),
                v2.replace("/v2.0", ""),
                v1.replace("https", "http"),
                format!("https://sts.windows.net/{TENANT}/x/"),
                "https://sts.windows.net/".to_owned(),
            ] {
                assert!(!is_issuer(configured, &other), "{other}");
            }
        }
    }

    #[test]
    fn a_key_signs_for_its_own_issuer_only() {
        let own = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
        let consumers =
            "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0";
        let token = signed(&one(), &claims(&json!({ "iss": own })));
        let token = BearerToken::parse(&token).unwrap();
        for (issuer, expected) in [
            (own.as_str(), Ok(())),
            ("https://login.microsoftonline.com/{tenantid}/v2.0", Ok(())),
            (consumers, Err(AuthError::TokenIssuer)),
            ("i", Err(AuthError::TokenIssuer)),
        ] {
            let key = SigningKey { issuer: Some(issuer.to_owned()), ..public(&one()) };
            assert_eq!(token.verify(&key, &jwt(&own, ""), NOW), expected, "{issuer}");
        }
    }

    #[test]
    fn a_token_signed_by_another_key_or_algorithm_has_a_wrong_signature() {
        let jwt = jwt("them", "");
        let claims = claims(&json!({}));
        let token = signed(&other_issuer(), &claims);
        let by_other = BearerToken::parse(&token).unwrap();
        assert_eq!(by_other.verify(&public(&one()), &jwt, NOW), Err(AuthError::TokenSignature));

        let good = signed(&one(), &claims);
        let (head, signature) = good.rsplit_once('.').unwrap();
        let (header, _) = head.split_once('.').unwrap();
        let encoded = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let raised = encoded(json!({ "iss": "them", "aud": "us", "exp": NOW * 2 }));
        for forged in
            [format!("{header}.{raised}.{signature}"), format!("{head}."), format!("{head}.%")]
        {
            let token = BearerToken::parse(&forged).unwrap();
            assert_eq!(
                token.verify(&public(&one()), &jwt, NOW),
                Err(AuthError::TokenSignature),
                "{forged}"
            );
        }
        for alg in ["none", "HS256", "RS512", "rs256"] {
            let header = encoded(json!({ "alg": alg, "kid": "one" }));
            let token = format!("{header}.{raised}.{signature}");
            assert_eq!(BearerToken::parse(&token).unwrap_err(), AuthError::TokenSignature, "{alg}");
        }
    }

    #[test]
    fn a_token_that_requires_an_extension_is_unreadable() {
        for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!(null), json!("x")] {
            let header = json!({ "alg": "RS256", "kid": "one", "crit": crit }).to_string();
            let token = format!("{}.x.y", URL_SAFE_NO_PAD.encode(header));
            assert_eq!(
                BearerToken::parse(&token).unwrap_err(),
                AuthError::TokenUnreadable,
                "{crit}"
            );
        }
    }

    #[test]
    fn a_text_that_is_not_a_token_is_unreadable() {
        let long = format!("{}.x.y", "a".repeat(MAX_TOKEN_LENGTH));
        for text in ["", "x", "x.y.z", "e30.e30.x", "e30", long.as_str()] {
            let unreadable = BearerToken::parse(text).map(|_| ());
            assert_eq!(unreadable, Err(AuthError::TokenUnreadable), "{text}");
        }
        let without_id = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#);
        assert_eq!(
            BearerToken::parse(&format!("{without_id}.x.y")).unwrap_err(),
            AuthError::TokenUnknownKey
        );
    }
}
