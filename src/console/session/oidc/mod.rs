//! Sign-in by OpenID Connect: authorization code with PKCE.
//!
//! * `handlers`: the way to the provider, the way back, and the sign-out there.
//! * `pending`: what binds the way back to the browser that began it.
//! * `provider`, `provider_http`: discovery, the keys, the exchange of the code, the checks of the ID token.
//! * `grants`: what a user may do, by the claims and the settings.
//! * `refusal`: why a sign-in is refused, in words.
//!
//! # Why
//!
//! The service keeps no token of the provider: it asks once who the user is, and opens a session of its own.
//! State, nonce and PKCE verifier follow from a secret cookie of the browser, so a sign-in that was begun costs no
//! row; the state that comes back is noted, so that it is used once.

mod grants;
pub(in crate::console) mod handlers;
mod pending;
pub(crate) mod provider;
mod provider_http;
mod refusal;
