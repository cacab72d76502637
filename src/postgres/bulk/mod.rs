//! Rows of whole calls, written by `copy` instead of the statements of the ledger.

pub(crate) mod copy_text;
pub(crate) mod history_rows;
pub(crate) mod history_store;
