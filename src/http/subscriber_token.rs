//! Subscriber tokens: self-contained, short-lived JWTs (HS256), each for one participant.

pub mod revocations;
pub mod token_subject;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ring::hmac;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::revocations::TokenRevocations;
use self::token_subject::TokenSubject;
use super::jwt_crypto;
use super::problem::{Problem, ProblemKind};
use crate::config::{Secret, revocation_retention};
use onrecord_evidence::event::ids::{Digest, Tenant};
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::grant::Grant;

const AUDIENCE: &str = "onrecord";

/// The claim `aud`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Audience;

impl Serialize for Audience {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(AUDIENCE)
    }
}

/// The claims of a subscriber token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubscriberClaims {
    pub tenant: Tenant,
    #[serde(flatten)]
    pub subject: Arc<TokenSubject>,
    /// The app that the token was minted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// When the token was minted, ms. A token of an older version has none and counts as minted at 0.
    #[serde(default, rename = "iat", with = "numeric_date")]
    pub issued_at: Millis,
    /// The id of the API key that minted the token. A token of an older version has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Uuid>,
    /// When the token expires, in seconds since 1970.
    pub exp: i64,
    /// Compared when a token is verified, and the same in all.
    #[serde(skip_deserializing)]
    aud: Audience,
}

impl SubscriberClaims {
    /// The claims of a participant until `exp` (seconds since 1970), without a grant and as an older
    /// version minted them.
    #[must_use]
    pub fn new(tenant: Tenant, raw_id: String, app: Option<String>, exp: i64) -> Self {
        Self {
            tenant,
            subject: Arc::new(TokenSubject::new(&raw_id, Vec::new(), Grant::default())),
            app,
            issued_at: 0,
            key: None,
            exp,
            aud: Audience,
        }
    }

    /// Adds when (ms) and by which API key the token is minted.
    #[must_use]
    pub fn minted(self, at: Millis, key: Uuid) -> Self {
        Self { issued_at: at, key: Some(key), ..self }
    }

    /// Adds the other raw ids of the person, and what the backend grants.
    #[must_use]
    pub fn granting(self, other_raw_ids: Vec<String>, grant: Grant) -> Self {
        let subject = TokenSubject::new(&self.subject.raw_id, other_raw_ids, grant);
        Self { subject: Arc::new(subject), ..self }
    }
}

/// An instant in milliseconds as a `NumericDate` of RFC 7519: seconds since 1970, with fraction.
mod numeric_date {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Millis;

    pub(super) fn serialize<S: Serializer>(at: &Millis, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(*at as f64 / 1000.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Millis, D::Error> {
        // The conversion saturates, and the value is the service's own.
        f64::deserialize(from).map(|seconds| (seconds * 1000.0).round() as Millis)
    }
}

/// A subscriber token is not valid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The client must get another token from the backend of its app.
    #[error("the subscriber token has expired; ask the app's backend for another one")]
    Expired,
    /// The app's backend or an operator revoked the token.
    #[error("the subscriber token was revoked; ask the app's backend for another one")]
    Revoked,
    /// The token was not signed by a configured key, or is malformed.
    #[error("the subscriber token is not valid")]
    Invalid,
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let kind = match error {
            TokenError::Expired | TokenError::Invalid => ProblemKind::Unauthorized,
            TokenError::Revoked => ProblemKind::TokenRevoked,
        };
        Self::new(kind, error.to_string())
    }
}

/// The first 16 bytes of an HMAC-SHA256.
pub(crate) type Signature = [u8; 16];

struct SigningSecret {
    /// The `kid`: derived from the secret.
    id: String,
    secret: Vec<u8>,
    /// HMAC with the secret already hashed, which is half of the work of a short signature.
    mac: hmac::Key,
}

/// Mints and verifies subscriber tokens, and signs cursors. The first key signs, and all keys
/// verify. The keys can be replaced while the process runs.
#[derive(Clone)]
pub struct SubscriberTokens {
    keys: Arc<RwLock<Vec<SigningSecret>>>,
    max_lifetime: Duration,
    revocations: TokenRevocations,
}

impl SubscriberTokens {
    /// Takes the keys, and the maximum lifetime of a token. Without a key, a random one is
    /// generated; its tokens end with the process.
    #[must_use]
    pub fn new(keys: &[Secret<String>], max_lifetime: Duration) -> Self {
        jwt_crypto::install();
        let revocations = TokenRevocations::new(revocation_retention(max_lifetime));
        let tokens = Self { keys: Arc::default(), max_lifetime, revocations };
        if keys.is_empty() {
            let random: [u8; 32] = rand::random();
            tokens.set(vec![random.to_vec()]);
        } else {
            tokens.replace(keys);
        }
        tokens
    }

    /// The maximum lifetime of a token.
    #[must_use]
    pub fn max_lifetime(&self) -> Duration {
        self.max_lifetime
    }

    /// The revoked tokens.
    #[must_use]
    pub fn revocations(&self) -> &TokenRevocations {
        &self.revocations
    }

    /// Replaces the keys. An empty list changes nothing.
    pub fn replace(&self, keys: &[Secret<String>]) {
        if !keys.is_empty() {
            self.set(keys.iter().map(|key| key.expose().as_bytes().to_vec()).collect());
        }
    }

    fn set(&self, secrets: Vec<Vec<u8>>) {
        let keys = secrets.into_iter().map(|secret| {
            let digest = Digest::of_parts(&["kid", &Digest::of(&secret).to_string()]).to_string();
            SigningSecret {
                id: digest.get(..16).unwrap_or_default().to_owned(),
                mac: hmac::Key::new(hmac::HMAC_SHA256, &secret),
                secret,
            }
        });
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.collect();
    }

