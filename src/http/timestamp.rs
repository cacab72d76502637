//! Instants in JSON responses: RFC 3339 in UTC.

use chrono::{DateTime, SecondsFormat, Utc};

/// An instant with microseconds, the precision of the store.
pub(crate) fn micros(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// An instant with milliseconds, the precision of the rules of evidence.
pub(crate) fn millis(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
