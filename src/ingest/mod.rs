//! Ingest: receives the deliveries of Event Grid and Call Automation and publishes their events.
//!
//! Input: HTTP requests. Output: one Kafka message for each event, and one quarantine message for
//! each element that cannot be parsed; all are durable before the response (`DURABLE_ACK`). Failures
//! of the service or of authentication are answered 503, because Event Grid never repeats a delivery
//! that was answered 400, 401, 403 or 413 (`NEVER_REFUSE_FINALLY`).
//!
//! # The path of a delivery
//!
//! 1. `routes`: the HTTP routes, limits and deadline; [`capacity`] divides memory and threads among
//!    the [`sources`].
//! 2. [`auth`]: authenticates the sender by a key or a JWT; [`handshake`] answers the validation of
//!    a subscription.
//! 3. [`decode`]: removes the content codings of the body, and its charset.
//! 4. [`message_batch`]: parses the text and encodes the messages, by the next three modules.
//! 5. [`parse`]: splits the body into elements ([`parse::batch`]) and reads the envelope of each
//!    ([`parse::envelope`], [`parse::cloudevents_binary`]).
//! 6. [`redact`]: removes secrets from each element; what follows reads the redacted text only.
//! 7. [`normalize`]: converts the event into a statement about a call. A Call Automation callback is
//!    parsed in `normalize/call_automation.rs`, an Event Grid event in `normalize/event_grid.rs`.
//! 8. [`outcome`]: the response. An element that cannot be parsed has a [`quarantine`] reason, and
//!    [`seal`] keeps what of it cannot be read.

pub(crate) mod auth;
pub(crate) mod capacity;
pub(crate) mod counters;
pub(crate) mod decode;
pub(crate) mod handshake;
pub(crate) mod handshake_log;
pub(crate) mod message_batch;
pub(crate) mod normalize;
pub(crate) mod outcome;
pub(crate) mod parse;
pub(crate) mod quarantine;
pub(crate) mod redact;
pub(crate) mod routes;
pub(crate) mod seal;
pub(crate) mod sources;

pub use decode::decoded_body::DecodedBody;
pub use parse::delivery::{
    DeliveryContents, ParsedElement, QuarantinedElement, RawDelivery, parse_delivery,
};
pub use parse::delivery_source::DeliverySource;
pub use parse::element::NormalizedElement;
pub(crate) use parse::element::content_of_original;
pub(crate) use routes::routes;
pub use routes::{Ingest, router};
pub use sources::{SourceSet, Sources};
