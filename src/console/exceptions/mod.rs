//! Exceptions: the queue, one exception with its history, and what is done about them.

pub(super) mod actions;
pub(super) mod exception_page;
mod people;
pub(super) mod queue_page;
