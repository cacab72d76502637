//! Decodes the body of a delivery to text.
//!
//! [`decoded_body`] is the entry. [`content_coding`] removes one content coding, within
//! [`output_limits`]; [`charset`] transcodes what is not UTF-8.

mod charset;
mod content_coding;
pub(crate) mod decoded_body;
pub(crate) mod output_limits;
