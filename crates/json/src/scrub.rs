//! Removes the values of sensitive members from text that is not valid JSON (`NO_SECRETS`).
//!
//! # Why
//!
//! Broken text does not prove where a value ends. Only a string, number or literal that is followed
//! by the rest of an object is removed up to its end. Otherwise, and always for arrays and objects,
//! everything after the name is removed. A name is found in any escaping, with a damaged quotation
//! mark, and without a colon unless it is in the position of a value. The scrubbing removes too much
//! rather than too little: the SHA-256 of the whole is kept too, and the sender has the text.

use std::cell::LazyCell;
use std::ops::Range;

use super::secret_shapes::{merged, secret_shapes, shapes_behind};
use super::sensitive_keys::SensitiveKeys;
use super::text_marks::TextMarks;
use super::unescape::{DecodedChar, DecodedChars, KeyMatch, KeyMatches};

/// The replacement of a value that was removed from a text.
pub const REDACTED_MARK: &str = "[redacted]";

/// Maximum length of a member name, in characters.
const MAX_KEY_LENGTH: usize = 256;

/// Maximum length of a damaged quotation mark, in characters: `\\x\\u0022`.
const MAX_DAMAGED_QUOTE: usize = 12;

/// A text without sensitive values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubbedText {
    /// The text.
    pub text: String,
    /// The end of the last removed value is unknown: text that follows may be part of it.
    pub is_open: bool,
}

/// Removes the sensitive values from any text.
#[must_use]
pub fn scrub_unstructured(text: &str) -> ScrubbedText {
    let mut kept = String::with_capacity(text.len());
    let mut from = 0;
    let mut is_open = false;
    let mut key_matches = KeyMatches::of(text, SensitiveKeys::Anything);
    while let Some(key_match) = key_matches.next() {
        let Some(named) = NamedValue::after(&key_match) else {
            is_open = true;
            continue;
        };
        let Some(sensitive) = sensitive_range(&key_match, &named, text.len()) else {
            continue;
        };
        kept.push_str(text.get(from..sensitive.start).unwrap_or_default());
        kept.push_str(REDACTED_MARK);
        from = sensitive.end;
        is_open = from == text.len();
        key_matches.seek(from);
    }
    kept.push_str(text.get(from..).unwrap_or_default());
    ScrubbedText { text: without_shapes(kept), is_open }
}

/// Removes the secrets of a known shape.
fn without_shapes(text: String) -> String {
    let shapes = secret_shapes(&text);
    if shapes.is_empty() {
        return text;
    }
    let mut kept = String::with_capacity(text.len());
    let mut from = 0;
    for shape in shapes {
        kept.push_str(text.get(from..shape.start).unwrap_or_default());
        kept.push_str(REDACTED_MARK);
        from = shape.end;
    }
    kept.push_str(text.get(from..).unwrap_or_default());
    kept
}

/// The range to remove because of a name; `None` if the match is not a member name.
fn sensitive_range(
    key_match: &KeyMatch<'_>,
    named: &NamedValue<'_>,
    end_of_text: usize,
) -> Option<Range<usize>> {
    let everything_after = key_match.end..end_of_text;
    match named.first.character {
        ':' => value_range(named.rest, named.depth, end_of_text),
        '=' => Some(named.first.end..end_of_text),
        '>' => Some(everything_after),
        ',' | '}' | ']' if key_match.is_value() => None,
        _ if named.in_quotes => Some(everything_after),
        _ => None,
    }
}

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
    /// The escape depth of the quotation mark after the name.
    depth: Option<u32>,
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
            depth: quote.map(|quote| quote.depth),
        })
    }
}

fn is_assignment(decoded: &DecodedChar) -> bool {
    matches!(decoded.character, ':' | '=')
}

/// The range of the value after a colon. `depth` is the escape depth of the quotation marks around
/// its name.
fn value_range(
    mut chars: DecodedChars<'_>,
    depth: Option<u32>,
    end_of_text: usize,
) -> Option<Range<usize>> {
    let first = chars.next_non_blank()?;
    let end = if !first.is_quote() {
        end_of_scalar(&mut chars, first)
    } else if depth == Some(first.depth) {
        end_of_string(&mut chars, first)
    } else {
        None
    };
    let certain = end.filter(|_| depth.is_some_and(|depth| object_continues(chars, depth)));
    Some(first.start..certain.unwrap_or(end_of_text))
}

