//! One call: its verdict, the swim lane, who was told when, and the entries of the record.

pub(super) mod call_chart;
pub(super) mod call_page;
pub(super) mod entries_page;
pub(super) mod entry_page;
pub(super) mod shown_report;
