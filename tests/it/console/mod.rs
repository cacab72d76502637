//! The web console, as a browser without scripts sees it.

mod analytics;
pub mod browser;
mod exceptions;
mod exports;
mod identity;
mod injection;
mod isolation;
mod operations;
mod pages;
mod saved_filters;
mod security;
mod settings;
mod typed_texts;
