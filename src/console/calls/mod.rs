//! The list of calls: its filter, its columns, filters under names, and the same rows as CSV.

pub(super) mod columns;
pub(super) mod csv;
pub(super) mod list_page;
pub(super) mod saved_filters;
pub(super) mod typed_filter;
