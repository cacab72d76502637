//! The web console, as a browser without scripts sees it.

mod accounts;
pub mod browser;
mod exceptions;
mod injection;
mod isolation;
mod oidc;
mod oidc_refusals;
mod pages;
mod security;
mod settings;
mod sign_in;
