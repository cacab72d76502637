//! Rows per call: aliases, facts, the result of the evaluation, verdicts.

pub(crate) mod alias;
pub(crate) mod call_facts;
pub(crate) mod call_row_set;
pub(crate) mod call_rows;
pub(crate) mod call_summary;
pub(crate) mod call_terms;
pub(crate) mod locks;
pub(crate) mod pending_merge;
pub(crate) mod postponed_call;
pub(crate) mod revision;
pub(crate) mod verdict;
