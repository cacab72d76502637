//! The corridor keeps its laws when everything around it fails: the bench on which that is shown.
//!
//! Real processes, a real Kafka, a real Postgres, and between them a network that can fail.
//!
//! * [`bench`]: all of it; [`node`]: one `serve` process; [`proxy`]: the network.
//! * [`truth`]: the fault run. [`fault`] draws what fails, [`load`] posts meanwhile, [`verdict`]
//!   judges.
//! * The others: one misfortune each. What needs a crash or a stop at a chosen line needs the cargo
//!   feature `failpoints` (`src/failpoint.rs`).

mod bench;
mod cold_start;
#[cfg(feature = "failpoints")]
mod crash_points;
mod fault;
mod late_success;
mod load;
#[cfg(feature = "failpoints")]
mod lost_commit;
mod node;
mod poison;
mod positions;
mod proxy;
mod resumption;
mod rooms;
mod shutdown;
mod truth;
mod verdict;
#[cfg(feature = "failpoints")]
mod zombie;
