//! The program as an operator runs it.

mod compression;
mod demo;
mod doctor;
mod evidence_command;
mod kafka_security;
pub mod process;
