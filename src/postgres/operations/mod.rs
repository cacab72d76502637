//! Rows about the deployment: API keys, revoked tokens, use of source credentials, availability.

pub(crate) mod api_key;
pub(crate) mod availability;
pub(crate) mod source_use;
pub(crate) mod token_revocation;
