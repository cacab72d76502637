//! Blanking: what must not be kept, taken out of a text that is no JSON.
//!
//! # Why
//!
//! The text is broken, so nothing in it proves where a value ends. A value is blanked to its end
//! only if it is a string, number or literal and what follows can be nothing but the rest of an
//! object; otherwise (arrays and objects always) everything behind the name is blanked. A name
//! counts in any escaping and with a damaged quotation mark, and it counts without a colon where
//! it does not stand for a value itself. Rather too much than too little: the SHA-256 of the whole
//! is kept too, and the sender has the text.

use std::cell::LazyCell;
use std::ops::Range;

use super::forbidden::Vocabulary;
use super::lens::{Glyph, Glyphs, Mention, Mentions};

/// What stands in the place of something that was taken out of a text.
pub(super) const BLANKED: &str = "[redacted]";

/// Names of members are shorter; what is longer is not taken for one.
const LONGEST_NAME: usize = 256;

/// A damaged quotation mark takes no more characters than this: `\\x\\u0022`.
const LONGEST_DAMAGE: usize = 12;

/// A text without the values of forbidden names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blanked {
    pub(super) text: String,
    /// The last value has no certain end: what followed the text may be part of it.
    pub(super) is_open: bool,
}

/// Blanks a text, whatever it is.
pub(super) fn blank(text: &str) -> Blanked {
    let mut kept = String::with_capacity(text.len());
    let mut from = 0;
    let mut is_open = false;
    let mut mentions = Mentions::of(text, Vocabulary::Anything);
    while let Some(mention) = mentions.next() {
        let Some(named) = Named::by(&mention) else {
            is_open = true;
            continue;
        };
        let Some(forbidden) = forbidden_part(&mention, &named, text.len()) else {
            continue;
        };
        kept.push_str(text.get(from..forbidden.start).unwrap_or_default());
        kept.push_str(BLANKED);
        from = forbidden.end;
        is_open = from == text.len();
        mentions.go_to(from);
    }
    kept.push_str(text.get(from..).unwrap_or_default());
    Blanked {
        text: kept,
        is_open,
    }
}

/// What has to go because of a name; `None` if the name names nothing.
fn forbidden_part(
    mention: &Mention<'_>,
    named: &Named<'_>,
    end_of_text: usize,
) -> Option<Range<usize>> {
    let everything_behind = mention.end..end_of_text;
    match named.mark.character {
        ':' => value(named.behind, named.depth, end_of_text),
        '=' => Some(named.mark.end..end_of_text),
        '>' => Some(everything_behind),
        ',' | '}' | ']' if mention.stands_for_a_value() => None,
        _ if named.in_quotes => Some(everything_behind),
        _ => None,
    }
}

/// What stands behind a name.
struct Named<'t> {
    /// The first mark behind the name and its quotation mark.
    mark: Glyph,
    /// Behind that.
    behind: Glyphs<'t>,
    /// Quotation marks stand on both sides.
    in_quotes: bool,
    /// A quotation mark stands on one side at least.
    at_quote: bool,
    /// How deep the quotation mark behind it is escaped.
    depth: Option<u32>,
}

impl<'t> Named<'t> {
    fn by(mention: &Mention<'t>) -> Option<Self> {
        let mut behind = mention.behind;
        let quote = behind.peek().filter(Glyph::is_quote);
        if quote.is_some() {
            behind.next();
        }
        let mut mark = behind.next_mark()?;
        if quote.is_none() && mention.quoted_before() {
            // The quotation mark behind the name may be damaged: `"token#:`, `"token\u0x22:`.
            let mut ahead = behind;
            let mut passed = mark;
            for _ in 0..LONGEST_DAMAGE {
                if is_assignment(&passed) {
                    (mark, behind) = (passed, ahead);
                    break;
                }
                match ahead.next_mark() {
                    Some(next) => passed = next,
                    None => break,
                }
            }
        }
        Some(Self {
            mark,
            behind,
            in_quotes: mention.quoted_before() && quote.is_some(),
            at_quote: mention.quoted_before() || quote.is_some(),
            depth: quote.map(|quote| quote.depth),
        })
    }
}

fn is_assignment(glyph: &Glyph) -> bool {
    matches!(glyph.character, ':' | '=')
}

