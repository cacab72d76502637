//! Decodes the escapes of a text at any depth and finds sensitive names in it.
//!
//! # Why
//!
//! A sensitive name may be in a text that is not JSON, or in a string that contains JSON (which may
//! contain a string that contains JSON, …): `\u0069ncomingCallContext`, `\\\"token\\\"`,
//! `%22sig%22`. [`DecodedChars`] yields each character as it is after any number of decodings, with
//! its range, so that one rule finds the name at every depth. It keeps no state about strings: a
//! string may contain damaged JSON, in which a missing quotation mark would invert it.

use super::sensitive_keys::{Letters, SensitiveKeys};

/// A decoded character and its range in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DecodedChar {
    pub(crate) character: char,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Whether it is written as `%` and two digits.
    pub(crate) percent: bool,
}

impl DecodedChar {
    pub(crate) fn is_whitespace(&self) -> bool {
        self.character.is_ascii_whitespace()
    }

    pub(crate) fn is_quote(&self) -> bool {
        matches!(self.character, '"' | '\'')
    }

    fn is_word_char(&self) -> bool {
        is_word_char(self.character)
    }
}

fn is_word_char(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-')
}

/// The decoded characters of a text.
#[derive(Clone, Copy)]
pub(crate) struct DecodedChars<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> DecodedChars<'t> {
    pub(crate) fn of(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// Continues at an offset where a character begins.
    pub(crate) fn seek(&mut self, at: usize) {
        self.at = at;
    }

    pub(crate) fn peek(&self) -> Option<DecodedChar> {
        let mut ahead = *self;
        ahead.next()
    }

    pub(crate) fn skip_whitespace(&mut self) {
        while self.peek().is_some_and(|decoded| decoded.is_whitespace()) {
            self.next();
        }
    }

    /// The next character that is not white space.
    pub(crate) fn next_non_blank(&mut self) -> Option<DecodedChar> {
        self.skip_whitespace();
        self.next()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn is_word_at(&self, at: usize) -> bool {
        self.byte(at).is_some_and(|byte| byte.is_ascii_alphanumeric())
    }

    /// The ASCII character that is written as that many hexadecimal digits. Other characters are in
    /// no name and no structure, so they are not decoded.
    fn hex_digits(&self, at: usize, digits: usize) -> Option<char> {
        let code = self.text.as_bytes().get(at..at + digits)?;
        let mut value = 0;
        for digit in code {
            value = value * 16 + char::from(*digit).to_digit(16)?;
        }
        char::from_u32(value).filter(char::is_ascii)
    }

    /// Decodes a run of backslashes and the character that it escapes.
    fn read_escape(&self) -> DecodedChar {
        let start = self.at;
        let mut has_slash = false;
        let mut at = start;
        loop {
            match self.byte(at) {
                Some(b'\\') => at += 1,
                Some(b'u' | b'U') if has_slash && self.hex_digits(at + 1, 4) == Some('\\') => {
                    at += 5;
                }
                _ => break,
            }
            has_slash = true;
        }
        let digits = match self.byte(at) {
            Some(b'u' | b'U') => 4,
            Some(b'x' | b'X') => 2,
            _ => 0,
        };
        let decoded = |character, end| DecodedChar { character, start, end, percent: false };
        if digits > 0
            && let Some(character) = self.hex_digits(at + 1, digits)
        {
            return decoded(character, at + 1 + digits);
        }
        match self.text.get(at..).and_then(|rest| rest.chars().next()) {
            Some(mark) if !is_word_char(mark) => decoded(mark, at + mark.len_utf8()),
            // An escaped line end. Before a letter it may be a damaged letter.
            Some('n' | 'r' | 't') if !self.is_word_at(at + 1) => decoded(' ', at + 1),
            // A backslash before a name: the letter is not escaped.
            _ => decoded('\\', at),
        }
    }

    /// Decodes `%22`, also `%2522` and so on. Letters are never encoded this way.
    fn read_percent(&self) -> Option<DecodedChar> {
        let mut digits = self.at + 1;
        while self.hex_digits(digits, 2) == Some('%') && self.hex_digits(digits + 2, 2).is_some() {
            digits += 2;
        }
        let character = self.hex_digits(digits, 2)?;
        if is_word_char(character) {
            return None;
        }
        Some(DecodedChar { character, start: self.at, end: digits + 2, percent: true })
    }
}

impl Iterator for DecodedChars<'_> {
    type Item = DecodedChar;

    fn next(&mut self) -> Option<DecodedChar> {
        let character = self.text.get(self.at..)?.chars().next()?;
        let plain = DecodedChar {
            character,
            start: self.at,
            end: self.at + character.len_utf8(),
            percent: false,
        };
        let decoded = match character {
            '\\' => self.read_escape(),
            '%' => self.read_percent().unwrap_or(plain),
            _ => plain,
        };
        self.at = decoded.end;
        Some(decoded)
    }
}

/// An escaped quotation mark without its backslash.
const ESCAPED_QUOTE: &[u8] = b"u0022";

/// A sensitive name in a text.
#[derive(Clone, Copy)]
pub(crate) struct KeyMatch<'t> {
    /// The character before the name.
    pub(crate) before: Option<char>,
    /// Whether the word is exactly the name, without another letter before or after it.
    pub(crate) exact: bool,
    /// The last character, except white space, before the quotation mark that precedes the name.
    pub(crate) before_quote: Option<char>,
    /// The text after the name.
    pub(crate) rest: DecodedChars<'t>,
}

