//! What client apps and their backends send: subscriber tokens, reports, acknowledgements.
//!
//! * `token_mint`, `token_body`: `POST /v1/subscriber-tokens`, and its body.
//! * `token_revocation`: `POST /v1/token-revocations`, and the task that reads revocations.
//! * `bounded_text`: which texts a body may have; `member`: how its members are read.
//! * `report`, `report_body`: `POST /v1/reports`, and the calling event that a report becomes.
//! * `acknowledge`: `POST /v1/acknowledgements`.
//! * `client_context`: the state of the handlers; authentication and rate limit of clients.
//!
//! The routes are in `client_api`.

pub(crate) mod acknowledge;
pub(crate) mod bounded_text;
pub(crate) mod client_context;
mod member;
pub(crate) mod report;
pub(crate) mod report_body;
pub(crate) mod token_body;
pub(crate) mod token_mint;
pub(crate) mod token_revocation;
