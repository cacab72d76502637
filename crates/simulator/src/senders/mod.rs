//! Senders: posting over HTTP, and Event Grid's retries.

pub(crate) mod event_grid_sender;
pub(crate) mod http_sender;
pub(crate) mod retry_table;
