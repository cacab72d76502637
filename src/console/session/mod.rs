//! Who is signed in: sessions in a table, a token in a cookie, sign-in by API key or by OpenID Connect, sign-out.

pub(super) mod cookie;
pub(super) mod handlers;
pub(crate) mod oidc;
pub(super) mod opening;
pub(super) mod sign_in_page;
pub(crate) mod store;
pub(super) mod throttle;
pub(super) mod token;
