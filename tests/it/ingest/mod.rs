//! What the ingest endpoints accept, refuse, quarantine and redact.

mod fuzz;
mod jwt;
mod redaction;
mod requests;
mod samples;
mod shares;
mod storable;
