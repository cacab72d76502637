//! Calling events: the normalized statements about a call, their identifiers and their instants.

pub mod calling_event;
pub mod ids;
pub mod instant;
