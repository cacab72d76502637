//! A look through the escapes of a text, for names that are forbidden.
//!
//! # Why
//!
//! A forbidden name may hide in a text that is no JSON, or in a string that holds JSON (which may
//! hold a string that holds JSON, …): `\u0069ncomingCallContext`, `\\\"token\\\"`, `%22sig%22`.
//! The lens shows each character as it would be after any number of decodings, with its place and
//! with how deep a quotation mark is escaped, so that one rule finds the name at every depth. It
//! keeps no state about strings: in a broken text a missing quote would turn it inside out.

use super::forbidden::Vocabulary;

/// One character as decoded, with where it stands as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Glyph {
    pub(super) character: char,
    pub(super) start: usize,
    pub(super) end: usize,
    /// In how many strings within strings it stands, by its backslashes; 0 if it has none.
    pub(super) depth: u32,
    /// Written as `%` and two digits.
    pub(super) percent: bool,
}

impl Glyph {
    pub(super) fn is_blank(&self) -> bool {
        self.character.is_ascii_whitespace()
    }

    pub(super) fn is_quote(&self) -> bool {
        matches!(self.character, '"' | '\'')
    }

    fn is_of_word(&self) -> bool {
        is_of_word(self.character)
    }
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-')
}

/// The characters of a text.
#[derive(Clone, Copy)]
pub(super) struct Glyphs<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Glyphs<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// Goes on at a place where a glyph begins.
    pub(super) fn go_to(&mut self, at: usize) {
        self.at = at;
    }

    pub(super) fn peek(&self) -> Option<Glyph> {
        let mut ahead = *self;
        ahead.next()
    }

    pub(super) fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|glyph| glyph.is_blank()) {
            self.next();
        }
    }

    /// The next glyph that is not blank.
    pub(super) fn next_mark(&mut self) -> Option<Glyph> {
        self.skip_blanks();
        self.next()
    }

    /// The next glyph that is not blank, without passing it.
    pub(super) fn peek_mark(&self) -> Option<Glyph> {
        let mut ahead = *self;
        ahead.next_mark()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn is_word_at(&self, at: usize) -> bool {
        self.byte(at)
            .is_some_and(|byte| byte.is_ascii_alphanumeric())
    }

    /// An ASCII character written as so many hexadecimal digits. Others are no part of any name
    /// or structure, so they stay as they are written.
    fn hexadecimal(&self, at: usize, digits: usize) -> Option<char> {
        let code = self.text.as_bytes().get(at..at + digits)?;
        let mut value = 0;
        for digit in code {
            value = value * 16 + char::from(*digit).to_digit(16)?;
        }
        char::from_u32(value).filter(char::is_ascii)
    }

    /// A run of backslashes and what it escapes.
    fn escaped(&self) -> Glyph {
        let start = self.at;
        let mut slashes = 0_u32;
        let mut at = start;
        loop {
            match self.byte(at) {
                Some(b'\\') => at += 1,
                Some(b'u' | b'U') if slashes > 0 && self.hexadecimal(at + 1, 4) == Some('\\') => {
                    at += 5;
                }
                _ => break,
            }
            slashes += 1;
        }
        let digits = match self.byte(at) {
            Some(b'u' | b'U') => 4,
            Some(b'x' | b'X') => 2,
            _ => 0,
        };
        let glyph = |character, end, depth| Glyph {
            character,
            start,
            end,
            depth,
            percent: false,
        };
        if digits > 0
            && let Some(character) = self.hexadecimal(at + 1, digits)
        {
            // `\u0022` is one string deep, `\\u0022` two, `\\\\u0022` three.
            return glyph(character, at + 1 + digits, slashes.ilog2() + 1);
        }
        match self.text.get(at..).and_then(|rest| rest.chars().next()) {
            // `\"` is one string deep, `\\\"` two, `\\\\\\\"` three.
            Some(mark) if !is_of_word(mark) => {
                let depth = (slashes + 1).next_power_of_two().ilog2();
                glyph(mark, at + mark.len_utf8(), depth)
            }
            // A line's end between marks; before a letter it may be the letter that is meant.
            Some('n' | 'r' | 't') if !self.is_word_at(at + 1) => glyph(' ', at + 1, 0),
            // A backslash before a name: the letter stands for itself.
            _ => glyph('\\', at, 0),
        }
    }

    /// `%22`, also `%2522` and so on. Nobody encodes letters like this.
    fn percent(&self) -> Option<Glyph> {
        let mut digits = self.at + 1;
        while self.hexadecimal(digits, 2) == Some('%') && self.hexadecimal(digits + 2, 2).is_some()
        {
            digits += 2;
        }
        let character = self.hexadecimal(digits, 2)?;
        if is_of_word(character) {
            return None;
        }
        Some(Glyph {
            character,
            start: self.at,
            end: digits + 2,
            depth: 0,
            percent: true,
        })
    }
}

impl Iterator for Glyphs<'_> {
    type Item = Glyph;

    fn next(&mut self) -> Option<Glyph> {
        let character = self.text.get(self.at..)?.chars().next()?;
        let plain = Glyph {
            character,
            start: self.at,
            end: self.at + character.len_utf8(),
            depth: 0,
            percent: false,
        };
        let glyph = match character {
            '\\' => self.escaped(),
            '%' => self.percent().unwrap_or(plain),
            _ => plain,
        };
        self.at = glyph.end;
        Some(glyph)
    }
}

/// An escaped quotation mark without its backslash.
const ESCAPED_QUOTE: &[u8] = b"u0022";

