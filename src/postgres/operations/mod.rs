//! Rows about the deployment: API keys, use of source credentials, availability.

pub(crate) mod api_key;
pub(crate) mod availability;
pub(crate) mod source_use;
