//! Instants in JSON responses: RFC 3339 in UTC.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize as _, Serializer};

use onrecord_evidence::event::instant::{self, Millis};

/// An instant with microseconds, the precision of the store.
pub(crate) fn micros(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// An instant with milliseconds, the precision of the rules of evidence.
pub(crate) fn millis(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// [`micros`], for `#[serde(serialize_with)]`.
pub(crate) fn serialize_micros<S: Serializer>(
    at: &DateTime<Utc>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    micros(*at).serialize(serializer)
}

/// [`micros`], for `#[serde(serialize_with)]` of an instant that may be absent.
pub(crate) fn serialize_optional_micros<S: Serializer>(
    at: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    at.map(micros).serialize(serializer)
}

/// [`millis`], for `#[serde(serialize_with)]` of an instant that may be absent.
pub(crate) fn serialize_millis<S: Serializer>(
    at: &(impl Into<Option<DateTime<Utc>>> + Copy),
    serializer: S,
) -> Result<S::Ok, S::Error> {
    (*at).into().map(millis).serialize(serializer)
}

/// The text of an instant of the rules of evidence, for `#[serde(serialize_with)]`.
pub(crate) fn serialize_instant<S: Serializer>(
    at: &Millis,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    instant::text(*at).serialize(serializer)
}
