//! Parses durations and sizes: a whole number and its unit.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, de::Error as _};

const SIZES: [(&str, u64); 3] = [("", 1), ("KiB", 1024), ("MiB", 1024 * 1024)];
const DURATIONS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60 * 1000), ("h", 3600 * 1000), ("d", 24 * 3600 * 1000)];

/// What is wrong with a text that [`parse_duration`] does not understand.
pub(super) const NO_DURATION: &str =
    "this is not a duration; write a whole number with ms, s, m, h or d, for example 15s";

/// Deserializes a text by `parse`. The error does not quote the text, which may be a misplaced secret.
pub(super) fn parsed<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Option<T>,
    error: &'static str,
) -> Result<T, D::Error> {
    parse(&String::deserialize(deserializer)?).ok_or_else(|| D::Error::custom(error))
}

fn number(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    number(text, &DURATIONS).map(Duration::from_millis)
}

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parsed(deserializer, parse_duration, NO_DURATION)
}

pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    parsed(
        deserializer,
        |text| number(text, &SIZES).filter(|bytes| *bytes > 0)?.try_into().ok(),
        "this is not a size; write bytes, or a whole number with KiB or MiB, for example 64MiB",
    )
}
