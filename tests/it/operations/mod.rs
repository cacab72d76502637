//! The program as an operator runs it.

mod alerts;
mod compression;
mod demo;
mod doctor;
mod evidence_command;
mod kafka_security;
mod metrics;
pub mod process;
mod restore;
