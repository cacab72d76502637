//! The attributes of a CloudEvent as every reader accepts them.
//!
//! # Why
//!
//! The official SDKs refuse a message whose `time` is not RFC 3339, or whose `source` is not a URI
//! reference (CloudEvents 1.0, section 3), and a sender may state any text. So the attribute is left out
//! or encoded, and the text itself is in a header of this service.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat};
use onrecord_evidence::event::instant::parse_source_time;

/// Maximum offset from UTC of a time that is written as its source states it, in hours.
const MAX_OFFSET_HOURS: u32 = 14;

/// The attribute `time`: the stated text if each reader parses it, else the same instant in UTC; `None`
/// if the text states no time.
pub(super) fn time(stated: &str) -> Option<String> {
    let time = parse_source_time(stated)?;
    if is_plain(stated) {
        return Some(stated.to_owned());
    }
    // A leap second is one in RFC 3339, but most readers have no second 60.
    let is_leap_second = time.timestamp_subsec_nanos() >= 1_000_000_000;
    let time = match is_leap_second {
        true => DateTime::from_timestamp_micros(time.timestamp_micros())?,
        false => time,
    };
    Some(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// Whether a time has the form `2025-06-16T18:38:11.415911+00:00`, with 0 to 9 digits after the
/// seconds, which are below 60.
fn is_plain(time: &str) -> bool {
    let Some((date_time, rest)) = time.split_at_checked("2025-06-16T18:38:11".len()) else {
        return false;
    };
    let has_form = date_time.bytes().zip(*b"0000-00-00T00:00:00").all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        _ => byte == form,
    });
    let offset = match rest.strip_prefix('.') {
        Some(fraction) => {
            let offset = fraction.trim_start_matches(|digit: char| digit.is_ascii_digit());
            if !(1..=9).contains(&(fraction.len() - offset.len())) {
                return false;
            }
            offset
        }
        None => rest,
    };
    let is_offset = offset == "Z"
        || offset.len() == "+00:00".len()
            && offset.starts_with(['+', '-'])
            && offset.as_bytes().get(3) == Some(&b':')
            && offset
                .get(1..3)
                .and_then(|hours| hours.parse::<u32>().ok())
                .is_some_and(|hours| hours < MAX_OFFSET_HOURS);
    has_form && !date_time.ends_with("60") && is_offset
}

/// The attribute `source`: a URI reference that is not empty. What is not allowed in one is
/// percent-encoded.
pub(super) fn source(stated: &str) -> String {
    let scheme_end = scheme_end(stated);
    let mut source = String::with_capacity(stated.len());
    // A URI reference that begins with two slashes, or has them after the scheme, names a host.
    let path_start = scheme_end.unwrap_or(0);
    let host_is_empty = stated.get(path_start..).is_some_and(|rest| {
        let host = rest.strip_prefix("//").map(|rest| rest.split(['/', '?', '#']).next());
        host.is_some_and(|host| {
            !host.unwrap_or_default().contains(|c: char| c.is_ascii_alphanumeric())
        })
    });
    let mut is_in_first_segment = scheme_end.is_none();
    let mut has_fragment = false;
    for (at, character) in stated.char_indices() {
        is_in_first_segment &= !matches!(character, '/' | '?' | '#');
        let is_kept = match character {
            ':' => !is_in_first_segment,
            '/' => !(host_is_empty && at == path_start),
            '#' => !std::mem::replace(&mut has_fragment, true),
            '%' => is_escape(stated.as_bytes().get(at + 1..at + 3)),
            other => other.is_ascii_alphanumeric() || "-._~!$&'()*+,;=@?".contains(other),
        };
        if is_kept {
            source.push(character);
            continue;
        }
        let mut bytes = [0; 4];
        for byte in character.encode_utf8(&mut bytes).bytes() {
            // Writing to a string does not fail.
            let _ = write!(source, "%{byte:02X}");
        }
    }
    if source.is_empty() { "onrecord".to_owned() } else { source }
}

/// The offset after the colon of a scheme, if the text begins with one, and something follows it.
fn scheme_end(text: &str) -> Option<usize> {
    let (scheme, rest) = text.split_once(':')?;
    let mut letters = scheme.bytes();
    let is_scheme = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    let has_path = !rest.is_empty() && !rest.starts_with('#');
    (is_scheme && has_path).then_some(scheme.len() + 1)
}

fn is_escape(digits: Option<&[u8]>) -> bool {
    digits.is_some_and(|digits| digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_stated_where_each_reader_parses_it() {
        for time_as_stated in [
            "2025-06-16T18:38:11Z",
            "2025-06-16T18:38:11.4159111+00:00",
            "2021-02-19T16:31:54.365-08:00",
        ] {
            assert_eq!(time(time_as_stated).as_deref(), Some(time_as_stated));
        }
        for (stated, written) in [
            (" 2025-06-16T18:38:11Z", "2025-06-16T18:38:11Z"),
            ("2025-06-16 18:38:11Z", "2025-06-16T18:38:11Z"),
            ("2025-06-16t18:38:11z", "2025-06-16T18:38:11Z"),
            ("2025-06-16T18:38:11.5+23:59", "2025-06-15T18:39:11.500Z"),
            ("2025-06-16T18:38:60Z", "2025-06-16T18:39:00Z"),
        ] {
            assert_eq!(time(stated).as_deref(), Some(written), "{stated}");
        }
        for no_time in ["", "soon", "0001-01-01T00:00:00Z", "2025-13-01T00:00:00Z", "1749999999"] {
            assert_eq!(time(no_time), None, "{no_time}");
        }
    }

    #[test]
    fn a_source_is_a_uri_reference() {
        for as_stated in [
            "/subscriptions/s/resourcegroups/g",
            "calling/callconnections/411f0b00-dc73-4528-a9e6-968ba983d2a1",
            "calling/recordings/ahr0/a+b==/eyj/recordingstatechanged",
            "https://contoso.example/a?b=c#d",
            "urn:onrecord:x",
            "a%20b",
            "./8:acs:x",
        ] {
            assert_eq!(source(as_stated), as_stated);
        }
        for (stated, written) in [
            ("contoso calls", "contoso%20calls"),
            ("jürgen", "j%C3%BCrgen"),
            ("8:acs:x", "8%3Aacs%3Ax"),
            ("100%", "100%25"),
            ("a#b#c", "a#b%23c"),
            ("[x]\\\"<>^`{|}", "%5Bx%5D%5C%22%3C%3E%5E%60%7B%7C%7D"),
            ("mailto:", "mailto%3A"),
            ("//", "%2F/"),
            ("https://", "https:%2F/"),
            ("", "onrecord"),
            ("\u{1}\u{fffd}", "%01%EF%BF%BD"),
        ] {
            assert_eq!(source(stated), written, "{stated}");
        }
    }
}
