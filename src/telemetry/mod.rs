//! Logs and metrics.
//!
//! * `logging`: the format and filter of the log.
//! * `log_limiter`: limits log lines that repeat.
//! * `exporter`: the recorder of the metrics.
//! * `dropped`: counts and logs what can be neither written nor read.
//! * `route_metrics`: requests, errors and times of each resource of `/v1`.
//! * [`names`]: the name of every metric.

pub(crate) mod dropped;
pub(crate) mod exporter;
pub(crate) mod log_limiter;
pub(crate) mod logging;
pub mod names;
pub(crate) mod route_metrics;

pub use exporter::start_metrics;
pub(crate) use exporter::{keep_up, render};
pub use log_limiter::LogLimiter;
pub use logging::start_logging;
