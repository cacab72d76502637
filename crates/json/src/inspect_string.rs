//! Finds sensitive values in the strings of valid JSON (`NO_SECRETS`).
//!
//! # Why
//!
//! A string may contain JSON, a URL or a header, in any escaping, and a sensitive name in it. Where
//! the end of its value is uncertain, the whole string is replaced: too much rather than too little.

use std::cell::LazyCell;
use std::ops::Range;

use super::decoded_levels::{DecodedLevel, Decoding};
use super::secret_shapes::{decoded_shapes, merged, secret_shapes};
use super::sensitive_keys::SensitiveKeys;
use super::text_marks::TextMarks;
use super::unescape::{DecodedChar, DecodedChars, KeyMatch, KeyMatches};

/// The replacement of a value that was removed from a text.
pub(crate) const REDACTED_MARK: &str = "[redacted]";

/// Maximum number of levels at which a string is encoded. JSON in JSON doubles the backslashes at each
/// level, so nothing but a hidden secret has more; such a string is replaced.
const MAX_LEVELS: usize = 16;

/// Maximum length of a damaged quotation mark, in characters: `\\x\\u0022`.
const MAX_DAMAGED_QUOTE: usize = 12;

/// The text after a name.
struct NamedValue<'t> {
    /// The first character after the name and its quotation mark that is not white space.
    first: DecodedChar,
    /// The text after that character.
    rest: DecodedChars<'t>,
    /// The name has quotation marks on both sides.
    in_quotes: bool,
    /// The name has a quotation mark on at least one side.
    at_quote: bool,
}

impl<'t> NamedValue<'t> {
    fn after(key_match: &KeyMatch<'t>) -> Option<Self> {
        let mut rest = key_match.rest;
        let quote = rest.peek().filter(DecodedChar::is_quote);
        if quote.is_some() {
            rest.next();
        }
        let mut first = rest.next_non_blank()?;
        if quote.is_none() && key_match.follows_quote() {
            // The quotation mark after the name may be damaged.
            let mut ahead = rest;
            let mut passed = first;
            for _ in 0..MAX_DAMAGED_QUOTE {
                if is_assignment(&passed) {
                    (first, rest) = (passed, ahead);
                    break;
                }
                match ahead.next_non_blank() {
                    Some(next) => passed = next,
                    None => break,
                }
            }
        }
        Some(Self {
            first,
            rest,
            in_quotes: key_match.follows_quote() && quote.is_some(),
            at_quote: key_match.follows_quote() || quote.is_some(),
        })
    }
}

fn is_assignment(decoded: &DecodedChar) -> bool {
    matches!(decoded.character, ':' | '=')
}

/// The sensitive content of a string in valid JSON.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StringFinding {
    /// None.
    Clean,
    /// JSON with a sensitive name: the whole string is replaced.
    Json,
    /// Query parameters with sensitive names, and secrets of a known shape: the byte ranges of the
    /// values.
    Parts(Vec<Range<usize>>),
}

/// The whole string is replaced.
struct WholeString;

/// Searches a string, as written between its quotation marks, for sensitive names and for secrets of
/// a known shape.
pub(crate) fn inspect_string(body: &str, keys: SensitiveKeys) -> StringFinding {
    inspect_marked(body, TextMarks::of(body), keys)
}

/// The same for a string whose marks are known.
pub(crate) fn inspect_marked(body: &str, marks: TextMarks, keys: SensitiveKeys) -> StringFinding {
    if marks.is_clean() {
        return StringFinding::Clean;
    }
    match find_parts(body, marks, keys) {
        Ok(parts) if parts.is_empty() => StringFinding::Clean,
        Ok(parts) => StringFinding::Parts(merged(parts)),
        Err(WholeString) => StringFinding::Json,
    }
}

/// Searches a string as it is, and at each level of its decoding.
fn find_parts(
    body: &str,
    marks: TextMarks,
    keys: SensitiveKeys,
) -> Result<Vec<Range<usize>>, WholeString> {
    let mut parts = find_named(body, marks, keys)?;
    parts.extend(secret_shapes(body, marks));
    if !marks.has(TextMarks::ESCAPE) {
        return Ok(parts);
    }
    let json = find_decoded(body, &[Decoding::Json], keys, &mut parts)?;
    // A percent sign may be part of JSON, or JSON part of an address.
    if json.text().contains('%') {
        find_decoded(body, &[Decoding::Json, Decoding::Percent], keys, &mut parts)?;
    }
    Ok(parts)
}

