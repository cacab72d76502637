//! Finds credentials in a string by their shape, whatever the member is named (`NO_SECRETS`).
//!
//! # Why
//!
//! A client app or a person may put a credential into a text that is named like an ordinary one. The
//! shapes are those that no id or text of a call has: a serverCallId and a recording id are base64,
//! which has no dots, and `@` of a meeting id is not before the host of an address.

use std::ops::Range;

use super::decoded_levels::{DecodedLevel, is_escape};
use super::text_marks::TextMarks;

/// Minimum length of the first part of a JSON Web Token: `{"alg":"…"}` in base64.
const MIN_JWT_HEADER: usize = 12;
/// Maximum number of parts of a JSON Web Token.
const MAX_JWT_PARTS: usize = 5;
/// Minimum length of a bearer token.
const MIN_BEARER_TOKEN: usize = 16;
/// Maximum length of the rest of a password after a delimiter that should be encoded in it, in bytes.
const MAX_PASSWORD_REST: usize = 256;

/// The byte ranges of all secrets of a known shape in a text; `marks` are those of the text.
pub(crate) fn secret_shapes(text: &str, marks: TextMarks) -> Vec<Range<usize>> {
    ShapeSearch { text, level: None }.all(marks)
}

/// The byte ranges, in the original, of all secrets of a known shape in a decoded text.
pub(crate) fn decoded_shapes(level: &DecodedLevel) -> Vec<Range<usize>> {
    let search = ShapeSearch { text: level.text(), level: Some(level) };
    let found = search.all(TextMarks::of(level.text()));
    found.into_iter().map(|range| level.original(range)).collect()
}

/// Sorts ranges, and merges those that overlap.
pub(crate) fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start < last.end || range == *last => {
                last.end = last.end.max(range.end);
            }
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

/// A text in which secrets are searched.
#[derive(Clone, Copy)]
struct ShapeSearch<'t> {
    text: &'t str,
    /// The text was decoded: the characters before a secret may have swallowed its first letters, as
    /// `%6` before `e`.
    level: Option<&'t DecodedLevel>,
}

