//! Captures: when a call was recorded or transcribed, according to which source.
//!
//! [`provider_intervals`], [`file_intervals`] and [`report_intervals`] compute the intervals that
//! each source states; [`merge`] merges them to captures.

pub mod file_intervals;
pub mod interval;
pub mod merge;
pub mod provider_intervals;
pub mod recording;
pub mod report_intervals;
pub mod reporter;
pub mod span;
