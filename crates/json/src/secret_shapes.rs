//! Finds credentials in a string by their shape, whatever the member is named (`NO_SECRETS`).
//!
//! # Why
//!
//! A client app or a person may put a credential into a text that is named like an ordinary one. The
//! shapes are those that no id or text of a call has: a serverCallId and a recording id are base64,
//! which has no dots, and `@` of a meeting id is not before the host of an address.

use std::ops::Range;

use super::text_marks::TextMarks;

/// Minimum length of the first part of a JSON Web Token: `{"alg":"…"}` in base64.
const MIN_JWT_HEADER: usize = 12;
/// Minimum length of a bearer token.
const MIN_BEARER_TOKEN: usize = 16;

/// The byte ranges of all secrets of a known shape, in order, without overlaps. `text` may be JSON
/// as written, with its escapes.
pub(crate) fn secret_shapes(text: &str) -> Vec<Range<usize>> {
    shapes_behind(text, TextMarks::of(text))
}

/// As [`secret_shapes`], with the marks of the text.
pub(crate) fn shapes_behind(text: &str, marks: TextMarks) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    // `contains` is vectorized, `find` is not, and few texts have one of these.
    let mut search = |mark: &'static str, secret| {
        if text.contains(mark) {
            found.extend(all_of(text, mark, secret));
        }
    };
    if marks.has(TextMarks::CAPITAL_J) {
        search("eyJ", jwt);
    }
    if marks.has(TextMarks::SPACE) {
        search("earer ", bearer_token);
        search("EARER ", bearer_token);
        search("-----BEGIN ", private_key);
    }
    if marks.has(TextMarks::AT) {
        search("://", userinfo);
        search(r":\/\/", userinfo);
    }
    merged(found)
}

/// Sorts ranges, and merges those that overlap.
pub(crate) fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// The secrets at the places of a mark. `secret` takes the text, and the range of the mark. The
/// search continues after each secret, so that it takes linear time.
fn all_of(
    text: &str,
    mark: &'static str,
    secret: fn(&str, Range<usize>) -> Option<Range<usize>>,
) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let start = from + text.get(from..)?.find(mark)?;
            let end = start + mark.len();
            from = end;
            if let Some(found) = secret(text, start..end) {
                from = found.end.max(end);
                return Some(found);
            }
        }
    })
}

