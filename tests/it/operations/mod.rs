//! The program as an operator runs it.

mod alerts;
mod compression;
mod demo;
mod demo_page;
mod doctor;
mod evidence_command;
pub mod flat_records;
mod kafka_security;
mod metrics;
pub mod process;
mod restore;
mod simulated_history;
