//! Calls: the list, one call with its timeline, its evidence, and everything about one person.

pub(crate) mod call_view;
pub(crate) mod evidence;
pub(crate) mod filter;
pub(crate) mod list;
pub(crate) mod one;
pub(crate) mod person;
pub(crate) mod readable_report;