impl<'t> ShapeSearch<'t> {
    fn all(self, marks: TextMarks) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        // `contains` is vectorized, `find` is not, and few texts have one of these.
        if marks.has(TextMarks::CAPITAL_J) && self.text.contains("yJ") {
            self.search("yJ", Self::jwt, &mut found);
        }
        let may_be_named = marks.has(TextMarks::LETTER_R);
        if may_be_named && marks.has(TextMarks::BLANK | TextMarks::JOINT | TextMarks::NAMING) {
            self.bearer_tokens(&mut found);
        }
        if may_be_named && marks.has(TextMarks::BLANK) && self.text.contains("-----BEGIN ") {
            self.search("-----BEGIN ", Self::private_key, &mut found);
        }
        if marks.has(TextMarks::AT) && self.text.contains("//") {
            self.search("//", Self::userinfo, &mut found);
        }
        found
    }

    /// Adds the secrets at the places of a mark. `examine` takes the range of the mark. The search
    /// continues behind what was examined, so that it takes linear time.
    fn search(
        self,
        mark: &str,
        examine: fn(Self, Range<usize>) -> Candidate,
        found: &mut Vec<Range<usize>>,
    ) {
        let mut from = 0;
        while let Some(offset) = self.rest(from).find(mark) {
            let start = from + offset;
            let end = start + mark.len();
            from = match examine(self, start..end) {
                Candidate::Secret(secret) => {
                    let next = secret.end.max(end);
                    found.push(secret);
                    next
                }
                Candidate::None { next } => next.max(end),
            };
        }
    }

    fn rest(self, from: usize) -> &'t str {
        self.text.get(from..).unwrap_or_default()
    }

    fn byte(self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    /// The offset of the character before an offset.
    fn before(self, at: usize) -> Option<usize> {
        let (last, _) = self.text.get(..at)?.char_indices().next_back()?;
        Some(last)
    }

    fn is_decoded_at(self, at: usize) -> bool {
        self.level.is_some_and(|level| level.is_decoded_at(at))
    }

    /// The length of the longest run of these bytes.
    fn run(self, from: usize, is_part: fn(u8) -> bool) -> usize {
        let rest = self.text.as_bytes().get(from..).unwrap_or_default();
        rest.iter().take_while(|byte| is_part(**byte)).count()
    }

    /// Parts in base64url, of which the first one is a JSON object: three of a signed token, whose
    /// last part may be empty, five of an encrypted one, whose second part may be empty. What is
    /// before the mark does not matter: it may be the end of an escape.
    fn jwt(self, mark: Range<usize>) -> Candidate {
        let is_first = |at: &usize| self.byte(*at) == Some(b'e') || self.is_decoded_at(*at);
        let Some(start) = self.before(mark.start).filter(is_first) else {
            return Candidate::None { next: mark.end };
        };
        let mut end = mark.start + self.run(mark.start, is_base64url);
        // A part may begin another token. What is before it cannot: it ends at the same dot.
        let none = Candidate::None { next: end };
        if 1 + end - mark.start < MIN_JWT_HEADER || self.byte(end) != Some(b'.') {
            return none;
        }
        let mut lengths = Vec::with_capacity(MAX_JWT_PARTS - 1);
        while lengths.len() < MAX_JWT_PARTS - 1 && self.byte(end) == Some(b'.') {
            let length = self.run(end + 1, is_base64url);
            // The text ends a sentence.
            if length == 0 && lengths.len() > 1 {
                break;
            }
            end += 1 + length;
            lengths.push(length);
        }
        match lengths.as_slice() {
            [payload, _, ..] if *payload > 0 => Candidate::Secret(start..end),
            [0, iv, ciphertext, tag] if [iv, ciphertext, tag].iter().all(|part| **part > 0) => {
                Candidate::Secret(start..end)
            }
            _ => none,
        }
    }

    /// Adds what follows `Bearer`, in any case, if it is no word.
    fn bearer_tokens(self, found: &mut Vec<Range<usize>>) {
        let is_end = |window: &[u8]| window.eq_ignore_ascii_case(b"rer");
        let mut from = 0;
        while let Some(rest) = self.text.as_bytes().get(from..)
            && let Some(offset) = rest.windows(3).position(is_end)
        {
            let mark = from + offset;
            from = mark + 3;
            if !self.ends_bea(mark) {
                continue;
            }
            let after = self.rest(from);
            let token = from + after.len() - after.trim_start_matches(is_before_token).len();
            if token == from {
                continue;
            }
            let length = self.run(token, is_token);
            if length < MIN_BEARER_TOKEN {
                continue;
            }
            // A long run is not searched again: no part of words has a digit.
            from = token + length;
            if self.rest(token).bytes().take(length).any(|byte| byte.is_ascii_digit()) {
                found.push(token..from);
            }
        }
    }

    /// Whether `bea` is before an offset, or a character that may have swallowed its letters.
    fn ends_bea(self, at: usize) -> bool {
        let mut at = at;
        for letter in [b'a', b'e', b'b'] {
            let Some(before) = self.before(at) else {
                return false;
            };
            if !self.byte(before).is_some_and(|byte| byte.eq_ignore_ascii_case(&letter)) {
                return self.is_decoded_at(before);
            }
            at = before;
        }
        true
    }

    /// What is between `//` and an `@` before the end of the host.
    fn userinfo(self, mark: Range<usize>) -> Candidate {
        let before = self.before(mark.start).and_then(|at| self.rest(at).chars().next());
        let has_scheme = before == Some(':');
        // In a path, it may be the id of a thread: `//19:meeting_…@thread.v2`.
        if !has_scheme && before.is_some_and(|before| !is_irregular(before) && before != '=') {
            return Candidate::None { next: mark.end };
        }
        let rest = self.rest(mark.end);
        // What is behind an escape is read at the next level.
        let ends = |(at, byte): (usize, &u8)| match byte {
            b'/' | b'?' | b'#' | 0..b' ' => true,
            b'\\' => rest.get(at..).is_some_and(is_escape),
            _ => false,
        };
        let length = rest.as_bytes().iter().enumerate().position(ends).unwrap_or(rest.len());
        let authority = rest.get(..length).unwrap_or_default();
        let is_regular = !authority.contains(is_irregular);
        match authority.rfind('@') {
            Some(userinfo @ 1..) if is_regular && has_scheme => {
                return Candidate::Secret(mark.end..mark.end + userinfo);
            }
            _ => {}
        }
        // Not by the rules of addresses, but drivers of databases and brokers take it.
        let end = (has_scheme || is_regular).then(|| self.irregular_userinfo(mark.end, authority));
        match end.flatten() {
            Some(end) => Candidate::Secret(mark.end..end),
            None => Candidate::None { next: mark.end },
        }
    }

    /// The end of a user and a password with characters that should be encoded in them.
    fn irregular_userinfo(self, start: usize, authority: &str) -> Option<usize> {
        let (user, password) = authority.split_once(':')?;
        // An address in IPv6, a host, or no user.
        let is_user = !user.starts_with('[')
            && !user.starts_with(is_irregular)
            && !user.is_empty()
            && user.split_once(is_irregular).is_none_or(|(first, _)| !first.contains('.'));
        let first = password.split(is_irregular).next()?;
        let first = first.split('@').next()?;
        if !is_user || first.is_empty() || is_port(first) {
            return None;
        }
        let rest = match password.find('@') {
            Some(at) => password.get(at..)?,
            // A delimiter in the password.
            None if !authority.contains(is_irregular) => {
                let beyond = self.rest(start + authority.len());
                let end = beyond.find(|character| is_irregular(character) || character < ' ');
                let bound = beyond.floor_char_boundary(MAX_PASSWORD_REST);
                let beyond = beyond.get(..end.unwrap_or(bound).min(bound))?;
                return Some(start + authority.len() + beyond.rfind('@')?);
            }
            None => return None,
        };
        // The last one before the end of the host.
        let host_end = rest.find(is_irregular).unwrap_or(rest.len());
        let last = rest.get(..host_end)?.rfind('@')?;
        Some(start + authority.len() - rest.len() + last)
    }

    /// A private key in PEM, to its end or to the end of the text.
    fn private_key(self, mark: Range<usize>) -> Candidate {
        let rest = self.rest(mark.end);
        let label = rest.split_once("-----").map_or(rest, |(label, _)| label);
        if !label.contains("PRIVATE KEY") {
            return Candidate::None { next: mark.end };
        }
        let body = mark.end + label.len() + "-----".len();
        let end_of =
            |mark: &str, from: usize| Some(from + self.text.get(from..)?.find(mark)? + mark.len());
        let end = end_of("-----END ", body).and_then(|label| end_of("-----", label));
        Candidate::Secret(mark.start..end.unwrap_or(self.text.len()))
    }
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

/// Whether a character may be between `Bearer` and the token.
fn is_before_token(character: char) -> bool {
    character.is_whitespace()
        || character.is_control()
        || matches!(character, ':' | '=' | '+' | '"' | '\'' | '`' | '<' | '(' | '[' | '{')
        // Invisible characters.
        || matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// Whether a character is in no address as it is.
fn is_irregular(character: char) -> bool {
    character.is_whitespace() || matches!(character, '"' | '\'' | '\\' | '<' | '>')
}

/// Whether a text after the colon is a port, at the end of a part of a sentence or not.
fn is_port(text: &str) -> bool {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_punctuation());
    digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inspect_string::{StringFinding, inspect_string};
    use crate::sensitive_keys::SensitiveKeys;

    fn secrets(text: &str) -> Vec<Range<usize>> {
        match inspect_string(text, SensitiveKeys::Calls) {
            StringFinding::Clean => Vec::new(),
            StringFinding::Parts(parts) => parts,
            StringFinding::Json => std::iter::once(0..text.len()).collect(),
        }
    }

    fn without_secrets(text: &str) -> String {
        let mut kept = text.to_owned();
        for range in secrets(text).into_iter().rev() {
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
            ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nMIIE", "#"),
            ("bEaReR ABCDEF0123456789ABCD", "bEaReR #"),
            ("Bearer  abcdef0123456789abcd", "Bearer  #"),
            ("Bearer\u{a0}abcdef0123456789abcd", "Bearer\u{a0}#"),
            ("Bearer+abcdef0123456789abcd", "Bearer+#"),
            ("Bearer: 'abcdef0123456789abcd'", "Bearer: '#'"),
            ("https://us er:pass@host/p", "https://#@host/p"),
            ("https://us'er:pass@host/p", "https://#@host/p"),
            ("https://user:pa ss\"1@2@host/p", "https://#@host/p"),
            ("https://user:p#ss@host/p", "https://#@host/p"),
            ("https://user:p/ss@host/p", "https://#@host/p"),
            ("url=//user:pass@host/p", "url=//#@host/p"),
        ] {
            assert_eq!(without_secrets(text), kept, "{text}");
        }
    }

    const ORDINARY: &[&str] = &[
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
        "https://host/l//19:meeting_MDJ@thread.v2/0",
        "https://host:8443, or anna@contoso.com",
        "https://host.contoso.com, mail: anna@contoso.com or ben@contoso.com",
        "https://[::1]:8443 anna@contoso.com",
        "'https://host' 'a@b' // a@b",
        r#"{\"url\":\"https://host:8443\",\"mail\":\"a@b\",\"other\":\"c:d\"}"#,
        r"C:\\new\\u0041 100%25 %e4%zz \\\\\\\\",
        "",
    ];

    #[test]
    fn ids_addresses_and_prose_stay() {
        for text in ORDINARY {
            assert_eq!(without_secrets(text), *text);
        }
    }

    #[test]
    fn a_secret_is_found_behind_escapes() {
        for (text, kept) in [
            (r"see \u0065yJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln, and", "see #, and"),
            (r"ey\\u004ahbGciOiJub25lIn0\u002eeyJzdWIiOiIxIn0.c2ln", "#"),
            (r"\\\u0075\u0030065yJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln", "#"),
            (r"%6\u0065yJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln", "#"),
            (r"%6\u0065y\\u004ahbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln", "#"),
            ("eyJhbGciOiJub25lIn0%2EeyJzdWIiOiIxIn0%252ec2ln", "#"),
            (r"Bearer\u0020abcdef0123456789", r"Bearer\u0020#"),
            (r"%6\u0042e\u0061rer \u0061bcdef0123456789 x", r"%6\u0042e\u0061rer # x"),
            ("Bearer%20abcdef%30123456789", "Bearer%20#"),
            (r"https\u003a//user:pass\u0040host/p", r"https\u003a//#\u0040host/p"),
            (r"https:\u002f\u002fuser:p%2Fss\u0040host", r"https:\u002f\u002f#\u0040host"),
            ("r=https%3A%2F%2Fuser%3Ap%252Fss%40host", "r=https%3A%2F%2F#%40host"),
            ("https://h/p?a=1&%73ig=a%26b&c=1", "https://h/p?a=1&%73ig=#&c=1"),
            (
                r"https://h/p?a=1\u0026\\u0073i%67=S\u0026c=1",
                r"https://h/p?a=1\u0026\\u0073i%67=#\u0026c=1",
            ),
            (r#"{\"to\\\u0075006ben\":1}"#, "#"),
            (r"-----BEGIN\u0020PRIVAT\u0045 KEY-----MIIE", "#"),
        ] {
            assert_eq!(without_secrets(text), kept, "{text}");
        }
    }

    #[test]
    fn a_text_with_more_levels_than_any_json_is_a_secret() {
        let chain = format!(r"\u{}0065", "005cu".repeat(40));
        assert_eq!(without_secrets(&chain), "#");
        let backslashes = r"\\".repeat(1 << 14);
        assert_eq!(secrets(&backslashes), []);
    }

    /// Encodes a text as a string in JSON. `escapes` says in turn which characters are escaped
    /// although they need not be.
    fn encoded(text: &str, escapes: &mut impl Iterator<Item = bool>) -> String {
        let mut json = String::new();
        for character in text.chars() {
            let mut units = [0; 2];
            match character {
                '"' | '\\' => json.extend(['\\', character]),
                _ if character < ' ' || escapes.next() == Some(true) => {
                    for unit in character.encode_utf16(&mut units) {
                        json.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                _ => json.push(character),
            }
        }
        json
    }

    fn encoded_often(text: &str, depth: usize, escapes: &[bool]) -> String {
        let mut escapes = escapes.iter().copied().cycle();
        (0..depth).fold(text.to_owned(), |text, _| encoded(&text, &mut escapes))
    }

    proptest! {
        #[test]
        fn a_credential_is_cut_out_whichever_of_its_letters_are_escaped(
            before in prop::sample::select(&["", "see ", "%", "%6", r"\", r"\u00", r"\u006", "é\n"][..]),
            credential in prop::sample::select(&[
                "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.#",
                "Bearer 0123456789abcdef#",
                "bEARER \u{a0}0123456789abcdef#",
                "https://user:#@host",
                "https://us er:#@host",
                "amqp://user:p's#@host",
                "https://h/p?a=1&sig=#",
                "-----BEGIN PRIVATE KEY-----#-----END PRIVATE KEY-----",
                r##"{"password":"#"}"##,
            ][..]),
            after in prop::sample::select(&["", " and", r"\", "%2", "\n.", "\", "][..]),
            depth in 0_usize..5,
            escapes in prop::collection::vec(any::<bool>(), 1..60),
        ) {
            let text = format!("{before}{credential}{after}").replace('#', "S3cr3t");
            // The string of a document is encoded once at least.
            let body = encoded_often(&text, depth + 1, &escapes);
            let kept = without_secrets(&body);
            let document = format!("\"{kept}\"");
            prop_assert!(crate::JsonIndex::parse(&document).is_ok(), "{document}");
            let mut level = DecodedLevel::of(&kept).unwrap();
            prop_assert!(!level.text().contains("S3cr3t"), "{body}");
            while let Some(next) = level.decode(crate::decoded_levels::Decoding::Json) {
                prop_assert!(!next.text().contains("S3cr3t"), "{body}");
                level = next;
            }
        }

        #[test]
        fn a_text_without_credentials_stays_whichever_of_its_letters_are_escaped(
            texts in prop::collection::vec(prop::sample::select(ORDINARY), 0..4),
            // A point alone would make the token of a bearer of two words.
            between in "[ ,;!?é\n][ .,;!?é\n]{0,2}",
            depth in 0_usize..5,
            escapes in prop::collection::vec(any::<bool>(), 1..60),
        ) {
            let body = encoded_often(&texts.join(&between), depth + 1, &escapes);
            prop_assert_eq!(without_secrets(&body), body);
        }
    }

    #[test]
    fn the_ids_and_texts_of_the_samples_of_azure_stay() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/azure");
        let mut samples = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let sample = std::fs::read(entry.unwrap().path()).unwrap();
            let sample = String::from_utf8_lossy(&sample);
            for range in secret_shapes(&sample, TextMarks::of(&sample)) {
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
            "yJ",
            r"\u0061yJ",
            "bearer1",
            "bearer a1",
            "//a:b/",
            "//a:b ",
            r"\u005cu005c",
            r"\\",
            "%25",
            r"\u002525\\",
        ];
        for mark in marks {
            for before in ["", "J @", "eyJaaaaaaaaaa.", "://", "Bearer "] {
                let text = format!("{before}{}", mark.repeat(20_000));
                let began = std::time::Instant::now();
                let _found = secrets(&text);
                assert!(began.elapsed() < std::time::Duration::from_secs(5), "{before}{mark}");
            }
        }
    }
}
