//! Follows the topics: reads leased partitions in order, and appends batches in turn.

mod backlog;
pub(crate) mod batch_attempt;
mod batch_size;
pub(crate) mod commit_gate;
pub(crate) mod delayed_messages;
pub(crate) mod follower;
pub(crate) mod follower_health;
mod isolation;
mod stalled_partitions;
mod step_error;
pub(crate) mod topic_recreation;
pub(crate) mod topic_recreation_probe;
