//! What changes with time alone: due projections, presumed ends, silent sources, expired rows; and the roll-ups of
//! statistics.

pub(crate) mod due_calls;
pub(crate) mod maintenance_task;
pub(crate) mod merges;
pub(crate) mod presumed_ends;
pub(crate) mod rollups;
pub(crate) mod source_monitor;
