//! Authenticates the sender of a delivery by a key or a JWT.
//!
//! [`keys`] is the entry; [`jwt`] verifies a token with a signing key of [`jwks_cache`];
//! [`rejection_log`] stores rejections.

pub(crate) mod jwks;
pub(crate) mod jwks_cache;
pub(crate) mod jwt;
pub(crate) mod keys;
pub(crate) mod rejection_log;
