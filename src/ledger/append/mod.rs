//! Appends decoded messages to the audit store, in the transaction that moves the positions.

pub(crate) mod append_batch;
pub(crate) mod append_outcome;
pub(crate) mod decoded_message;
pub(crate) mod events;
pub(crate) mod notice_facts;
pub(crate) mod quarantine_rows;
pub(crate) mod refusal;
