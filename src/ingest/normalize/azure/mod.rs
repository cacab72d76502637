//! Reads the members of Azure events.
//!
//! [`object`] reads typed members, and flags those that it cannot read ([`member_flags`]);
//! [`identifier`] reads the identifiers of participants, [`path`] the ids inside subjects and sources.

pub(crate) mod identifier;
pub(crate) mod member_flags;
pub(crate) mod object;
pub(crate) mod path;
