//! Bearer tokens: whether one is its source's own.
//!
//! Call Automation signs its tokens itself, for the immutable id of the ACS resource; Event Grid
//! brings tokens of Entra, for the app that the operator registered, from Event Grid's own app. Both
//! are RS256. What a token says of itself (algorithm, address of its key) decides nothing.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;

use super::authenticate::Disbelief;
use super::key_set::SigningKey;
use crate::config::Jwt;

/// Tokens have some two thousand characters.
const LONGEST: usize = 16 * 1024;
/// So far the clocks of issuers may be from ours, in seconds; Microsoft's own libraries allow it.
const LEEWAY: f64 = 300.0;

/// A token whose key is known by its name, and nothing else yet.
pub(super) struct Token<'t> {
    text: &'t str,
    key_id: String,
}

/// Its text is a credential.
impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token of the key {:?}", self.key_id)
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

/// What a token claims. `appid` is version 1.0 of Entra's tokens, `azp` 2.0.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    exp: f64,
    nbf: Option<f64>,
    appid: Option<String>,
    azp: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl<'t> Token<'t> {
    /// Reads what is needed to find its key.
    ///
    /// # Errors
    ///
    /// [`Disbelief`]: it is no token, or is not signed as tokens of our sources are.
    pub fn read(text: &'t str) -> Result<Self, Disbelief> {
        let header = text
            .split_once('.')
            .filter(|_| text.len() <= LONGEST)
            .and_then(|(header, _)| URL_SAFE_NO_PAD.decode(header).ok())
            .and_then(|header| serde_json::from_slice::<Header>(&header).ok())
            .ok_or(Disbelief::TokenUnreadable)?;
        // Neither `none` nor a secret that is a public key in truth.
        if header.alg != "RS256" {
            return Err(Disbelief::TokenForged);
        }
        Ok(Self {
            text,
            key_id: header.kid.ok_or(Disbelief::TokenUnknownKey)?,
        })
    }

    /// Which key it says it was signed with.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Believes it at `now` (seconds since 1970), if the key signed it and its claims are what the
    /// source's settings say.
    ///
    /// # Errors
    ///
    /// [`Disbelief`].
    pub fn verify(&self, key: &SigningKey, jwt: &Jwt, now: i64) -> Result<(), Disbelief> {
        let mut validation = Validation::new(Algorithm::RS256);
        // The claims are judged here, each for a reason of its own, and by our clock.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let decoded = jsonwebtoken::decode::<Claims>(self.text, &key.decoding, &validation);
        let decoded = decoded.map_err(|error| match error.kind() {
            ErrorKind::Json(_) | ErrorKind::Utf8(_) | ErrorKind::InvalidToken => {
                Disbelief::TokenUnreadable
            }
            _ => Disbelief::TokenForged,
        })?;
        if key
            .issuer
            .as_deref()
            .is_some_and(|issuer| !may_sign_for(issuer, &decoded.claims.iss))
        {
            return Err(Disbelief::TokenIssuer);
        }
        decoded.claims.judge(jwt, now)
    }
}

impl Claims {
    fn judge(&self, jwt: &Jwt, now: i64) -> Result<(), Disbelief> {
        if !is_issuer(&jwt.issuer, &self.iss) {
            return Err(Disbelief::TokenIssuer);
        }
        let is_ours = match &self.aud {
            Audience::One(audience) => *audience == jwt.audience,
            Audience::Several(audiences) => audiences.contains(&jwt.audience),
        };
        if !is_ours {
            return Err(Disbelief::TokenAudience);
        }
        let app = self.appid.as_ref().or(self.azp.as_ref());
        let is_named = |id: &String| app.is_some_and(|app| app.eq_ignore_ascii_case(id));
        if !jwt.app_ids.is_empty() && !jwt.app_ids.iter().any(is_named) {
            return Err(Disbelief::TokenApp);
        }
        let now = now as f64;
        if self.exp + LEEWAY <= now {
            return Err(Disbelief::TokenExpired);
        }
        if self.nbf.is_some_and(|begin| begin - LEEWAY > now) {
            return Err(Disbelief::TokenEarly);
        }
        Ok(())
    }
}

/// Whether the settings mean this issuer. A tenant of Entra has two names, one for each version of
/// its tokens, and which version comes depends on how the app was registered.
fn is_issuer(configured: &str, stated: &str) -> bool {
    configured == stated
        || entra_tenant(configured)
            .zip(entra_tenant(stated))
            .is_some_and(|(one, other)| one.eq_ignore_ascii_case(other))
}

