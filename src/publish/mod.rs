//! Durable publish: messages go to Kafka, or else to the spool in PostgreSQL.
//!
//! [`durable_publisher`] makes messages durable before the caller answers (`DURABLE_ACK`); if neither
//! store takes them, the caller answers 503. [`spool_drain`] publishes spooled messages when Kafka
//! confirms again.
//!
//! # Why
//!
//! "Not confirmed" means "possibly stored", so both copies may arrive. The ledger and the live state
//! recognize duplicates by the event key and drop one (`ONCE`).

pub(crate) mod acknowledged_ends;
pub(crate) mod durable_publisher;
pub(crate) mod spool_drain;

pub(crate) use durable_publisher::{DurablePublisher, NotDurable};
