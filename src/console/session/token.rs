//! Random tokens of sessions and forms, and their comparison.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

use onrecord_evidence::event::ids::Digest;

/// A random token: 32 bytes, base64url.
pub(in crate::console) fn random_token() -> String {
    let bytes: [u8; 32] = rand::random();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The token of the forms of a session in a tenant, or of those before the sign-in, which have no tenant. It is
/// derived, so that no form has the token of the cookie. A form of the tenant that was shown before a switch has
/// another one, so that nothing is done in the wrong tenant.
pub(in crate::console) fn form_token(cookie: &str, tenant: &str) -> String {
    let digest = Digest::of_parts(&["form of the console", cookie, tenant]);
    URL_SAFE_NO_PAD.encode(digest.as_bytes())
}

/// Whether two tokens are equal; the time of the comparison reveals nothing about their contents.
pub(in crate::console) fn is_same_token(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}
