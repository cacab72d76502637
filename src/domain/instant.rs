//! Instants: whole milliseconds for the rules, verbatim text for the record.

use chrono::{DateTime, SecondsFormat, Utc};

/// Milliseconds since 1970-01-01T00:00:00Z, the unit of every rule.
pub type Millis = i64;

/// A source's clock may differ from ours by so much before its events are flagged `clock`, ms.
pub const CLOCK_TOLERANCE: Millis = 5 * 60 * 1000;

/// Reads a source's own time: RFC 3339 with 0 to 9 fraction digits and any offset (Event Grid
/// writes `Z` and 7 digits, callbacks `+00:00` and 1 to 7). Years outside 1 to 9999 are refused,
/// because nothing that stores the result could.
#[must_use]
pub fn parse_source_time(text: &str) -> Option<DateTime<Utc>> {
    use chrono::Datelike as _;
    let time = DateTime::parse_from_rfc3339(text.trim())
        .ok()?
        .with_timezone(&Utc);
    (1..=9999).contains(&time.year()).then_some(time)
}

/// When a thing happened, for the rules: the lesser of what the source says and when we received
/// it, in whole milliseconds.
#[must_use]
pub fn effective(source: Option<DateTime<Utc>>, received: DateTime<Utc>) -> Millis {
    source
        .map_or(received, |source| source.min(received))
        .timestamp_millis()
}

/// Whether the source's time and ours differ by more than [`CLOCK_TOLERANCE`], either way.
#[must_use]
pub fn clock_differs(source: Option<DateTime<Utc>>, received: DateTime<Utc>) -> bool {
    source.is_some_and(|source| (source - received).num_milliseconds().abs() > CLOCK_TOLERANCE)
}

/// The instant as API text, RFC 3339 with milliseconds and `Z`; instants beyond year 9999 are
/// not representable and give `None`.
#[must_use]
pub fn text(at: Millis) -> Option<String> {
    DateTime::from_timestamp_millis(at)
        .map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_time_is_read() {
        for (text, millis) in [
            ("2021-09-22T17:28:41.1497652Z", 1_632_331_721_149),
            ("2025-06-16T18:38:11.415911+00:00", 1_750_099_091_415),
            ("2025-06-16T18:38:11.4+00:00", 1_750_099_091_400),
            ("2021-09-09T21:13:45Z", 1_631_222_025_000),
            ("2021-02-19T16:31:54.365-08:00", 1_613_781_114_365),
        ] {
            assert_eq!(
                parse_source_time(text).map(|t| t.timestamp_millis()),
                Some(millis),
                "{text}"
            );
        }
        for text in [
            "",
            "yesterday",
            "10000-01-01T00:00:00Z",
            "+10000-01-01T00:00:00Z",
            "2021-13-01T00:00:00Z",
        ] {
            assert_eq!(parse_source_time(text), None, "{text}");
        }
    }

    #[test]
    fn a_source_ahead_of_us_is_cut_to_our_clock_and_flagged() {
        let received = parse_source_time("2026-01-01T00:00:00Z").unwrap();
        let ahead = parse_source_time("2026-01-01T00:06:00Z");
        assert_eq!(effective(ahead, received), received.timestamp_millis());
        assert!(clock_differs(ahead, received));
        assert!(!clock_differs(
            parse_source_time("2025-12-31T23:59:00Z"),
            received
        ));
    }
}
