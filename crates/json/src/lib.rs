//! A byte-exact index of JSON text, its canonical form, and the redaction of sensitive members.
//!
//! * [`JsonIndex`] records the byte range of each value of a JSON text.
//! * [`redact`] replaces the values of sensitive members ([`SensitiveKeys`]) and keeps every other
//!   byte as received.
//! * [`scrub_unstructured`] does the same, as far as possible, in text that is not JSON.
//! * [`Base64Payload`] decodes the `data_base64` of a CloudEvent, so that its members are redacted
//!   too.
//! * [`canonical_text`] writes the form by which two contents are compared.
//!
//! The crate has no I/O and no dependency on the service.

#![deny(missing_docs)]

mod base64_payload;
mod canonical;
mod entry;
mod grammar;
mod index;
mod redact;
mod scrub;
mod secret_shapes;
mod sensitive_keys;
mod text_marks;
mod unescape;

pub use base64_payload::Base64Payload;
pub use canonical::canonical_text;
pub use entry::{JsonError, MAX_DEPTH, MAX_VALUES, ValueKind};
pub use index::{JsonIndex, ValueRef, WHITESPACE};
pub use redact::{RedactedJson, RedactionScope, TooManyRedactions, redact};
pub use scrub::{REDACTED_MARK, ScrubbedText, scrub_unstructured};
pub use sensitive_keys::{SensitiveKeys, sensitive_key_names};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
