//! Reads the members of Azure events.
//!
//! [`object`] reads typed members, [`identifier`] the identifiers of participants, [`path`] the ids
//! inside subjects and sources.

pub(crate) mod identifier;
pub(crate) mod object;
pub(crate) mod path;