/// The value that follows a colon. `depth` is that of the quotation marks around its name.
fn value(mut glyphs: Glyphs<'_>, depth: Option<u32>, end_of_text: usize) -> Option<Range<usize>> {
    let first = glyphs.next_mark()?;
    let end = if !first.is_quote() {
        end_of_scalar(&mut glyphs, first)
    } else if depth == Some(first.depth) {
        end_of_string(&mut glyphs, first)
    } else {
        None
    };
    let certain = end.filter(|_| depth.is_some_and(|depth| object_goes_on(glyphs, depth)));
    Some(first.start..certain.unwrap_or(end_of_text))
}

/// Behind the quotation mark that closes a string. A mark that is escaped less deeply closes a
/// string around it, and so this one too.
fn end_of_string(glyphs: &mut Glyphs<'_>, open: Glyph) -> Option<usize> {
    let close =
        glyphs.find(|glyph| glyph.character == open.character && glyph.depth <= open.depth)?;
    Some(close.end)
}

/// Behind a number or a literal.
fn end_of_scalar(glyphs: &mut Glyphs<'_>, first: Glyph) -> Option<usize> {
    let mut scalar = String::from(first.character);
    let mut end = first.end;
    while let Some(glyph) = glyphs.peek()
        && !glyph.is_blank()
        && !matches!(glyph.character, ',' | '}')
    {
        scalar.push(glyph.character);
        end = glyph.end;
        glyphs.next();
    }
    let literal = matches!(scalar.as_str(), "true" | "false" | "null");
    (literal || scalar.parse::<f64>().is_ok()).then_some(end)
}

/// Whether what follows can be nothing but the rest of an object whose names are in quotation
/// marks of this depth: its end and that of what is around it, then another member or object.
fn object_goes_on(mut glyphs: Glyphs<'_>, depth: u32) -> bool {
    loop {
        let Some(mark) = glyphs.next_mark() else {
            return true;
        };
        match mark.character {
            '}' | ']' => {}
            ',' => {
                if glyphs.peek_mark().is_some_and(|mark| mark.character == '{') {
                    glyphs.next_mark();
                }
                return member_begins(glyphs, depth);
            }
            // The end of a string that the object is in.
            _ => return mark.is_quote() && mark.depth < depth,
        }
    }
}

/// A name in quotation marks and a colon.
fn member_begins(mut glyphs: Glyphs<'_>, depth: u32) -> bool {
    let is_mark = |glyph: &Glyph| glyph.is_quote() && glyph.depth == depth;
    let Some(open) = glyphs.next_mark().filter(is_mark) else {
        return false;
    };
    let mut name = glyphs.by_ref().take(LONGEST_NAME);
    let close = name.find(|glyph| glyph.character == open.character && glyph.depth <= depth);
    close.is_some_and(|close| close.depth == depth)
        && glyphs.next_mark().is_some_and(|mark| mark.character == ':')
}

/// What a string of a valid JSON text hides.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Screening {
    /// Nothing.
    Clean,
    /// JSON with a forbidden name: the string cannot be kept.
    Whole,
    /// Parameters of a query, as bytes of the string.
    Parts(Vec<Range<usize>>),
}

/// Looks into a string, as it is written between its quotation marks.
pub(super) fn screen(quoted: &str, vocabulary: Vocabulary) -> Screening {
    if !may_hide(quoted) {
        return Screening::Clean;
    }
    let has_brackets = LazyCell::new(|| has_brackets(quoted));
    let mut parts = Vec::new();
    let mut mentions = Mentions::of(quoted, vocabulary);
    while let Some(mention) = mentions.next() {
        let Some(named) = Named::by(&mention) else {
            continue;
        };
        match named.mark.character {
            ':' if named.at_quote => return Screening::Whole,
            ',' | '}' | ']' if mention.stands_for_a_value() => {}
            '=' if begins_parameter(&mention) => {
                let start = named.mark.end;
                let end = end_of_parameter(named.behind).unwrap_or(quoted.len());
                parts.push(start..end);
                mentions.go_to(end);
            }
            // Damaged JSON.
            _ if named.in_quotes && *has_brackets => return Screening::Whole,
            _ => {}
        }
    }
    if parts.is_empty() {
        return Screening::Clean;
    }
    Screening::Parts(parts)
}

