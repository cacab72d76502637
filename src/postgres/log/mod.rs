//! Positions of the ledger in the Kafka log, leases, and the spool for messages that Kafka did not
//! confirm.

pub(crate) mod lease;
pub(crate) mod log_end;
pub(crate) mod position;
pub(crate) mod spool;
