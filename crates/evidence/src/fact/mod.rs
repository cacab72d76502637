//! Facts: the statements that the rules of evidence read, as types and as JSON.

mod canonical;
pub(crate) mod fact_set;
pub mod json;
pub mod kinds;
