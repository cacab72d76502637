//! The web console, as a browser without scripts sees it.

mod accounts;
mod analytics;
pub mod browser;
mod exceptions;
mod exports;
mod injection;
mod isolation;
mod oidc;
mod oidc_refusals;
mod operations;
mod pages;
mod saved_filters;
mod security;
mod settings;
mod sign_in;
mod typed_texts;
