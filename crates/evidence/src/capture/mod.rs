//! Captures: when a call was recorded or transcribed, according to which source.
//!
//! [`provider_intervals`], [`file_intervals`] and [`report_intervals`] compute the intervals that
//! each source states; [`merge`] merges them to captures.

pub(crate) mod file_intervals;
pub mod interval;
pub mod merge;
pub(crate) mod provider_intervals;
pub(crate) mod recording;
pub(crate) mod report_intervals;
pub(crate) mod reporter;
pub mod span;
