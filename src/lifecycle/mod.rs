//! The process from start to stop: its tasks, the two stages of its shutdown, and the health of its
//! components.
//!
//! * `shutdown`: [`Lifecycle`] runs tasks, announces the stop, and waits for them.
//! * `detached`: work that the stop does not wait for.
//! * `readiness`: what `/readyz` reports of each component.
//! * `background_writer`: entries that are merged in memory and written every two seconds.

pub(crate) mod background_writer;
pub(crate) mod detached;
pub(crate) mod readiness;
pub(crate) mod shutdown;

pub use readiness::{Health, Readiness};
pub use shutdown::{Lifecycle, STOP_TIMEOUT, ShutdownHold};
