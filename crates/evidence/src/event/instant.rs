//! Instants: the rules of evidence compute with whole milliseconds; the text of a source's time is
//! stored verbatim elsewhere.

use chrono::{DateTime, SecondsFormat, Utc};

/// Milliseconds: since 1970-01-01T00:00:00Z for an instant, else a length. The unit of all rules.
pub type Millis = i64;

/// Maximum difference between a source's clock and the server's clock, ms; an event with a greater
/// difference is flagged `clock`.
const CLOCK_TOLERANCE: Millis = 5 * 60 * 1000;

/// Parses the time that a source states: RFC 3339 with 0 to 9 fraction digits and any offset (Event
/// Grid writes `Z` and 7 digits, Call Automation `+00:00` and 1 to 7 digits). Rejects years outside 1
/// to 9999, because PostgreSQL and RFC 3339 cannot represent them.
#[must_use]
pub fn parse_source_time(text: &str) -> Option<DateTime<Utc>> {
    use chrono::Datelike as _;
    let time = DateTime::parse_from_rfc3339(text.trim()).ok()?.with_timezone(&Utc);
    (1..=9999).contains(&time.year()).then_some(time)
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
            assert_eq!(parse_source_time(text), None, "{text}");
        }
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
