//! Times, lengths and codes of the record as pages show them.

pub(super) mod instant_mark;
pub(super) mod length;
pub(super) mod mark;
