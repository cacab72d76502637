//! The evidence report: obligations, observation, verdict, flags, explanations, proofs, disagreements
//! of clients, versions, and the difference of two reports.

pub mod difference;
pub mod disagreement;
pub mod evidence_report;
pub mod explanation;
pub mod flag;
pub(crate) mod next_change;
pub mod obligation;
pub mod observation;
pub mod proof;
pub mod verdict;
pub mod version;