/// Whether a string has a quotation mark or an equals sign, as such or encoded. Most have none, and
/// need no closer look; base64 has equals signs at its end, where nothing follows them.
fn may_hide(quoted: &str) -> bool {
    // In one go, without an end in between: the compiler looks at many bytes at a time.
    let marks = quoted.bytes().fold(false, |any, byte| {
        any | (byte == b'"') | (byte == b'\'') | (byte == b'=') | (byte == b'\\') | (byte == b'%')
    });
    if !marks {
        return false;
    }
    let encoded = quoted.contains(['\\', '%']);
    let has_code = |codes: &[&str]| encoded && codes.iter().any(|code| quoted.contains(code));
    quoted.contains(['"', '\''])
        || quoted.trim_end_matches('=').contains('=')
        || has_code(&["22", "27", "3d", "3D"])
}

fn has_brackets(quoted: &str) -> bool {
    Glyphs::of(quoted).any(|glyph| matches!(glyph.character, '{' | '['))
}

/// Base64 ends in equals signs too, and may have any word between its slashes before them.
fn begins_parameter(mention: &Mention<'_>) -> bool {
    mention.exact && !matches!(mention.before, Some('/' | '+'))
}

/// The `&` that ends a query's parameter. An encoded one is part of the value.
fn end_of_parameter(mut glyphs: Glyphs<'_>) -> Option<usize> {
    let end = glyphs.find(|glyph| glyph.character == '&' && !glyph.percent)?;
    Some(end.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_blanked_to_its_end_where_that_is_certain() {
        for (text, blanked) in [
            (r#"{"token":"S","a":1,}"#, r#"{"token":[redacted],"a":1,}"#),
            (
                r#"{"a":{"pin" : 12 },"b":2"#,
                r#"{"a":{"pin" : [redacted] },"b":2"#,
            ),
            (
                r#"[{"tone":null},{"a":2},x"#,
                r#"[{"tone":[redacted]},{"a":2},x"#,
            ),
            (r#"{"Message":"a\"b\\","c":1,}"#, r#"{"Message":[redacted]"#),
            (
                r#"{"Message":"a\"b","c":1,}"#,
                r#"{"Message":[redacted],"c":1,}"#,
            ),
            (
                r#"{"x":"{\"token\":\"S\",\"a\":1}","#,
                r#"{"x":"{\"token\":[redacted],\"a\":1}","#,
            ),
        ] {
            assert_eq!(blank(text).text, blanked, "{text}");
        }
    }

    #[test]
    fn everything_behind_the_name_is_blanked_where_the_end_is_not_certain() {
        for (text, blanked) in [
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
            let expected = Blanked {
                text: blanked.to_owned(),
                is_open: true,
            };
            assert_eq!(blank(text), expected, "{text}");
        }
    }

    #[test]
    fn a_name_is_found_in_every_disguise() {
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
            let blanked = blank(text).text;
            assert!(!blanked.contains('S'), "{text}: {blanked}");
        }
    }

    #[test]
    fn words_that_name_nothing_stay() {
        for text in [
            r#"{"type":"token","kind":"message"},"#,
            r#"{"a":"the token of a message","#,
            r#"{"contentLocation":"x","messageId":1,"context":{},"#,
            "",
            "\\",
            "%",
        ] {
            assert_eq!(blank(text).text, text);
        }
    }

    #[test]
    fn a_string_is_screened_for_json_and_for_queries() {
        let calls = |text| screen(text, Vocabulary::Calls);
        assert_eq!(calls(r#"{\"token\":1}"#), Screening::Whole);
        assert_eq!(calls(r#"{\"token\"x1}"#), Screening::Whole);
        assert_eq!(calls(r#"he said \"token\" twice"#), Screening::Clean);
        for (text, credential) in [
            ("https://h/p?sv=1&sig=S&se=2", "S"),
            ("https://h/p?sig=a%26b", "a%26b"),
            ("r=https%3A%2F%2Fh%3Fsig%3DS", "S"),
        ] {
            let Screening::Parts(parts) = calls(text) else {
                panic!("{text}");
            };
            let parts: Vec<&str> = parts.into_iter().map(|part| &text[part]).collect();
            assert_eq!(parts, [credential]);
        }
        assert_eq!(calls(r#"{\"message\":1}"#), Screening::Clean);
        assert_eq!(
            screen(r#"{\"message\":1}"#, Vocabulary::Anything),
            Screening::Whole
        );
        // Base64, as in every serverCallId.
        assert_eq!(calls("aHR0cHM6/sig=="), Screening::Clean);
    }
}