/// A forbidden name in a text.
#[derive(Clone, Copy)]
pub(super) struct Mention<'t> {
    /// What stands right before the name.
    pub(super) before: Option<char>,
    /// Whether it is the name itself, and not the name with a letter before or behind it.
    pub(super) exact: bool,
    /// The last mark before the quotation mark that the name follows.
    pub(super) before_quote: Option<char>,
    /// Behind the name.
    pub(super) behind: Glyphs<'t>,
    /// Behind the name, bytes from the start of the text.
    pub(super) end: usize,
}

impl Mention<'_> {
    /// Whether the name follows a quotation mark.
    pub(super) fn quoted_before(&self) -> bool {
        matches!(self.before, Some('"' | '\''))
    }

    /// Whether the name stands where a value would: `"type":"token"`.
    pub(super) fn stands_for_a_value(&self) -> bool {
        self.quoted_before() && self.before_quote == Some(':')
    }
}

/// The forbidden names of a text.
pub(super) struct Mentions<'t> {
    glyphs: Glyphs<'t>,
    vocabulary: Vocabulary,
    word: Vec<u8>,
    /// A letter that may begin the word, or be the last digit of `%2c` before it.
    borrowed: Option<u8>,
    /// The last character.
    last: Option<char>,
    /// The last character that is not blank, and the one before it.
    marks: (Option<char>, Option<char>),
}

impl<'t> Mentions<'t> {
    pub(super) fn of(text: &'t str, vocabulary: Vocabulary) -> Self {
        Self {
            glyphs: Glyphs::of(text),
            vocabulary,
            word: Vec::new(),
            borrowed: None,
            last: None,
            marks: (None, None),
        }
    }

    /// Goes on behind something that was taken out.
    pub(super) fn go_to(&mut self, at: usize) {
        self.glyphs.go_to(at);
        self.borrowed = None;
        self.last = None;
        self.marks = (None, None);
    }

    fn pass(&mut self, glyph: Glyph) {
        let last_digit = self.glyphs.byte(glyph.end.saturating_sub(1));
        self.borrowed = last_digit.filter(|byte| glyph.percent && byte.is_ascii_alphabetic());
        self.last = Some(glyph.character);
        if !glyph.is_blank() {
            self.marks = (self.marks.1, self.last);
        }
    }

    /// Reads the word that begins here.
    fn read_word(&mut self) {
        self.word.clear();
        self.word.extend(self.borrowed);
        while let Some(glyph) = self.glyphs.peek()
            && glyph.is_of_word()
        {
            // What is not ASCII is in no name; any byte beyond ASCII stands for it.
            self.word.push(
                u8::try_from(glyph.character)
                    .ok()
                    .filter(u8::is_ascii)
                    .unwrap_or(u8::MAX),
            );
            self.glyphs.next();
        }
    }

    /// Whether the word is a name, or would be one but for what a damaged quotation mark left at
    /// either end.
    fn is_forbidden(&self) -> bool {
        let whole = self.word.as_slice();
        let longest = ESCAPED_QUOTE.len() + 2;
        let starts = (0..=longest).filter_map(|start| whole.split_at_checked(start));
        starts
            .filter(|(left, _)| is_left_before(left))
            .any(|(_, word)| {
                let ends = (0..=longest)
                    .filter_map(|left| word.split_at_checked(word.len().checked_sub(left)?));
                ends.filter(|(_, left)| is_left_behind(left))
                    .any(|(word, _)| self.vocabulary.forbids_bytes(word))
            })
    }
}

/// Whether these letters may be left of a quotation mark before a name in which one character was
/// damaged: nothing, any letter for `"`, and the rest of `\u0022`.
fn is_left_before(letters: &[u8]) -> bool {
    let damaged = |rest: &[u8]| {
        let pairs = rest.iter().zip(ESCAPED_QUOTE);
        rest.len() == ESCAPED_QUOTE.len() && pairs.filter(|(one, other)| one != other).count() <= 1
    };
    match letters {
        [] | [_] => true,
        // A line's end, `\n`, may stand before it, and its letter be taken for one of the name.
        [b'n' | b'r' | b't', rest @ ..] if is_left_before(rest) => true,
        [_, rest @ ..] if rest == ESCAPED_QUOTE => true,
        rest => damaged(rest) || ESCAPED_QUOTE.ends_with(rest),
    }
}

/// The same behind a name: an intact backslash is no letter, so either all of it is left or none.
fn is_left_behind(letters: &[u8]) -> bool {
    match letters {
        [] | [_] => true,
        [_, rest @ ..] => rest == ESCAPED_QUOTE,
    }
}

impl<'t> Iterator for Mentions<'t> {
    type Item = Mention<'t>;

    fn next(&mut self) -> Option<Mention<'t>> {
        loop {
            let glyph = self.glyphs.peek()?;
            if !glyph.is_of_word() {
                self.glyphs.next();
                self.pass(glyph);
                continue;
            }
            let (before, before_quote) = (self.last, self.marks.0);
            self.read_word();
            let borrowed = usize::from(self.borrowed.is_some());
            let exact = self
                .word
                .get(borrowed..)
                .is_some_and(|word| self.vocabulary.forbids_bytes(word));
            self.pass(Glyph {
                character: 'w',
                ..glyph
            });
            if self.is_forbidden() {
                return Some(Mention {
                    before,
                    before_quote,
                    exact,
                    behind: self.glyphs,
                    end: self.glyphs.at,
                });
            }
        }
    }
}
