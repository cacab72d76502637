//! The part of a file that a request asks for (RFC 9110, section 14).

use std::ops::Range;

use axum::http::{HeaderMap, header};

/// What a request gets of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selected {
    /// The whole file. Also for a range in another unit, for several ranges, and for a range of a file that has
    /// changed (`If-Range`).
    Whole,
    Part(Range<u64>),
    /// The range begins after the end.
    Unsatisfiable,
    /// The caller has the file already (`If-None-Match`).
    NotModified,
}

/// Decides what a request gets of a file of `size` bytes with this entity tag.
pub(crate) fn select(headers: &HeaderMap, size: u64, etag: &str) -> Selected {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(known) = text(header::IF_NONE_MATCH) {
        let is_it = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag;
        if known.split(',').map(str::trim).any(is_it) {
            return Selected::NotModified;
        }
    }
    let Some(range) = text(header::RANGE).and_then(|range| range.strip_prefix("bytes=")) else {
        return Selected::Whole;
    };
    // A date is not compared: a file has no time of its own.
    if text(header::IF_RANGE).is_some_and(|tag| tag.trim() != etag) {
        return Selected::Whole;
    }
    part(range.trim(), size)
}

fn part(range: &str, size: u64) -> Selected {
    let Some((first, last)) = range.split_once('-') else {
        return Selected::Whole;
    };
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number of more digits than fit is beyond the end.
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(0)) if first.is_empty() => return Selected::Unsatisfiable,
        (None, Some(length)) if first.is_empty() => size.saturating_sub(length)..size,
        _ => return Selected::Whole,
    };
    if range.start >= size { Selected::Unsatisfiable } else { Selected::Part(range) }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const ETAG: &str = "\"abc\"";

    fn selected(headers: &[(header::HeaderName, &str)]) -> Selected {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect();
        select(&headers, 100, ETAG)
    }

    #[test]
    fn a_range_selects_its_bytes_within_the_file() {
        for (range, expected) in [
            ("bytes=0-0", Selected::Part(0..1)),
            ("bytes=10-19", Selected::Part(10..20)),
            ("bytes=90-", Selected::Part(90..100)),
            ("bytes=90-1000", Selected::Part(90..100)),
            ("bytes=0-99999999999999999999999", Selected::Part(0..100)),
            ("bytes=-10", Selected::Part(90..100)),
            ("bytes=-1000", Selected::Part(0..100)),
            ("bytes=100-", Selected::Unsatisfiable),
            ("bytes=-0", Selected::Unsatisfiable),
            ("bytes=9-1", Selected::Whole),
            ("bytes=0-1,3-4", Selected::Whole),
            ("bytes=a-b", Selected::Whole),
            ("bytes=-", Selected::Whole),
            ("bytes=+1-2", Selected::Whole),
            ("lines=1-2", Selected::Whole),
        ] {
            assert_eq!(selected(&[(header::RANGE, range)]), expected, "{range}");
        }
    }

    #[test]
    fn a_range_of_another_file_gets_the_whole_one_and_a_known_file_is_not_sent_again() {
        let range = (header::RANGE, "bytes=1-2");
        let of = |tag| selected(&[range.clone(), (header::IF_RANGE, tag)]);
        assert_eq!(of(ETAG), Selected::Part(1..3));
        assert_eq!(of("\"other\""), Selected::Whole);
        // A weak tag does not prove that the bytes are the same.
        assert_eq!(of("W/\"abc\""), Selected::Whole);
        assert_eq!(of("Sun, 29 Nov 2026 10:00:00 GMT"), Selected::Whole);
        let known = |tags| selected(&[(header::IF_NONE_MATCH, tags)]);
        assert_eq!(known("\"x\", \"abc\""), Selected::NotModified);
        assert_eq!(known("W/\"abc\""), Selected::NotModified);
        assert_eq!(known("\"x\""), Selected::Whole);
    }
}