/// The offset after the quotation mark that closes a string. A quotation mark with a lower escape
/// depth closes an enclosing string, and so this one too.
fn end_of_string(chars: &mut DecodedChars<'_>, open: DecodedChar) -> Option<usize> {
    let close =
        chars.find(|decoded| decoded.character == open.character && decoded.depth <= open.depth)?;
    Some(close.end)
}

/// The offset after a number or a literal.
fn end_of_scalar(chars: &mut DecodedChars<'_>, first: DecodedChar) -> Option<usize> {
    let mut scalar = String::from(first.character);
    let mut end = first.end;
    while let Some(decoded) = chars.peek()
        && !decoded.is_whitespace()
        && !matches!(decoded.character, ',' | '}')
    {
        scalar.push(decoded.character);
        end = decoded.end;
        chars.next();
    }
    let literal = matches!(scalar.as_str(), "true" | "false" | "null");
    (literal || scalar.parse::<f64>().is_ok()).then_some(end)
}

/// Whether the rest of an object follows, whose names are in quotation marks of this escape depth:
/// closing brackets, then the end of the text, another member or another object.
fn object_continues(mut chars: DecodedChars<'_>, depth: u32) -> bool {
    loop {
        let Some(mark) = chars.next_non_blank() else {
            return true;
        };
        match mark.character {
            '}' | ']' => {}
            ',' => {
                if chars.peek_non_blank().is_some_and(|mark| mark.character == '{') {
                    chars.next_non_blank();
                }
                return member_begins(chars, depth);
            }
            // The end of the string that contains the object.
            _ => return mark.is_quote() && mark.depth < depth,
        }
    }
}

