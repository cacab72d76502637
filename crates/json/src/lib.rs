//! A byte-exact index of JSON text, its canonical form, and the redaction of sensitive members.
//!
//! * [`JsonIndex`] records the byte range of each value of a JSON text.
//! * [`redact`] replaces the values of sensitive members ([`SensitiveKeys`]) and keeps every other
//!   byte as received.
//! * [`redact_text`] does so with a text that is no JSON.
//! * [`EncodedData`] decodes the data of an event that is written in a string, so that its members are
//!   redacted too.
//! * [`canonical_text`] writes the form by which two contents are compared.
//!
//! The crate has no I/O and no dependency on the service.

#![deny(missing_docs)]

mod canonical;
mod decoded_levels;
mod encoded_data;
mod entry;
mod grammar;
mod index;
mod inspect_string;
mod kept_texts;
mod redact;
mod secret_shapes;
mod sensitive_keys;
mod text_marks;
mod unescape;

pub use canonical::canonical_text;
pub use encoded_data::EncodedData;
pub use entry::{JsonError, MAX_DEPTH, MAX_VALUES, ValueKind};
pub use index::{JsonIndex, ValueRef, WHITESPACE};
pub use redact::{
    EncodedMember, RedactedJson, RedactionScope, TextPolicy, TooManyRedactions, redact, redact_text,
};
pub use sensitive_keys::{SensitiveKeys, sensitive_key_names};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
