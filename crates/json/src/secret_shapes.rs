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
/// Maximum number of parts of a JSON Web Token.
const MAX_JWT_PARTS: usize = 5;
/// Minimum length of a bearer token.
const MIN_BEARER_TOKEN: usize = 16;

/// The byte ranges of all secrets of a known shape, in order, without overlaps. `text` may be JSON
/// as written, with its escapes; `marks` are those of the text.
pub(crate) fn shapes_behind(text: &str, marks: TextMarks) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    // `contains` is vectorized, `find` is not, and few texts have one of these.
    let mut search = |mark: &'static str, examine| {
        if text.contains(mark) {
            found.extend(all_of(text, mark, examine));
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

/// What is at a mark.
enum Candidate {
    Secret(Range<usize>),
    /// No secret. The search continues at this offset, behind the text that excluded it.
    None {
        next: usize,
    },
}

/// The secrets at the places of a mark. `examine` takes the text, and the range of the mark. The
/// search continues behind what was examined, so that it takes linear time.
fn all_of(
    text: &str,
    mark: &'static str,
    examine: fn(&str, Range<usize>) -> Candidate,
) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let start = from + text.get(from..)?.find(mark)?;
            let end = start + mark.len();
            match examine(text, start..end) {
                Candidate::Secret(found) => {
                    from = found.end.max(end);
                    return Some(found);
                }
                Candidate::None { next } => from = next.max(end),
            }
        }
    })
}

/// The length of the longest run of these bytes.
fn run(text: &str, from: usize, is_part: fn(u8) -> bool) -> usize {
    let rest = text.as_bytes().get(from..).unwrap_or_default();
    rest.iter().take_while(|byte| is_part(**byte)).count()
}

/// As [`run`], in a text that may be JSON as written, at any depth: `\/` and `\u002B` are the bytes
/// that they stand for. .NET writes `+` so, and PHP `/`.
fn escaped_run(text: &str, from: usize, is_part: fn(u8) -> bool) -> usize {
    let mut end = from;
    loop {
        end += run(text, end, is_part);
        match escaped(text, end) {
            Some((byte, length)) if is_part(byte) => end += length,
            _ => return end - from,
        }
    }
}

/// The byte that an escape stands for, and the length of the escape.
fn escaped(text: &str, from: usize) -> Option<(u8, usize)> {
    let backslashes = run(text, from, |byte| byte == b'\\');
    if backslashes == 0 {
        return None;
    }
    let after = text.as_bytes().get(from + backslashes..)?;
    match after {
        [b'/', ..] => Some((b'/', backslashes + 1)),
        [b'u', b'0', b'0', high, low, ..] => {
            let digit = |byte: &u8| char::from(*byte).to_digit(16);
            let code = digit(high)? * 16 + digit(low)?;
            Some((u8::try_from(code).ok()?, backslashes + 6 - 1))
        }
        _ => None,
    }
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Parts in base64url, of which the first one is a JSON object: three of a signed token, whose last
/// part may be empty, five of an encrypted one, whose second part may be empty. What is before the
/// mark does not matter: it may be the end of an escape.
fn jwt(text: &str, mark: Range<usize>) -> Candidate {
    let mut end = mark.start + run(text, mark.start, is_base64url);
    // A part may begin another token. What is before it cannot: it ends at the same dot.
    let none = Candidate::None { next: end };
    if end - mark.start < MIN_JWT_HEADER || text.as_bytes().get(end) != Some(&b'.') {
        return none;
    }
    let mut lengths = Vec::with_capacity(MAX_JWT_PARTS - 1);
    while lengths.len() < MAX_JWT_PARTS - 1 && text.as_bytes().get(end) == Some(&b'.') {
        let length = run(text, end + 1, is_base64url);
        // The text ends a sentence.
        if length == 0 && lengths.len() > 1 {
            break;
        }
        end += 1 + length;
        lengths.push(length);
    }
    match lengths.as_slice() {
        [payload, _, ..] if *payload > 0 => Candidate::Secret(mark.start..end),
        [0, iv, ciphertext, tag] if [iv, ciphertext, tag].iter().all(|part| **part > 0) => {
            Candidate::Secret(mark.start..end)
        }
        _ => none,
    }
}

/// What follows `Bearer `, if it is no word.
fn bearer_token(text: &str, mark: Range<usize>) -> Candidate {
    let none = Candidate::None { next: mark.end };
    let first = mark.start.checked_sub(1).and_then(|first| text.as_bytes().get(first));
    if !first.is_some_and(|first| first.eq_ignore_ascii_case(&b'b')) {
        return none;
    }
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    let length = escaped_run(text, mark.end, is_part);
    let token = text.get(mark.end..mark.end + length).unwrap_or_default();
    if length >= MIN_BEARER_TOKEN && token.bytes().any(|byte| byte.is_ascii_digit()) {
        Candidate::Secret(mark.end..mark.end + length)
    } else {
        none
    }
}

/// What is between `://` and an `@` before the end of the host.
fn userinfo(text: &str, mark: Range<usize>) -> Candidate {
    let is_authority = |byte: u8| !byte.is_ascii_whitespace() && !b"/?#\\\"'<>".contains(&byte);
    let length = escaped_run(text, mark.end, is_authority);
    let authority = text.get(mark.end..mark.end + length).unwrap_or_default();
    match authority.rfind('@') {
        Some(userinfo @ 1..) => Candidate::Secret(mark.end..mark.end + userinfo),
        _ => Candidate::None { next: mark.end },
    }
}

/// A private key in PEM, to its end or to the end of the text.
fn private_key(text: &str, mark: Range<usize>) -> Candidate {
    let rest = text.get(mark.end..).unwrap_or_default();
    let label = rest.split_once("-----").map_or(rest, |(label, _)| label);
    if !label.ends_with("PRIVATE KEY") {
        return Candidate::None { next: mark.end };
    }
    let body = mark.end + label.len() + "-----".len();
    let end_of = |mark: &str, from: usize| Some(from + text.get(from..)?.find(mark)? + mark.len());
    let end = end_of("-----END ", body).and_then(|label| end_of("-----", label));
    Candidate::Secret(mark.start..end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret_shapes(text: &str) -> Vec<Range<usize>> {
        shapes_behind(text, TextMarks::of(text))
    }

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
            (r"\neyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln\n", r"\n#\n"),
            (r"\u0027eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln\u0027", r"\u0027#\u0027"),
            ("token_eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.", "token_#"),
            ("eyJ.eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln.", "eyJ.#."),
            (r"Bearer abcdef0123456789\u002BSECRET==\u0022", r"Bearer #\u0022"),
            (r"Bearer ab\u002bcdef0123456789\\u002BSECRET", "Bearer #"),
            (r"https://user:pa\u002Bss@host", "https://#@host"),
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
        let marks = [
            "eyJ",
            "eyJ.",
            "_eyJ",
            "eyJaaaaaaaaaa..",
            "eyJaaaaaaaaaa.a.",
            "eyJaaaaaaaaaa..a.",
            "Bearer ",
            "Bearer a",
            "://@",
            "://a@",
            r":\/\/\\",
            r"://\u002B",
            "-----BEGIN ",
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----@ Jx-----END ",
        ];
        for mark in marks {
            for before in ["", "J @", "eyJaaaaaaaaaa.", "://", "Bearer "] {
                let text = format!("{before}{}", mark.repeat(40_000));
                let began = std::time::Instant::now();
                let _found = secret_shapes(&text);
                assert!(began.elapsed() < std::time::Duration::from_secs(5), "{before}{mark}");
            }
        }
    }
}