/// The length of the longest prefix of these bytes.
fn run(text: &str, from: usize, is_part: fn(u8) -> bool) -> usize {
    let rest = text.as_bytes().get(from..).unwrap_or_default();
    rest.iter().take_while(|byte| is_part(**byte)).count()
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn is_jwt_part(byte: u8) -> bool {
    is_base64url(byte) || byte == b'.'
}

/// Parts in base64url, of which the first one is a JSON object: three of a signed token, five of an
/// encrypted one, whose second part may be empty.
fn jwt(text: &str, mark: Range<usize>) -> Option<Range<usize>> {
    let before = text.as_bytes().get(..mark.start).and_then(<[u8]>::last);
    if before.is_some_and(|byte| is_base64url(*byte)) {
        return None;
    }
    // The first two parts exclude other texts before the rest is read.
    let header = run(text, mark.start, is_base64url);
    let second = mark.start + header + 1;
    let payload = run(text, second, is_base64url);
    let has_dots =
        [second - 1, second + payload].iter().all(|dot| text.as_bytes().get(*dot) == Some(&b'.'));
    if header < MIN_JWT_HEADER || !has_dots {
        return None;
    }
    let token = text.get(mark.start..mark.start + run(text, mark.start, is_jwt_part))?;
    (payload > 0 || token.split('.').count() == 5).then(|| mark.start..mark.start + token.len())
}

/// What follows `Bearer `, if it is no word.
fn bearer_token(text: &str, mark: Range<usize>) -> Option<Range<usize>> {
    let first = text.as_bytes().get(mark.start.checked_sub(1)?)?;
    if !first.eq_ignore_ascii_case(&b'b') {
        return None;
    }
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    let mut length = run(text, mark.end, is_part);
    // A slash may be escaped.
    while text.get(mark.end + length..).is_some_and(|rest| rest.starts_with(r"\/")) {
        length += 2;
        length += run(text, mark.end + length, is_part);
    }
    let token = text.get(mark.end..mark.end + length)?;
    let is_token = length >= MIN_BEARER_TOKEN && token.bytes().any(|byte| byte.is_ascii_digit());
    is_token.then(|| mark.end..mark.end + length)
}

/// What is between `://` and an `@` before the end of the host.
fn userinfo(text: &str, mark: Range<usize>) -> Option<Range<usize>> {
    let length =
        run(text, mark.end, |byte| !byte.is_ascii_whitespace() && !b"/?#\\\"'<>".contains(&byte));
    let authority = text.get(mark.end..mark.end + length)?;
    let userinfo = authority.rfind('@').filter(|length| *length > 0)?;
    Some(mark.end..mark.end + userinfo)
}

/// A private key in PEM, to its end or to the end of the text.
fn private_key(text: &str, mark: Range<usize>) -> Option<Range<usize>> {
    let label = text.get(mark.end..)?.split_once("-----")?.0;
    if !label.ends_with("PRIVATE KEY") {
        return None;
    }
    let body = mark.end + label.len() + "-----".len();
    let end = text.get(body..)?.find("-----END ").and_then(|end| {
        let label = body + end + "-----END ".len();
        Some(label + text.get(label..)?.find("-----")? + "-----".len())
    });
    Some(mark.start..end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_secrets(text: &str) -> String {
        let mut kept = text.to_owned();
        for range in secret_shapes(text).into_iter().rev() {
            kept.replace_range(range, "#");
        }
        kept
    }

    #[test]
    fn a_secret_is_found_by_its_shape() {
        for (text, kept) in [
            ("see eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln, and", "see #, and"),
            ("eyJhbGciOiJkaXIifQ..aXY.Y2lwaGVy.dGFn", "#"),
            ("eyJhbGciOiJSU0EtT0FFUCJ9.a2V5.aXY.Y2lwaGVy.dGFn", "#"),
            ("Authorization: Bearer abcdef0123456789abcd x", "Authorization: Bearer # x"),
            ("BEARER ABCDEF0123456789ABCD", "BEARER #"),
            ("https://user:pass@host/p?q=a@b", "https://#@host/p?q=a@b"),
            (r"https:\/\/user:pa@ss@host\/p", r"https:\/\/#@host\/p"),
            ("amqps://key@host:5671", "amqps://#@host:5671"),
            (
                r"k: -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n",
                r"k: #\n",
            ),
            ("-----BEGIN PRIVATE KEY-----\nMIIE", "#"),
        ] {
            assert_eq!(without_secrets(text), kept, "{text}");
        }
    }

    #[test]
    fn ids_addresses_and_prose_stay() {
        for text in [
            "aHR0cHM6Ly9jb252LXVzd2UtMDIuY29udi5za3lwZS5jb20vY29udi9leUo_aT0x",
            "eyJQbGF0Zm9ybUVuZHBvaW50SWQiOiIxIiwiUmVzb3VyY2VTcGVjaWZpY0lkIjoiMiJ9",
            "8:acs:b8f6c1d0-5f4e-4a8a-9c8e-0d7cf2f2f6a1_0000000a-b Jane",
            "19:meeting_MDJ@thread.v2",
            "https://teams.microsoft.com/l/meetup-join/19:meeting_MDJ@thread.v2/0",
            "https://host/eyJ.a.b?mail=j@h",
            "eyJQbGF0Zm9ybUVuZHBvaW50... and so on",
            "the bearer of this message, a bearer token, Bearer authentication-schemes",
            "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
            "Mozilla/5.0 (X11; Linux x86_64) J 1.2.3",
            "sip:anna@contoso.com ",
            "",
        ] {
            assert_eq!(without_secrets(text), text);
        }
    }

    #[test]
    fn the_ids_and_texts_of_the_samples_of_azure_stay() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/azure");
        let mut samples = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let sample = std::fs::read(entry.unwrap().path()).unwrap();
            let sample = String::from_utf8_lossy(&sample);
            for range in secret_shapes(&sample) {
                // The context of an incoming call is a JSON Web Token.
                let before = &sample[..range.start];
                assert!(before.ends_with("\"incomingCallContext\": \""), "{}", &sample[range]);
            }
            samples += 1;
        }
        assert!(samples > 100);
    }

    #[test]
    fn a_long_text_of_marks_takes_linear_time() {
        for mark in ["eyJ", "eyJ.", "Bearer ", "://@", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----"]
        {
            let text = mark.repeat(200_000);
            let began = std::time::Instant::now();
            let _found = secret_shapes(&text);
            assert!(began.elapsed() < std::time::Duration::from_secs(5), "{mark}");
        }
    }
}