/// Whether a key that is `issuer`'s may sign a token that states `stated`. In the sets that Entra
/// publishes for all tenants, keys for tenants of companies stand beside such as are for others.
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
        EncodingKey::from_rsa_der(include_bytes!("../../tests/data/jwt/one.der"))
    }

    fn stranger() -> EncodingKey {
        EncodingKey::from_rsa_der(include_bytes!("../../tests/data/jwt/stranger.der"))
    }

    fn public(key: &EncodingKey) -> SigningKey {
        let jwk = Jwk::from_encoding_key(key, Algorithm::RS256).unwrap();
        SigningKey {
            decoding: DecodingKey::from_jwk(&jwk).unwrap(),
            issuer: None,
        }
    }

    fn judged(jwt: &Jwt, more: &Value) -> Result<(), Disbelief> {
        let token = signed(&one(), &claims(more));
        let token = Token::read(&token).unwrap();
        assert_eq!(token.key_id(), "one");
        token.verify(&public(&one()), jwt, NOW)
    }

    #[test]
    fn a_token_opens_only_with_every_claim_as_the_settings_say() {
        use Disbelief::*;
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
            (
                &one_app,
                json!({ "appid": "app-3", "azp": "app-2" }),
                Err(TokenApp),
            ),
            (&one_app, json!({}), Err(TokenApp)),
        ] {
            assert_eq!(judged(jwt, &more), expected, "{more}");
        }
    }

    #[test]
    fn a_tenant_of_entra_has_two_issuers() {
        let v1 = format!("https://sts.windows.net/{TENANT}/");
        let v2 = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
        for configured in [&v1, &v2] {
            for stated in [&v1, &v2] {
                let jwt = jwt(configured, "");
                assert_eq!(judged(&jwt, &json!({ "iss": stated })), Ok(()));
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
        let token = Token::read(&token).unwrap();
        for (issuer, expected) in [
            (own.as_str(), Ok(())),
            ("https://login.microsoftonline.com/{tenantid}/v2.0", Ok(())),
            (consumers, Err(Disbelief::TokenIssuer)),
            ("i", Err(Disbelief::TokenIssuer)),
        ] {
            let key = SigningKey {
                issuer: Some(issuer.to_owned()),
                ..public(&one())
            };
            assert_eq!(
                token.verify(&key, &jwt(&own, ""), NOW),
                expected,
                "{issuer}"
            );
        }
    }

    #[test]
    fn what_another_key_signed_or_none_or_a_secret_is_forged() {
        let jwt = jwt("them", "");
        let claims = claims(&json!({}));
        let token = signed(&stranger(), &claims);
        let by_stranger = Token::read(&token).unwrap();
        assert_eq!(
            by_stranger.verify(&public(&one()), &jwt, NOW),
            Err(Disbelief::TokenForged)
        );

        let good = signed(&one(), &claims);
        let (head, signature) = good.rsplit_once('.').unwrap();
        let (header, _) = head.split_once('.').unwrap();
        let encoded = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let raised = encoded(json!({ "iss": "them", "aud": "us", "exp": NOW * 2 }));
        for forged in [
            format!("{header}.{raised}.{signature}"),
            format!("{head}."),
            format!("{head}.%"),
        ] {
            let token = Token::read(&forged).unwrap();
            assert_eq!(
                token.verify(&public(&one()), &jwt, NOW),
                Err(Disbelief::TokenForged),
                "{forged}"
            );
        }
        for alg in ["none", "HS256", "RS512", "rs256"] {
            let header = encoded(json!({ "alg": alg, "kid": "one" }));
            let token = format!("{header}.{raised}.{signature}");
            assert_eq!(
                Token::read(&token).unwrap_err(),
                Disbelief::TokenForged,
                "{alg}"
            );
        }
    }

    #[test]
    fn what_is_no_token_is_unreadable() {
        let long = format!("{}.x.y", "a".repeat(LONGEST));
        for text in ["", "x", "x.y.z", "e30.e30.x", "e30", long.as_str()] {
            let unreadable = Token::read(text).map(|_| ());
            assert_eq!(unreadable, Err(Disbelief::TokenUnreadable), "{text}");
        }
        let without_id = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#);
        assert_eq!(
            Token::read(&format!("{without_id}.x.y")).unwrap_err(),
            Disbelief::TokenUnknownKey
        );
    }
}
