//! The one way out for every room: onto the log, else into the spool.
//!
//! What comes in: messages that were accepted. What goes out: they are durable (law 1), or the
//! caller must say 503. "Not confirmed" means "possibly stored": both copies may arrive, and the
//! ledger's and the board's knowledge of duplicates removes one.

mod take;

pub use take::{NeitherStore, Road};
