//! Instants: the rules of evidence compute with whole milliseconds; the text of a source's time is
//! stored verbatim elsewhere.

use chrono::{DateTime, SecondsFormat, Utc};

/// Milliseconds: since 1970-01-01T00:00:00Z for an instant, else a length. The unit of all rules.
pub type Millis = i64;

/// Maximum difference between two clocks, ms; an event with a greater difference from the server's clock
/// is flagged `clock`.
pub(crate) const CLOCK_TOLERANCE: Millis = 5 * 60 * 1000;

/// Minimum year of a time that a source states: Azure Communication Services did not exist before, and
/// a time that was not set is written as 0001, 1601 or 1970.
const MIN_SOURCE_YEAR: i32 = 2015;

/// A time as a source states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceTime {
    /// A time.
    At(DateTime<Utc>),
    /// A time at which nothing can have happened: it counts as absent.
    Impossible,
    /// No time.
    Invalid,
}

/// Reads the time that a source states: RFC 3339 with 0 to 9 fraction digits and any offset (Event
/// Grid writes `Z` and 7 digits, Call Automation `+00:00` and 1 to 7 digits). A year after 9999 is no
/// time, because PostgreSQL and RFC 3339 cannot represent it.
#[must_use]
pub fn read_source_time(text: &str) -> SourceTime {
    use chrono::Datelike as _;
    let Ok(time) = DateTime::parse_from_rfc3339(text.trim()) else {
        return SourceTime::Invalid;
    };
    let time = time.with_timezone(&Utc);
    match time.year() {
        MIN_SOURCE_YEAR..=9999 => SourceTime::At(time),
        ..MIN_SOURCE_YEAR => SourceTime::Impossible,
        _ => SourceTime::Invalid,
    }
}

/// The time that a source states, if it is one; see [`read_source_time`].
#[must_use]
pub fn parse_source_time(text: &str) -> Option<DateTime<Utc>> {
    match read_source_time(text) {
        SourceTime::At(time) => Some(time),
        SourceTime::Impossible | SourceTime::Invalid => None,
    }
}

/// The event time: when an event happened, for the rules of evidence. It is the earlier of the time
/// that the source states and the time of reception, in Unix milliseconds.
#[must_use]
pub fn event_time(source: Option<DateTime<Utc>>, received: DateTime<Utc>) -> Millis {
    source.map_or(received, |source| source.min(received)).timestamp_millis()
}

/// Lowers each instant to the least of itself and its successors. The instants are those of the
/// messages of one sender, in the order in which it sent them.
///
/// # Why
///
/// A message that a later message overtook counts when the later one arrived: the sender had already
/// sent it by then.
pub(crate) fn lower_to_successors<'a>(instants: impl DoubleEndedIterator<Item = &'a mut Millis>) {
    let mut least = Millis::MAX;
    for instant in instants.rev() {
        least = least.min(*instant);
        *instant = least;
    }
}

/// The time of reception in Unix milliseconds, if the source's time is more than five minutes earlier.
/// That a call goes on is then known by the reception: the source's clock may be behind.
#[must_use]
pub fn late_receipt(source: Option<DateTime<Utc>>, received: DateTime<Utc>) -> Option<Millis> {
    let is_late = source.is_some_and(|source| source < received) && clock_differs(source, received);
    is_late.then(|| received.timestamp_millis())
}

/// Whether the source's time and the time of reception differ by more than five minutes, in either
/// direction.
#[must_use]
pub fn clock_differs(source: Option<DateTime<Utc>>, received: DateTime<Utc>) -> bool {
    source.is_some_and(|source| (source - received).num_milliseconds().abs() > CLOCK_TOLERANCE)
}

/// The instant as text of the API: RFC 3339 with milliseconds and `Z`. `None` for an instant that
/// `chrono` cannot represent.
#[must_use]
pub fn text(at: Millis) -> Option<String> {
    DateTime::from_timestamp_millis(at)
        .map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_of_a_time_is_parsed() {
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
            assert_eq!(read_source_time(text), SourceTime::Invalid, "{text}");
        }
    }

    #[test]
    fn a_time_before_2015_counts_as_absent() {
        for text in [
            "0001-01-01T00:00:00Z",
            "0001-01-01T00:00:00+00:00",
            "0000-12-31T23:59:59Z",
            "1601-01-01T00:00:00Z",
            "1970-01-01T00:00:00.0000000Z",
            "2014-12-31T23:59:59.9999999Z",
        ] {
            assert_eq!(read_source_time(text), SourceTime::Impossible, "{text}");
            assert_eq!(parse_source_time(text), None, "{text}");
        }
        assert!(parse_source_time("2015-01-01T00:00:00Z").is_some());
    }

    #[test]
    fn a_receipt_is_late_if_the_source_is_more_than_five_minutes_behind() {
        let received = parse_source_time("2026-01-01T12:00:00Z").unwrap();
        let late = |source| late_receipt(parse_source_time(source), received);
        assert_eq!(late("2026-01-01T04:00:00Z"), Some(received.timestamp_millis()));
        assert_eq!(late("2026-01-01T11:58:00Z"), None);
        assert_eq!(late("2026-01-01T20:00:00Z"), None);
        assert_eq!(late_receipt(None, received), None);
    }

    #[test]
    fn a_time_after_reception_is_lowered_to_reception_and_flagged() {
        let received = parse_source_time("2026-01-01T00:00:00Z").unwrap();
        let ahead = parse_source_time("2026-01-01T00:06:00Z");
        assert_eq!(event_time(ahead, received), received.timestamp_millis());
        assert!(clock_differs(ahead, received));
        assert!(!clock_differs(parse_source_time("2025-12-31T23:59:00Z"), received));
    }
}
