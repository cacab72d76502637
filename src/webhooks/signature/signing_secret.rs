//! The secrets of subscriptions, and what they sign (Standard Webhooks 1.0).
//!
//! The signed content is `{webhook-id}.{webhook-timestamp}.{body}`. A signature is `v1,` and the HMAC-SHA256 of
//! it, or `v1a,` and its Ed25519 signature, in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::postgres::SignatureAlgorithm;

/// Length of a new symmetric secret, in bytes; 24 to 64 are allowed.
const SECRET_BYTES: usize = 32;
/// Length of the seed of a private key.
const SEED_BYTES: usize = 32;
/// Prefix of the text of a symmetric secret.
const SECRET_PREFIX: &str = "whsec_";
/// Prefix of the text of a public key.
const PUBLIC_KEY_PREFIX: &str = "whpk_";

/// A secret that signs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum WebhookSigningSecret {
    Hmac(Vec<u8>),
    Ed25519([u8; SEED_BYTES]),
}

impl std::fmt::Debug for WebhookSigningSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl WebhookSigningSecret {
    /// A new secret of this algorithm; `None`: the system gives no random bytes.
    pub(crate) fn generate(algorithm: SignatureAlgorithm) -> Option<Self> {
        match algorithm {
            SignatureAlgorithm::V1 => Self::generate_hmac(),
            SignatureAlgorithm::V1a => Self::generate_ed25519(),
        }
    }

    pub(super) fn generate_hmac() -> Option<Self> {
        let mut secret = vec![0; SECRET_BYTES];
        SystemRandom::new().fill(&mut secret).ok()?;
        Some(Self::Hmac(secret))
    }

    pub(super) fn generate_ed25519() -> Option<Self> {
        let mut seed = [0; SEED_BYTES];
        SystemRandom::new().fill(&mut seed).ok()?;
        Some(Self::Ed25519(seed))
    }

    /// What the receiver gets, once: the secret, or of a private key its public one.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Hmac(secret) => format!("{SECRET_PREFIX}{}", STANDARD.encode(secret)),
            Self::Ed25519(_) => {
                self.public_key().map_or_else(String::new, |key| public_key_text(&key))
            }
        }
    }

    /// The public key of a private one.
    pub(crate) fn public_key(&self) -> Option<[u8; 32]> {
        match self {
            Self::Hmac(_) => None,
            // Every seed of 32 bytes is a private key.
            Self::Ed25519(seed) => {
                let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
                pair.public_key().as_ref().try_into().ok()
            }
        }
    }

    /// The key by which it signs.
    pub(crate) fn key(&self) -> Option<SigningKeyPair> {
        Some(match self {
            Self::Hmac(secret) => SigningKeyPair::Hmac(hmac::Key::new(hmac::HMAC_SHA256, secret)),
            // Every seed of 32 bytes is a private key.
            Self::Ed25519(seed) => {
                SigningKeyPair::Ed25519(Box::new(Ed25519KeyPair::from_seed_unchecked(seed).ok()?))
            }
        })
    }

    /// The bytes that are sealed.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Hmac(secret) => [&[1], secret.as_slice()].concat(),
            Self::Ed25519(seed) => [&[2], seed.as_slice()].concat(),
        }
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (1, secret) => Some(Self::Hmac(secret.to_vec())),
            (2, seed) => Some(Self::Ed25519(seed.try_into().ok()?)),
            _ => None,
        }
    }
}

/// The text of a public key.
pub(crate) fn public_key_text(key: &[u8]) -> String {
    format!("{PUBLIC_KEY_PREFIX}{}", STANDARD.encode(key))
}

/// A key that signs messages.
pub(crate) enum SigningKeyPair {
    Hmac(hmac::Key),
    Ed25519(Box<Ed25519KeyPair>),
}

impl SigningKeyPair {
    fn sign(&self, id: &str, timestamp: &str, body: &str) -> String {
        match self {
            Self::Hmac(key) => {
                let mut context = hmac::Context::with_key(key);
                for part in [id, ".", timestamp, ".", body] {
                    context.update(part.as_bytes());
                }
                format!("v1,{}", STANDARD.encode(context.sign()))
            }
            Self::Ed25519(pair) => {
                let content = [id, timestamp, body].join(".");
                format!("v1a,{}", STANDARD.encode(pair.sign(content.as_bytes())))
            }
        }
    }
}

