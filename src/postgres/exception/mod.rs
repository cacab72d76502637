//! Rows of exceptions: their state and history, occurrences that open one, and closing by hand.

pub(crate) mod close_exception;
pub(crate) mod exception_work;
pub(crate) mod history;
pub(crate) mod record_occurrence;
pub(crate) mod record_quarantine;
