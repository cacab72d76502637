//! Append-only rows: entries, facts, notice facts, quarantined content.

pub(crate) mod binary_copy;
pub(crate) mod entry;
pub(crate) mod notice;
pub(crate) mod quarantine;
