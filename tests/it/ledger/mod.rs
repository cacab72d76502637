//! What is recorded: entries, verdicts and their versions, exceptions, outages, and how several
//! nodes share the work.

mod alias_lookups;
mod consumer;
mod evidence_e2e;
mod exceptions;
mod isolation;
mod large_calls;
mod missing_resources;
mod nodes;
mod outage_intervals;
mod postponed_calls;
mod spool;
mod trust_record;
mod verdicts;
