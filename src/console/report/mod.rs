//! The evidence report of a call for print: one document, as a page of the console and as a file.

pub(crate) mod report_document;
pub(super) mod report_page;
