//! HTTP, for all roles. This module uses no store: API keys come through `auth::ApiKeyLookup`.
//!
//! * `server`, `connection`: the server loop and its timeouts; `/healthz`, `/readyz`, `/metrics`.
//! * `problem`: problem documents (RFC 9457).
//! * `auth`, `api_role`: API keys and their roles.
//! * `subscriber_token`, `jwt_crypto`: subscriber tokens, and the cryptography of JSON Web Tokens.
//! * `rate_limiter`: the rate limit of clients.
//! * `origin`: the origins whose pages may call; the names of this machine.
//! * `body`: JSON bodies, query parameters; discarding unread bodies.
//! * `shared_capacity`: fair shares of memory and streams.
//! * `paging`, `timestamp`: pages of lists; instants in responses.
//! * `purpose`: why a caller reads, for the access log.

pub mod api_role;
pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod connection;
pub mod jwt_crypto;
pub(crate) mod origin;
pub(crate) mod paging;
pub(crate) mod problem;
pub(crate) mod purpose;
pub(crate) mod rate_limiter;
pub(crate) mod server;
pub(crate) mod shared_capacity;
pub mod subscriber_token;
pub(crate) mod timestamp;
