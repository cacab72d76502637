//! `/v1/stats/…`: numbers of calls, notices, captures and exceptions by hour, day or week of a named zone.

pub(crate) mod answers;
mod groups;
pub(crate) mod histogram;
pub(crate) mod intervals;
