//! The door: deliveries of Event Grid and Call Automation.
//!
//! What comes in: HTTP requests in Azure's dialects. What goes out: calling events, and for what
//! was not understood a quarantine message, durable before the answer. What can fail: the sender is
//! not known, or neither store takes it; then the answer is 503, because Event Grid never sends
//! again what was answered 400, 401, 403 or 413 (laws 1 and 2).
//!
//! The walk of a delivery: [`door`] (limits, deadline) → [`authenticate`] (a
//! token: [`bearer`], by the keys that [`issuer_keys`] has) → [`unpack`]: [`delivery`]
//! (take apart: [`batch`], [`envelope`], [`binary`]) → [`redact`] → [`normalize`] (reading
//! [`azure`]) → the road → [`verdict`] (the answer).

mod authenticate;
mod azure;
mod batch;
mod bearer;
mod binary;
mod blank;
mod canonical;
mod delivery;
mod door;
mod envelope;
mod event;
mod forbidden;
mod handshake;
mod hidden;
mod issuer_keys;
mod json;
mod json_reader;
mod key_set;
mod lens;
mod meaning;
mod normalize;
mod reason;
mod redact;
mod refusals;
mod sources;
mod unpack;
mod verdict;

pub use delivery::{Contents, Delivery, Door, Normalized, Taken, Unreadable, take_apart};
pub use door::{Intake, router};
pub use sources::Sources;
