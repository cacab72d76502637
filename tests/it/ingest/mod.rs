//! What the ingest endpoints accept, refuse, quarantine and redact.

mod contents;
mod encodings;
mod envelopes;
mod fuzz;
mod impossible_times;
mod jwt;
mod redaction;
mod requests;
mod samples;
mod sdk_readers;
mod sealed;
mod shares;
mod storable;