impl KeyMatch<'_> {
    /// Whether a quotation mark precedes the name.
    pub(crate) fn follows_quote(&self) -> bool {
        matches!(self.before, Some('"' | '\''))
    }

    /// Whether the name is in the position of a value: `"type":"token"`.
    pub(crate) fn is_value(&self) -> bool {
        self.follows_quote() && self.before_quote == Some(':')
    }
}

/// The sensitive names of a text.
pub(crate) struct KeyMatches<'t> {
    chars: DecodedChars<'t>,
    keys: SensitiveKeys,
    word: Vec<u8>,
    /// The letters of the word.
    letters: Letters,
    /// A letter before the word that is either part of it or the last digit of `%2c`.
    percent_digit: Option<u8>,
    /// The previous character.
    last: Option<char>,
    /// The two previous characters that are not white space, the earlier one first.
    previous: (Option<char>, Option<char>),
}

impl<'t> KeyMatches<'t> {
    pub(crate) fn of(text: &'t str, keys: SensitiveKeys) -> Self {
        Self {
            chars: DecodedChars::of(text),
            keys,
            word: Vec::new(),
            letters: Letters::default(),
            percent_digit: None,
            last: None,
            previous: (None, None),
        }
    }

    /// Continues after a range that was removed.
    pub(crate) fn seek(&mut self, at: usize) {
        self.chars.seek(at);
        self.percent_digit = None;
        self.last = None;
        self.previous = (None, None);
    }

    fn record(&mut self, decoded: DecodedChar) {
        let last_digit = self.chars.byte(decoded.end.saturating_sub(1));
        self.percent_digit =
            last_digit.filter(|byte| decoded.percent && byte.is_ascii_alphabetic());
        self.last = Some(decoded.character);
        if !decoded.is_whitespace() {
            self.previous = (self.previous.1, self.last);
        }
    }

    /// Reads the word at the current offset.
    fn read_word(&mut self) {
        self.word.clear();
        self.word.extend(self.percent_digit);
        self.letters = Letters::default();
        while let Some(decoded) = self.chars.peek()
            && decoded.is_word_char()
        {
            // No name contains other than ASCII characters; one byte represents them all.
            self.word
                .push(u8::try_from(decoded.character).ok().filter(u8::is_ascii).unwrap_or(u8::MAX));
            self.chars.next();
        }
        self.word.iter().for_each(|byte| self.letters.add(*byte));
    }

    /// Whether the word is a sensitive name, with or without the residue of a damaged quotation mark
    /// at either end.
    fn is_sensitive(&self) -> bool {
        let whole = self.word.as_slice();
        let longest = ESCAPED_QUOTE.len() + 2;
        let starts = (0..=longest).filter_map(|start| whole.split_at_checked(start));
        starts.filter(|(left, _)| is_quote_residue_before(left)).any(|(_, word)| {
            let ends = (0..=longest)
                .filter_map(|left| word.split_at_checked(word.len().checked_sub(left)?));
            ends.filter(|(_, left)| is_quote_residue_after(left))
                .any(|(word, _)| self.keys.contains(word))
        })
    }
}

/// Whether these letters may be the residue of a quotation mark before a name in which one character
/// was damaged: nothing, any letter for `"`, or the rest of `\u0022`.
fn is_quote_residue_before(letters: &[u8]) -> bool {
    let damaged = |rest: &[u8]| {
        let pairs = rest.iter().zip(ESCAPED_QUOTE);
        rest.len() == ESCAPED_QUOTE.len() && pairs.filter(|(one, other)| one != other).count() <= 1
    };
    match letters {
        [] | [_] => true,
        // An escaped line end, `\n`, may precede it; its letter then looks like part of the name.
        [b'n' | b'r' | b't', rest @ ..] if is_quote_residue_before(rest) => true,
        [_, rest @ ..] if rest == ESCAPED_QUOTE => true,
        rest => damaged(rest) || ESCAPED_QUOTE.ends_with(rest),
    }
}

/// The same after a name: an intact backslash is not a letter, so the residue is all or nothing.
fn is_quote_residue_after(letters: &[u8]) -> bool {
    match letters {
        [] | [_] => true,
        [_, rest @ ..] => rest == ESCAPED_QUOTE,
    }
}

impl<'t> Iterator for KeyMatches<'t> {
    type Item = KeyMatch<'t>;

    fn next(&mut self) -> Option<KeyMatch<'t>> {
        loop {
            let decoded = self.chars.peek()?;
            if !decoded.is_word_char() {
                self.chars.next();
                self.record(decoded);
                continue;
            }
            let (before, before_quote) = (self.last, self.previous.0);
            self.read_word();
            let percent_digit = usize::from(self.percent_digit.is_some());
            self.record(DecodedChar { character: 'w', ..decoded });
            if self.letters.may_name_secret() && self.is_sensitive() {
                let word = self.word.get(percent_digit..);
                let exact = word.is_some_and(|word| self.keys.contains(word));
                return Some(KeyMatch { before, before_quote, exact, rest: self.chars });
            }
        }
    }
}
