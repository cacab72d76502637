//! Projects each touched call: session resolution, snapshot, report.

pub(crate) mod call_projection;
mod call_summary;
mod call_terms;
pub(crate) mod compute;
pub(crate) mod project_calls;
pub(crate) mod projection_budget;
