//! Subscriber tokens: self-contained, short-lived, for one participant.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::config::Secret;
use crate::domain::ids::{Digest, Tenant};

const AUDIENCE: &str = "onrecord";

/// Whom a token speaks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subscriber {
    pub tenant: Tenant,
    /// The participant's raw id.
    pub sub: String,
    /// The app that it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Seconds since 1970.
    pub exp: i64,
    aud: String,
}

impl Subscriber {
    /// A participant until `exp` (seconds since 1970).
    #[must_use]
    pub fn new(tenant: Tenant, raw_id: String, app: Option<String>, exp: i64) -> Self {
        Self {
            tenant,
            sub: raw_id,
            app,
            exp,
            aud: AUDIENCE.to_owned(),
        }
    }
}

/// The token is no use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Get another one from the app's backend.
    #[error("the subscriber token has expired; ask the app's backend for another one")]
    Expired,
    /// It is none of ours.
    #[error("the subscriber token is not valid")]
    Invalid,
}

/// The first half of an HMAC-SHA256.
pub(super) type Signature = [u8; 16];

struct Key {
    id: String,
    secret: Vec<u8>,
    /// Has taken in the secret, which is half of the work of a short signature.
    mac: Option<Hmac<Sha256>>,
}

/// Makes and checks tokens, and signs cursors. The first key signs, all verify; they can be
/// replaced while the process runs.
#[derive(Clone)]
pub struct SubscriberTokens {
    keys: Arc<RwLock<Vec<Key>>>,
    longest: Duration,
}

impl SubscriberTokens {
    /// With these keys, and tokens that live at most `longest`. Without any key, one is drawn that
    /// ends with the process.
    #[must_use]
    pub fn new(keys: &[Secret<String>], longest: Duration) -> Self {
        let tokens = Self {
            keys: Arc::default(),
            longest,
        };
        if keys.is_empty() {
            let drawn: [u8; 32] = rand::random();
            tokens.set(vec![drawn.to_vec()]);
        } else {
            tokens.replace(keys);
        }
        tokens
    }

    /// The longest life of a token.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// Takes other keys from now on; an empty list changes nothing.
    pub fn replace(&self, keys: &[Secret<String>]) {
        if !keys.is_empty() {
            self.set(
                keys.iter()
                    .map(|key| key.expose().as_bytes().to_vec())
                    .collect(),
            );
        }
    }

    fn set(&self, secrets: Vec<Vec<u8>>) {
        let keys = secrets.into_iter().map(|secret| {
            let digest = Digest::of_parts(&["kid", &Digest::of(&secret).to_string()]).to_string();
            Key {
                id: digest.get(..16).unwrap_or_default().to_owned(),
                mac: Hmac::new_from_slice(&secret).ok(),
                secret,
            }
        });
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.collect();
    }

    /// Makes a token.
    ///
    /// # Errors
    ///
    /// [`TokenError::Invalid`] if it cannot be serialized, which no subscriber causes.
    pub fn mint(&self, subscriber: &Subscriber) -> Result<String, TokenError> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.first().ok_or(TokenError::Invalid)?;
        let header = Header {
            kid: Some(key.id.clone()),
            ..Header::new(Algorithm::HS256)
        };
        jsonwebtoken::encode(&header, subscriber, &EncodingKey::from_secret(&key.secret))
            .map_err(|_| TokenError::Invalid)
    }

    /// Whom a token speaks for at `now` (seconds since 1970).
    ///
    /// # Errors
    ///
    /// [`TokenError`].
    pub fn check(&self, token: &str, now: i64) -> Result<Subscriber, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys
            .iter()
            .find(|key| Some(&key.id) == header.kid.as_ref())
            .ok_or(TokenError::Invalid)?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        // Our own clock judges, below.
        validation.validate_exp = false;
        let decoded = jsonwebtoken::decode::<Subscriber>(
            token,
            &DecodingKey::from_secret(&key.secret),
            &validation,
        );
        let subscriber = decoded.map_err(|_| TokenError::Invalid)?.claims;
        if subscriber.exp <= now {
            Err(TokenError::Expired)
        } else {
            Ok(subscriber)
        }
    }

    /// Signs what a client brings back to us.
    #[must_use]
    pub(super) fn sign(&self, parts: &[&str]) -> Signature {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let signature = keys.first().and_then(|key| key.sign(parts));
        // There is a key always, and any secret makes one.
        signature.unwrap_or_default()
    }

    /// Whether one of our keys signed it.
    #[must_use]
    pub(super) fn verify(&self, parts: &[&str], signature: &[u8]) -> bool {
        use subtle::ConstantTimeEq as _;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter()
            .filter_map(|key| key.sign(parts))
            .any(|own| own.ct_eq(signature).into())
    }
}

impl Key {
    /// The first 16 bytes of HMAC-SHA256: a forger has one try per request, not 2^64.
    fn sign(&self, parts: &[&str]) -> Option<Signature> {
        let mut mac = self.mac.clone()?;
        for part in parts {
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().first_chunk().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(keys: &[&str]) -> SubscriberTokens {
        SubscriberTokens::new(
            &keys
                .iter()
                .map(|key| Secret::new((*key).to_owned()))
                .collect::<Vec<_>>(),
            Duration::from_secs(60),
        )
    }

    const OLD: &str = "old old old old old old old old old ";
    const NEW: &str = "new new new new new new new new new ";

    #[test]
    fn a_token_lives_through_a_rotation_of_keys_and_ends_with_its_key() {
        let subscriber = Subscriber::new(
            Tenant::parse("t").unwrap(),
            "8:acs:r_u".to_owned(),
            None,
            2_000,
        );
        let token = tokens(&[OLD]).mint(&subscriber).unwrap();
        assert_eq!(
            tokens(&[NEW, OLD]).check(&token, 1_000).unwrap(),
            subscriber
        );
        assert_eq!(
            tokens(&[NEW]).check(&token, 1_000),
            Err(TokenError::Invalid)
        );
        assert_eq!(
            tokens(&[OLD]).check(&token, 2_000),
            Err(TokenError::Expired)
        );
    }

    #[test]
    fn an_unsigned_or_changed_token_is_not_valid() {
        let subscriber = Subscriber::new(
            Tenant::parse("t").unwrap(),
            "8:acs:r_u".to_owned(),
            None,
            2_000,
        );
        let tokens = tokens(&[OLD]);
        let token = tokens.mint(&subscriber).unwrap();
        let (rest, signature) = token.rsplit_once('.').unwrap();
        assert_eq!(
            tokens.check(&format!("{rest}."), 0),
            Err(TokenError::Invalid)
        );
        assert_eq!(
            tokens.check(&format!("{rest}x.{signature}"), 0),
            Err(TokenError::Invalid)
        );
        assert_eq!(tokens.check("", 0), Err(TokenError::Invalid));
    }

    #[test]
    fn a_signature_is_of_one_text_and_one_key() {
        let tokens = tokens(&[OLD]);
        let signature = tokens.sign(&["a", "b"]);
        assert!(
            tokens.verify(&["ab"], &signature)
                && !tokens.verify(&["b"], &signature)
                && !tokens.verify(&["ab"], &[])
        );
    }
}