/// The header `webhook-signature`: a signature by each key, the newest first. `timestamp` are seconds.
pub(crate) fn signature_header<'k>(
    keys: impl Iterator<Item = &'k SigningKeyPair>,
    id: &str,
    timestamp: i64,
    body: &str,
) -> String {
    let timestamp = timestamp.to_string();
    let signatures: Vec<String> = keys.map(|key| key.sign(id, &timestamp, body)).collect();
    signatures.join(" ")
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    /// The example of the specification, and of the published libraries.
    const SPEC_SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SPEC_ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SPEC_TIMESTAMP: i64 = 1_614_265_330;
    const SPEC_BODY: &str = r#"{"test": 2432232314}"#;
    const SPEC_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_example_of_the_specification_has_its_signature() {
        let secret = WebhookSigningSecret::Hmac(STANDARD.decode(SPEC_SECRET).unwrap());
        assert_eq!(secret.shown(), format!("whsec_{SPEC_SECRET}"));
        let key = secret.key().unwrap();
        let header = signature_header([&key].into_iter(), SPEC_ID, SPEC_TIMESTAMP, SPEC_BODY);
        assert_eq!(header, SPEC_SIGNATURE);
    }

    #[test]
    fn an_example_of_another_sender_has_its_signature() {
        let secret =
            WebhookSigningSecret::Hmac(STANDARD.decode("plJ3nmyCDGBKInavdOK15jsl").unwrap());
        let body = r#"{"event_type":"ping","data":{"success":true}}"#;
        let key = secret.key().unwrap();
        let id = "msg_loFOjxBNrRLzqYUf";
        let header = signature_header([&key].into_iter(), id, 1_731_705_121, body);
        assert_eq!(header, "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=");
    }

    #[test]
    fn during_a_rotation_there_are_two_signatures() {
        let keys: Vec<SigningKeyPair> = [SPEC_SECRET, "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"]
            .into_iter()
            .map(|text| WebhookSigningSecret::Hmac(STANDARD.decode(text).unwrap()).key().unwrap())
            .collect();
        let header = signature_header(keys.iter(), SPEC_ID, SPEC_TIMESTAMP, SPEC_BODY);
        let signatures: Vec<&str> = header.split(' ').collect();
        assert_eq!(signatures.len(), 2);
        assert_eq!(signatures[0], SPEC_SIGNATURE);
        assert!(signatures[1].starts_with("v1,") && signatures[1] != SPEC_SIGNATURE);
    }

    #[test]
    fn a_signature_of_ed25519_is_verified_by_the_public_key() {
        let secret = WebhookSigningSecret::generate_ed25519().unwrap();
        let shown = secret.shown();
        let public = STANDARD.decode(shown.strip_prefix("whpk_").unwrap()).unwrap();
        assert_eq!(public, secret.public_key().unwrap());
        let key = secret.key().unwrap();
        let header = signature_header([&key].into_iter(), SPEC_ID, SPEC_TIMESTAMP, SPEC_BODY);
        let signature = STANDARD.decode(header.strip_prefix("v1a,").unwrap()).unwrap();
        let content = format!("{SPEC_ID}.{SPEC_TIMESTAMP}.{SPEC_BODY}");
        let verifier = UnparsedPublicKey::new(&ED25519, public);
        verifier.verify(content.as_bytes(), &signature).unwrap();
        assert!(verifier.verify(b"other", &signature).is_err());
    }

    #[test]
    fn a_secret_survives_its_bytes_and_is_not_printed() {
        for secret in [
            WebhookSigningSecret::generate_hmac().unwrap(),
            WebhookSigningSecret::generate_ed25519().unwrap(),
        ] {
            assert_eq!(WebhookSigningSecret::from_bytes(&secret.to_bytes()), Some(secret.clone()));
            assert_eq!(format!("{secret:?}"), "[redacted]");
        }
        assert_eq!(WebhookSigningSecret::from_bytes(&[]), None);
        assert_eq!(WebhookSigningSecret::from_bytes(&[2, 1]), None);
        assert_eq!(WebhookSigningSecret::from_bytes(&[9, 1]), None);
    }
}
