//! Exports: their list with the form for a new one, one export with its files, downloads and deletion.

pub(super) mod actions;
pub(super) mod export_page;
mod export_words;
pub(super) mod list_page;
pub(super) mod new_export;
