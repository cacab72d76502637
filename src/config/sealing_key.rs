//! The public key to which unreadable content of deliveries is sealed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::units::parsed;

/// Length of a key of X25519, in bytes.
const KEY_LENGTH: usize = 32;

/// The settings of the quarantine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuarantineSettings {
    /// `None`: what is not JSON is not kept, only its hash and size.
    #[serde(deserialize_with = "sealing_key")]
    pub seal_to: Option<SealingKey>,
}

/// A public key of X25519, written in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealingKey([u8; KEY_LENGTH]);

impl SealingKey {
    /// The key of these bytes; `None` if they are no key.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let key: [u8; KEY_LENGTH] = bytes.try_into().ok()?;
        key.iter().any(|byte| *byte != 0).then_some(Self(key))
    }

    /// The bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }
}

fn sealing_key<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SealingKey>, D::Error> {
    let parse = |text: &str| {
        if text.is_empty() {
            return Some(None);
        }
        // The message says what a key looks like.
        let bytes = STANDARD.decode(text).ok()?;
        SealingKey::of(&bytes).map(Some)
    };
    let expected =
        "seal_to is a public key of X25519 in base64; `onrecord quarantine key` generates a pair";
    parsed(deserializer, parse, expected)
}

#[cfg(test)]
mod tests {
    use crate::config::Settings;

    #[test]
    fn a_sealing_key_has_32_bytes_in_base64() {
        let seal_to = |key: &str| {
            let settings = Settings::from_toml(&format!("[quarantine]\nseal_to = \"{key}\""));
            settings.map(|settings| settings.quarantine.seal_to.map(|key| *key.as_bytes()))
        };
        assert_eq!(seal_to("").unwrap(), None);
        let key = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";
        assert_eq!(seal_to(key).unwrap(), Some([9; 32]));
        for wrong in [
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "CQkJ",
            "0909090909090909090909090909090909090909090909090909090909090909",
        ] {
            let error = seal_to(wrong).unwrap_err().to_string();
            assert!(error.contains("onrecord quarantine key") && !error.contains(wrong), "{error}");
        }
    }
}
