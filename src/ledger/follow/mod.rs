//! Follows the topics: reads leased partitions in order, and appends batches in turn.

pub(crate) mod batch_attempt;
pub(crate) mod commit_gate;
pub(crate) mod delayed_messages;
pub(crate) mod follower;
pub(crate) mod follower_health;
pub(crate) mod topic_recreation;
pub(crate) mod topic_recreation_probe;
