//! Parses the body of a delivery: Event Grid schema and CloudEvents, single events and batches.
//!
//! [`delivery`] is the entry. [`batch`] splits an array, [`cloudevents_binary`] reads an envelope in
//! headers, [`envelope`] one in the body. [`element`] parses one event: it calls
//! [`redact`](super::redact), then [`normalize`](super::normalize).

pub(crate) mod batch;
pub(crate) mod cloudevents_binary;
pub(crate) mod delivery;
pub(crate) mod delivery_source;
pub(crate) mod element;
pub(crate) mod envelope;
