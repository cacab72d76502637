//! How members of the bodies of clients and their backends are read: `null` is absence, and a length
//! may have fractions of a millisecond.
//!
//! # Why
//!
//! Many encoders write an absent value as `null`, and `performance.now()` of a browser counts in
//! fractions of milliseconds. Neither is a mistake that a report should be lost by.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Reads a member whose absence, and therefore whose `null`, means its default.
///
/// # Errors
///
/// Another value than `null` is of another type.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    // Only `null` is replaced by the default.
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A length in milliseconds, rounded to whole ones. Its range is checked by its reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RoundedMillis(pub i64);

impl<'de> Deserialize<'de> for RoundedMillis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RoundedMillisVisitor)
    }
}

struct RoundedMillisVisitor;

impl Visitor<'_> for RoundedMillisVisitor {
    type Value = RoundedMillis;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number of milliseconds")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<RoundedMillis, E> {
        Ok(RoundedMillis(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<RoundedMillis, E> {
        Ok(RoundedMillis(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<RoundedMillis, E> {
        // The conversion saturates, and the readers refuse such lengths.
        Ok(RoundedMillis(number.round() as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_rounded_to_whole_milliseconds() {
        for (text, millis) in [
            ("0", 0),
            ("40", 40),
            ("40.0", 40),
            ("40.49999", 40),
            ("40.5", 41),
            ("1234.5000000001", 1235),
            ("4e1", 40),
            ("0.2", 0),
            ("-0.2", 0),
            ("-0.0", 0),
            ("-1", -1),
            ("-0.7", -1),
            ("1e300", i64::MAX),
            ("18446744073709551615", i64::MAX),
        ] {
            let read: RoundedMillis = serde_json::from_str(text).unwrap();
            assert_eq!(read, RoundedMillis(millis), "{text}");
        }
        for text in ["\"40\"", "true", "null", "[]", "{}"] {
            assert!(serde_json::from_str::<RoundedMillis>(text).is_err(), "{text}");
        }
    }
}
