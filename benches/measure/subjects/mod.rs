//! What is measured: one file for each benchmark.

pub mod export;
pub mod fanout;
pub mod ingest;
pub mod large_call;
pub mod latency;
pub mod ledger;
pub mod query;
pub mod start;
pub mod webhooks;
