//! The web console, as a browser without scripts sees it.

pub mod browser;
mod exceptions;
mod injection;
mod isolation;
mod pages;
mod settings;
mod sign_in;