/// Decodes a string, until nothing is encoded, and adds what is found. Returns the last level.
///
/// # Errors
///
/// [`WholeString`]: it has a sensitive name, or too many levels.
fn find_decoded(
    body: &str,
    decodings: &[Decoding],
    keys: SensitiveKeys,
    parts: &mut Vec<Range<usize>>,
) -> Result<DecodedLevel, WholeString> {
    let mut level = DecodedLevel::of(body).ok_or(WholeString)?;
    for depth in 0..=MAX_LEVELS {
        let mut is_encoded = false;
        for decoding in decodings {
            if let Some(decoded) = level.decode(*decoding) {
                level = decoded;
                is_encoded = true;
                parts.extend(decoded_shapes(&level));
            }
        }
        if !is_encoded {
            // Names are found behind most escapes, except behind escapes of escapes.
            if depth > 0 {
                let named = find_named(level.text(), TextMarks::of(level.text()), keys)?;
                parts.extend(named.into_iter().map(|part| level.original(part)));
            }
            return Ok(level);
        }
    }
    Err(WholeString)
}

/// Searches a string for sensitive names; returns the values of query parameters.
///
/// # Errors
///
/// [`WholeString`]: JSON with a sensitive name.
fn find_named(
    body: &str,
    marks: TextMarks,
    keys: SensitiveKeys,
) -> Result<Vec<Range<usize>>, WholeString> {
    let mut parts = Vec::new();
    if !marks.has(TextMarks::NAMING) || !may_contain_key(body) {
        return Ok(parts);
    }
    let has_brackets = LazyCell::new(|| has_brackets(body));
    let mut key_matches = KeyMatches::of(body, keys);
    while let Some(key_match) = key_matches.next() {
        let Some(named) = NamedValue::after(&key_match) else {
            continue;
        };
        match named.first.character {
            ':' if named.at_quote => return Err(WholeString),
            ',' | '}' | ']' if key_match.is_value() => {}
            '=' if is_parameter_name(&key_match) => {
                let start = named.first.end;
                let end = end_of_parameter(named.rest).unwrap_or(body.len());
                parts.push(start..end);
                key_matches.seek(end);
            }
            // Damaged JSON.
            _ if named.in_quotes && *has_brackets => return Err(WholeString),
            _ => {}
        }
    }
    Ok(parts)
}

/// Whether a string contains a quotation mark or an equals sign, plain or encoded. Most strings do
/// not and are not searched. Equals signs at the end of base64 do not count.
fn may_contain_key(body: &str) -> bool {
    // Each character by itself: the search for a single one compares many bytes at a time.
    let encoded = || body.contains('\\') || body.contains('%');
    let has_code = |codes: &[&str]| encoded() && codes.iter().any(|code| body.contains(code));
    body.contains('"')
        || body.contains('\'')
        || body.trim_end_matches('=').contains('=')
        || has_code(&["22", "27", "3d", "3D"])
}

fn has_brackets(body: &str) -> bool {
    DecodedChars::of(body).any(|decoded| matches!(decoded.character, '{' | '['))
}

/// Base64 ends in equals signs too and may contain any word between slashes before them.
fn is_parameter_name(key_match: &KeyMatch<'_>) -> bool {
    key_match.exact && !matches!(key_match.before, Some('/' | '+'))
}

/// The offset of the `&` that ends a query parameter. An encoded one is part of the value.
fn end_of_parameter(mut chars: DecodedChars<'_>) -> Option<usize> {
    let end = chars.find(|decoded| decoded.character == '&' && !decoded.percent)?;
    Some(end.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_searched_for_json_and_for_queries() {
        let calls = |text| inspect_string(text, SensitiveKeys::Calls);
        assert_eq!(calls(r#"{\"token\":1}"#), StringFinding::Json);
        assert_eq!(calls(r#"{\"token\"x1}"#), StringFinding::Json);
        assert_eq!(calls(r#"he said \"token\" twice"#), StringFinding::Clean);
        for (text, credential) in [
            ("https://h/p?sv=1&sig=S&se=2", "S"),
            ("https://h/p?sig=a%26b", "a%26b"),
            ("r=https%3A%2F%2Fh%3Fsig%3DS", "S"),
        ] {
            let StringFinding::Parts(parts) = calls(text) else {
                panic!("{text}");
            };
            let parts: Vec<&str> = parts.into_iter().map(|part| &text[part]).collect();
            assert_eq!(parts, [credential]);
        }
        assert_eq!(calls(r#"{\"message\":1}"#), StringFinding::Clean);
        assert_eq!(
            inspect_string(r#"{\"message\":1}"#, SensitiveKeys::Anything),
            StringFinding::Json
        );
        // Base64, as in each serverCallId.
        assert_eq!(calls("aHR0cHM6/sig=="), StringFinding::Clean);
    }
}
