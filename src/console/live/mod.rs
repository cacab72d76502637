//! Calls in progress: the page, and the stream that says when it changed.

pub(super) mod change_stream;
pub(crate) mod last_changes;
pub(super) mod live_page;
