//! The texts of the console: one file for each language.

pub(super) mod catalogue;
pub(super) mod language;
