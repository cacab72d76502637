//! Seals what cannot be parsed, so that it is neither lost nor readable in a store (`NOTHING_LOST`,
//! `NO_SECRETS`).
//!
//! # Why
//!
//! Secrets and contents of calls are found by the names of members. In what is not JSON there are no
//! names, so it may contain anything. Its bytes are kept in a sealed box: only the private key opens
//! it, and the service never has that key.

use crypto_box::PublicKey;
use crypto_box::aead::OsRng;

use crate::config::SealingKey;

/// The sealed box of some bytes (`crypto_box_seal` of libsodium).
#[derive(Clone, PartialEq, Eq)]
pub struct SealedBox(Vec<u8>);

impl std::fmt::Debug for SealedBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedBox({} bytes)", self.0.len())
    }
}

impl SealedBox {
    /// The bytes of the box.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Seals bytes; `None` without a key.
pub(crate) fn seal(key: Option<&SealingKey>, bytes: &[u8]) -> Option<SealedBox> {
    let key = PublicKey::from(*key?.as_bytes());
    match key.seal(&mut OsRng, bytes) {
        Ok(sealed) => Some(SealedBox(sealed)),
        // It fails for texts of many gigabytes only.
        Err(_) => {
            tracing::error!("content cannot be sealed: only its hash and size are kept");
            None
        }
    }
}
