//! Seals the secrets of subscriptions, so that the store has no readable one (`NO_SECRETS`).
//!
//! # Why
//!
//! The quarantine seals to a public key whose private key the service does not have. Messages are signed by
//! the service itself, so it must open these secrets: the key is symmetric, and belongs to the settings.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use uuid::Uuid;

use super::signing_secret::WebhookSigningSecret;
use crate::config::WebhookKey;
use onrecord_evidence::event::ids::Digest;

/// Number of the format.
const FORMAT: u8 = 1;
/// Length of the id of a key.
const KEY_ID_BYTES: usize = 4;

/// A secret cannot be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealError {
    #[error("webhooks.keys has no key; `openssl rand -base64 32` generates one")]
    NoKey,
    #[error(
        "no key of webhooks.keys opens the secret; put the key back by which it was sealed, or rotate the secret"
    )]
    OtherKey,
    #[error("the system gives no random bytes")]
    NoRandomBytes,
}

/// The keys that seal and open secrets.
pub(crate) struct SecretSeal {
    /// The first seals.
    keys: Vec<([u8; KEY_ID_BYTES], LessSafeKey)>,
}

impl SecretSeal {
    pub(crate) fn new(keys: &[WebhookKey]) -> Self {
        let keys = keys.iter().filter_map(|key| {
            // A key of 32 bytes is one of AES-256.
            let unbound = UnboundKey::new(&AES_256_GCM, key.expose()).ok()?;
            Some((key_id(key), LessSafeKey::new(unbound)))
        });
        Self { keys: keys.collect() }
    }

    /// Whether secrets can be sealed.
    pub(crate) fn has_key(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Seals a secret for one subscription.
    ///
    /// # Errors
    ///
    /// [`SealError`].
    pub(crate) fn seal(
        &self,
        subscription: Uuid,
        secret: &WebhookSigningSecret,
    ) -> Result<Vec<u8>, SealError> {
        let (id, key) = self.keys.first().ok_or(SealError::NoKey)?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::NoRandomBytes)?;
        let mut content = secret.to_bytes();
        let aad = Aad::from(subscription.into_bytes());
        // It fails for texts of many gigabytes only.
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut content)
            .map_err(|_| SealError::NoKey)?;
        Ok([&[FORMAT][..], id, &nonce, &content].concat())
    }

    /// Opens what was sealed for a subscription.
    ///
    /// # Errors
    ///
    /// [`SealError::OtherKey`].
    pub(crate) fn open(
        &self,
        subscription: Uuid,
        sealed: &[u8],
    ) -> Result<WebhookSigningSecret, SealError> {
        let parts = sealed.split_first().filter(|(format, _)| **format == FORMAT);
        let parts = parts.and_then(|(_, rest)| rest.split_first_chunk::<KEY_ID_BYTES>());
        let (id, rest) = parts.ok_or(SealError::OtherKey)?;
        let (nonce, content) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::OtherKey)?;
        let (_, key) = self.keys.iter().find(|(it, _)| it == id).ok_or(SealError::OtherKey)?;
        let mut content = content.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = key
            .open_in_place(nonce, Aad::from(subscription.into_bytes()), &mut content)
            .map_err(|_| SealError::OtherKey)?;
        WebhookSigningSecret::from_bytes(opened).ok_or(SealError::OtherKey)
    }
}

fn key_id(key: &WebhookKey) -> [u8; KEY_ID_BYTES] {
    let digest = Digest::of(key.expose());
    let [a, b, c, d, ..] = *digest.as_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use base64::Engine as _;

    fn seal(keys: &[u8]) -> SecretSeal {
        let text = |byte: &u8| {
            format!("{:?}", base64::engine::general_purpose::STANDARD.encode([*byte; 32]))
        };
        let keys: Vec<String> = keys.iter().map(text).collect();
        let toml = format!("[webhooks]\nkeys = [{}]", keys.join(", "));
        SecretSeal::new(&Settings::from_toml(&toml).unwrap().webhooks.keys)
    }

    #[test]
    fn a_sealed_secret_is_opened_by_its_key_for_its_subscription_only() {
        let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
        let secret = WebhookSigningSecret::generate_hmac().unwrap();
        let sealed = seal(&[1]).seal(one, &secret).unwrap();
        assert_eq!(seal(&[1]).open(one, &sealed).unwrap(), secret);
        assert_eq!(seal(&[2, 1]).open(one, &sealed).unwrap(), secret, "during a rotation of keys");
        assert_eq!(seal(&[2]).open(one, &sealed), Err(SealError::OtherKey));
        assert_eq!(seal(&[1]).open(other, &sealed), Err(SealError::OtherKey));
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(seal(&[1]).open(one, &changed), Err(SealError::OtherKey));
        for short in [&[][..], &[FORMAT], &sealed[..10]] {
            assert_eq!(seal(&[1]).open(one, short), Err(SealError::OtherKey));
        }
        let visible = secret.to_bytes();
        assert!(!sealed.windows(8).any(|window| visible.windows(8).any(|it| it == window)));
    }

    #[test]
    fn without_a_key_nothing_is_sealed() {
        let secret = WebhookSigningSecret::generate_ed25519().unwrap();
        assert_eq!(seal(&[]).seal(Uuid::now_v7(), &secret), Err(SealError::NoKey));
        assert!(!seal(&[]).has_key());
    }
}
