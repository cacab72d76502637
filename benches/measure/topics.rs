//! How `onrecord` lays out its topics.

/// Partitions of a topic.
pub const PARTITIONS: i32 = 12;
