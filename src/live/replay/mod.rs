//! Keeps the live state current: replays the Kafka log, then tails it and the spool.

pub(crate) mod adaptive_fetch;
pub(crate) mod decode;
pub(crate) mod log_reader;
pub(crate) mod replay_progress;
pub(crate) mod spool_tail;
