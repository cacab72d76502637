//! The program as an operator runs it.

mod demo;
mod doctor;
mod evidence_command;
pub mod process;
