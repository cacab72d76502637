//! The signatures of messages, after Standard Webhooks.
//!
//! * [`signing_secret`]: secrets, their texts, and what they sign.
//! * [`secret_seal`]: how secrets are sealed for the store.

pub(crate) mod secret_seal;
pub(crate) mod signing_secret;
