//! The guarantees hold when everything around the program fails.
//!
//! Real processes, a real Kafka, a real Postgres, and between them a network that can fail.
//!
//! * [`cluster`]: the processes, the stores and the network between them.
//! * [`fault_run`]: many drawn faults under load.
//! * The others: one fault each. A crash or a pause at a chosen line requires the cargo feature
//!   `failpoints` (`src/failpoint.rs`).

pub mod cluster;
mod cold_start;
mod crash_points;
mod fault_run;
mod frozen_broker;
mod frozen_ledger;
mod late_success;
mod log_positions;
mod lost_commit;
mod poison;
mod resumption;
mod roles;
mod shutdown;
mod store_outages;
