//! The rules that the repository itself keeps: its layout, its words, its documentation.
//!
//! # Why
//!
//! The compiler keeps the layers between crates. Inside a crate it accepts any import, so the
//! sources are read as text: comments and strings are blanked, and paths are resolved to files. That
//! is enough for code that rustfmt has formatted. Each failure says what to change.

mod docs;
mod import_cycles;
mod layout;
mod schema;
pub mod source;
mod words;

/// Fails with the violations of a rule.
fn assert_none(violations: &[String], rule: &str) {
    const MAX_SHOWN: usize = 30;
    let shown = violations.get(..MAX_SHOWN).unwrap_or(violations).join("\n");
    let number = violations.len();
    assert!(number == 0, "{rule}\n{shown}\n({number} in all)");
}
