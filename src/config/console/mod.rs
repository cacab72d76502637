//! The settings of the console.

pub(super) mod sign_in;

pub use sign_in::{ClaimedRole, ConsoleRole, ConsoleSettings, KeySignIn, OidcSettings};