    /// Mints a token.
    ///
    /// # Errors
    ///
    /// [`TokenError::Invalid`] if the claims cannot be serialized; no claims cause that.
    pub fn mint(&self, claims: &SubscriberClaims) -> Result<String, TokenError> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.first().ok_or(TokenError::Invalid)?;
        let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::HS256) };
        EncodingKey::from_secret(&key.secret)
            .and_then(|secret| jsonwebtoken::encode(&header, claims, &secret))
            .map_err(|_| TokenError::Invalid)
    }

    /// Verifies a token and returns its claims; `now` is in seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`TokenError`].
    pub fn verify_token(&self, token: &str, now: i64) -> Result<SubscriberClaims, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys
            .iter()
            .find(|key| Some(&key.id) == header.kid.as_ref())
            .ok_or(TokenError::Invalid)?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["aud", "exp"]);
        // The expiry is compared below with the given clock (`SERVER_TIME`).
        validation.validate_exp = false;
        let decoded = DecodingKey::from_secret(&key.secret).and_then(|secret| {
            jsonwebtoken::decode::<SubscriberClaims>(token, &secret, &validation)
        });
        let claims = decoded.map_err(|_| TokenError::Invalid)?.claims;
        // A token of an older version has its raw ids as the backend wrote them.
        let TokenSubject { raw_id, other_raw_ids, grant } = Arc::unwrap_or_clone(claims.subject);
        let subject = Arc::new(TokenSubject::new(&raw_id, other_raw_ids, grant));
        let claims = SubscriberClaims { subject, ..claims };
        if claims.exp <= now {
            return Err(TokenError::Expired);
        }
        if self.revocations.covers(&claims) { Err(TokenError::Revoked) } else { Ok(claims) }
    }

    /// Signs a text that a client returns later, such as a cursor.
    #[must_use]
    pub(crate) fn sign(&self, parts: &[&str]) -> Signature {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        // The list of keys is never empty.
        keys.first().map(|key| key.sign(parts)).unwrap_or_default()
    }

    /// Whether one of the keys made this signature.
    #[must_use]
    pub(crate) fn verify_signature(&self, parts: &[&str], signature: &[u8]) -> bool {
        use subtle::ConstantTimeEq as _;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().any(|key| key.sign(parts).ct_eq(signature).into())
    }
}

impl SigningSecret {
    /// The first 16 bytes of HMAC-SHA256. They suffice, because a forger needs one request per
    /// guess.
    fn sign(&self, parts: &[&str]) -> Signature {
        let mut mac = hmac::Context::with_key(&self.mac);
        for part in parts {
            mac.update(part.as_bytes());
        }
        // Without this, a longer signature would be all zeros.
        const { assert!(size_of::<Signature>() <= 32) };
        mac.sign().as_ref().first_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(keys: &[&str]) -> SubscriberTokens {
        SubscriberTokens::new(
            &keys.iter().map(|key| Secret::new((*key).to_owned())).collect::<Vec<_>>(),
            Duration::from_secs(60),
        )
    }

    const OLD: &str = "old old old old old old old old old ";
    const NEW: &str = "new new new new new new new new new ";

    #[test]
    fn a_token_stays_valid_while_its_key_is_configured() {
        let claims =
            SubscriberClaims::new(Tenant::parse("t").unwrap(), "8:acs:r_u".to_owned(), None, 2_000);
        let token = tokens(&[OLD]).mint(&claims).unwrap();
        assert_eq!(tokens(&[NEW, OLD]).verify_token(&token, 1_000).unwrap(), claims);
        assert_eq!(tokens(&[NEW]).verify_token(&token, 1_000), Err(TokenError::Invalid));
        assert_eq!(tokens(&[OLD]).verify_token(&token, 2_000), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_states_who_minted_it_when_and_what_it_grants() {
        let tenant = Tenant::parse("t").unwrap();
        let bare = SubscriberClaims::new(tenant, "8:acs:r_u".to_owned(), None, 2_000_000_000);
        let grant = Grant::new(["99445276259151407".to_owned()], ["P1".to_owned()]);
        let others = vec!["8:orgid:a".to_owned()];
        let claims = bare.clone().granting(others, grant).minted(1_764_384_000_123, Uuid::max());
        for claims in [bare, claims] {
            let token = tokens(&[OLD]).mint(&claims).unwrap();
            assert_eq!(tokens(&[OLD]).verify_token(&token, 0).unwrap(), claims);
        }
    }

    #[test]
    fn an_unsigned_or_changed_token_is_not_valid() {
        let claims =
            SubscriberClaims::new(Tenant::parse("t").unwrap(), "8:acs:r_u".to_owned(), None, 2_000);
        let tokens = tokens(&[OLD]);
        let token = tokens.mint(&claims).unwrap();
        let (rest, signature) = token.rsplit_once('.').unwrap();
        assert_eq!(tokens.verify_token(&format!("{rest}."), 0), Err(TokenError::Invalid));
        assert_eq!(
            tokens.verify_token(&format!("{rest}x.{signature}"), 0),
            Err(TokenError::Invalid)
        );
        assert_eq!(tokens.verify_token("", 0), Err(TokenError::Invalid));
    }

    #[test]
    fn a_signature_is_valid_for_its_text_only() {
        let tokens = tokens(&[OLD]);
        let signature = tokens.sign(&["a", "b"]);
        assert!(
            tokens.verify_signature(&["ab"], &signature)
                && !tokens.verify_signature(&["b"], &signature)
                && !tokens.verify_signature(&["ab"], &[])
        );
    }
}