/// Whether a name in quotation marks and a colon follow.
fn member_begins(mut chars: DecodedChars<'_>, depth: u32) -> bool {
    let is_mark = |decoded: &DecodedChar| decoded.is_quote() && decoded.depth == depth;
    let Some(open) = chars.next_non_blank().filter(is_mark) else {
        return false;
    };
    let mut name = chars.by_ref().take(MAX_KEY_LENGTH);
    let close = name.find(|decoded| decoded.character == open.character && decoded.depth <= depth);
    close.is_some_and(|close| close.depth == depth)
        && chars.next_non_blank().is_some_and(|mark| mark.character == ':')
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

/// Searches a string, as written between its quotation marks, for sensitive names and for secrets of
/// a known shape.
pub(crate) fn inspect_string(body: &str, keys: SensitiveKeys) -> StringFinding {
    let marks = TextMarks::of(body);
    if marks.is_empty() {
        return StringFinding::Clean;
    }
    let shapes = shapes_behind(body, marks);
    match find_named(body, marks, keys) {
        StringFinding::Clean if shapes.is_empty() => StringFinding::Clean,
        StringFinding::Clean => StringFinding::Parts(shapes),
        StringFinding::Parts(named) => StringFinding::Parts(merged([named, shapes].concat())),
        StringFinding::Json => StringFinding::Json,
    }
}

/// Searches a string for sensitive names.
fn find_named(body: &str, marks: TextMarks, keys: SensitiveKeys) -> StringFinding {
    if !marks.has(TextMarks::NAMING) || !may_contain_key(body) {
        return StringFinding::Clean;
    }
    let has_brackets = LazyCell::new(|| has_brackets(body));
    let mut parts = Vec::new();
    let mut key_matches = KeyMatches::of(body, keys);
    while let Some(key_match) = key_matches.next() {
        let Some(named) = NamedValue::after(&key_match) else {
            continue;
        };
        match named.first.character {
            ':' if named.at_quote => return StringFinding::Json,
            ',' | '}' | ']' if key_match.is_value() => {}
            '=' if is_parameter_name(&key_match) => {
                let start = named.first.end;
                let end = end_of_parameter(named.rest).unwrap_or(body.len());
                parts.push(start..end);
                key_matches.seek(end);
            }
            // Damaged JSON.
            _ if named.in_quotes && *has_brackets => return StringFinding::Json,
            _ => {}
        }
    }
    if parts.is_empty() {
        return StringFinding::Clean;
    }
    StringFinding::Parts(parts)
}

/// Whether a string contains a quotation mark or an equals sign, plain or encoded. Most strings do
/// not and are not searched. Equals signs at the end of base64 do not count.
fn may_contain_key(body: &str) -> bool {
    let encoded = body.contains(['\\', '%']);
    let has_code = |codes: &[&str]| encoded && codes.iter().any(|code| body.contains(code));
    body.contains(['"', '\''])
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
    fn a_value_is_removed_to_its_end_where_the_end_is_certain() {
        for (text, scrubbed) in [
            (r#"{"token":"S","a":1,}"#, r#"{"token":[redacted],"a":1,}"#),
            (r#"{"a":{"pin" : 12 },"b":2"#, r#"{"a":{"pin" : [redacted] },"b":2"#),
            (r#"[{"tone":null},{"a":2},x"#, r#"[{"tone":[redacted]},{"a":2},x"#),
            (r#"{"Message":"a\"b\\","c":1,}"#, r#"{"Message":[redacted]"#),
            (r#"{"Message":"a\"b","c":1,}"#, r#"{"Message":[redacted],"c":1,}"#),
            (r#"{"x":"{\"token\":\"S\",\"a\":1}","#, r#"{"x":"{\"token\":[redacted],\"a\":1}","#),
        ] {
            assert_eq!(scrub_unstructured(text).text, scrubbed, "{text}");
        }
    }

    #[test]
    fn everything_after_the_name_is_removed_where_the_end_is_uncertain() {
        for (text, scrubbed) in [
            (r#"{"token":"S"#, r#"{"token":[redacted]"#),
            (r#"{"token":"S" "a":1}"#, r#"{"token":[redacted]"#),
            (r#"{"token":"S","a",1}"#, r#"{"token":[redacted]"#),
            (r#"{"tones":["S"],"a":1,}"#, r#"{"tones":[redacted]"#),
            (r#"{"token":S,"a":1}"#, r#"{"token":[redacted]"#),
            (r#"{"token"x"S"}"#, r#"{"token[redacted]"#),
            (r#"{"token","S"}"#, r#"{"token[redacted]"#),
            ("<token>S</token>", "<token[redacted]"),
            ("a=1&token=S&b=2", "a=1&token=[redacted]"),
            ("token: S\nb: 2", "token: [redacted]"),
        ] {
            let expected = ScrubbedText { text: scrubbed.to_owned(), is_open: true };
            assert_eq!(scrub_unstructured(text), expected, "{text}");
        }
    }

    #[test]
    fn a_name_is_found_in_any_escaping() {
        for text in [
            r#"{"\u0069ncomingCallContext":"S","#,
            r#"{"INCOMING_CALL_CONTEXT":"S","#,
            r#"{"x":"{\"incomingCallContext\":\"S\"}","#,
            r#"{"x":"{\\\"incomingCallContext\\\":\\\"S","#,
            r#"{"x":"{\u0022incomingCallContext\u0022:\u0022S","#,
            r#"{"x":"{\\u0022\\u0069ncomingCallContext\\u0022:\\u0022S","#,
            r#"{"x":"\u005c\u0022incomingCallContext\u005c\u0022:S","#,
            r#"x=%7B%22incomingCallContext%22%3A%22S%22%7D"#,
            r#"x=%257B%2522incomingCallContext%2522%253A%2522S"#,
            r#"{'incomingCallContext':'S"#,
            r#"{xincomingCallContext":"S"#,
            r#"{"incomingCallContext#:"S"#,
        ] {
            let scrubbed = scrub_unstructured(text).text;
            assert!(!scrubbed.contains('S'), "{text}: {scrubbed}");
        }
    }

    #[test]
    fn words_that_are_not_member_names_stay() {
        for text in [
            r#"{"type":"token","kind":"message"},"#,
            r#"{"a":"the token of a message","#,
            r#"{"contentLocation":"x","messageId":1,"context":{},"#,
            "",
            "\\",
            "%",
        ] {
            assert_eq!(scrub_unstructured(text).text, text);
        }
    }

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
