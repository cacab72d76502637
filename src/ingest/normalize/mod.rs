//! Converts an Azure event into a statement about a call.
//!
//! [`statement`] is the entry: it finds the kind of the event ([`event_kind`]) and its ids.
//! [`event_grid`] converts the data of Event Grid events, [`call_automation`] the data of Call
//! Automation callbacks. [`azure`] reads members, identifiers and paths.

pub(crate) mod azure;
mod azure_event;
mod call_automation;
mod event_grid;
pub(crate) mod event_kind;
pub(crate) mod statement;
