//! Parses JSON (RFC 8259) into index entries, without recursion.

use super::entry::{JsonError, MAX_DEPTH, MAX_VALUES, ValueEntry, ValueKind};

/// Initial capacity of the entries; an Azure event has at most about this many.
const INITIAL_ENTRIES: usize = 128;

/// The token that the grammar allows next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ExpectedToken {
    Value,
    /// A value, or the end of an empty array.
    FirstValue,
    Name,
    /// A name, or the end of an empty object.
    FirstName,
    /// A comma, or the end of the innermost array or object.
    More,
}

/// Reads one value from the start of a text, without recursion.
pub(crate) struct GrammarReader<'t> {
    bytes: &'t [u8],
    at: usize,
    entries: Vec<ValueEntry>,
    /// Indices of the arrays and objects that are not closed yet.
    open: Vec<usize>,
}

impl<'t> GrammarReader<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self {
            bytes: text.as_bytes(),
            at: 0,
            entries: Vec::with_capacity(text.len().min(INITIAL_ENTRIES)),
            open: Vec::with_capacity(8),
        }
    }

    /// Reads one value; returns its entry, and all entries beginning with that one.
    ///
    /// # Errors
    ///
    /// [`JsonError`], with the offset from the start of the text.
    pub(crate) fn value(mut self) -> Result<(ValueEntry, Vec<ValueEntry>), JsonError> {
        use ExpectedToken::{FirstName, FirstValue, More, Name, Value};
        let mut expected = Value;
        loop {
            if !self.entries.is_empty() {
                self.skip_whitespace();
            }
            expected = match (expected, self.peek()) {
                (Value | FirstValue, Some(b'{')) => {
                    self.open_container(ValueKind::Object, FirstName)?
                }
                (Value | FirstValue, Some(b'[')) => {
                    self.open_container(ValueKind::Array, FirstValue)?
                }
                (FirstValue, Some(b']')) | (FirstName, Some(b'}')) => self.close_container()?,
                (More, Some(b']')) if self.is_in(ValueKind::Array) => self.close_container()?,
                (More, Some(b'}')) if self.is_in(ValueKind::Object) => self.close_container()?,
                (More, Some(b',')) => {
                    self.at += 1;
                    if self.is_in(ValueKind::Object) { Name } else { Value }
                }
                (Name | FirstName, Some(b'"')) => {
                    self.string()?;
                    self.skip_whitespace();
                    self.expect(|byte| byte == b':')?;
                    Value
                }
                (Value | FirstValue, Some(byte)) => {
                    self.scalar(byte)?;
                    More
                }
                _ => return Err(self.syntax_error()),
            };
            if self.entries.len() > MAX_VALUES {
                return Err(JsonError::Values);
            }
            if self.open.is_empty() {
                let root = self.entries.first().copied();
                return Ok((root.ok_or_else(|| self.syntax_error())?, self.entries));
            }
        }
    }

    fn open_container(
        &mut self,
        kind: ValueKind,
        next: ExpectedToken,
    ) -> Result<ExpectedToken, JsonError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(JsonError::Depth);
        }
        self.open.push(self.entries.len());
        self.at += 1;
        self.push(kind, self.at - 1, false);
        Ok(next)
    }

    fn close_container(&mut self) -> Result<ExpectedToken, JsonError> {
        self.at += 1;
        let opened = self.open.pop().ok_or_else(|| self.syntax_error())?;
        let descendants = self.entries.len() - opened - 1;
        if let Some(entry) = self.entries.get_mut(opened) {
            entry.end = self.at;
            entry.descendants = descendants;
        }
        Ok(ExpectedToken::More)
    }

    /// Whether the innermost open container is of this kind.
    fn is_in(&self, kind: ValueKind) -> bool {
        let innermost = self.open.last().and_then(|index| self.entries.get(*index));
        innermost.is_some_and(|entry| entry.kind == kind)
    }

    /// Appends the entry of the value from `start` to here.
    fn push(&mut self, kind: ValueKind, start: usize, escaped: bool) {
        self.entries.push(ValueEntry { kind, escaped, start, end: self.at, descendants: 0 });
    }

    fn scalar(&mut self, first: u8) -> Result<(), JsonError> {
        match first {
            b'"' => self.string(),
            b't' => self.literal(b"true", ValueKind::True),
            b'f' => self.literal(b"false", ValueKind::False),
            b'n' => self.literal(b"null", ValueKind::Null),
            _ => self.number(),
        }
    }

    fn literal(&mut self, literal: &[u8], kind: ValueKind) -> Result<(), JsonError> {
        let start = self.at;
        if !self.bytes.get(start..).unwrap_or_default().starts_with(literal) {
            return Err(self.syntax_error());
        }
        self.at += literal.len();
        self.push(kind, start, false);
        Ok(())
    }

    fn string(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at += plain_length(self.bytes.get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.syntax_error()),
            }
        }
        self.at += 1;
        self.push(ValueKind::String, start, escaped);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        if self.skip(|byte| byte == b'u') {
            return (0..4).try_for_each(|_| self.expect(|byte| byte.is_ascii_hexdigit()));
        }
        self.expect(|byte| matches!(byte, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't'))
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        self.skip(|byte| byte == b'-');
        if !self.skip(|byte| byte == b'0') {
            self.digits()?;
        }
        if self.skip(|byte| byte == b'.') {
            self.digits()?;
        }
        if self.skip(|byte| matches!(byte, b'e' | b'E')) {
            self.skip(|byte| matches!(byte, b'+' | b'-'));
            self.digits()?;
        }
        self.push(ValueKind::Number, start, false);
        Ok(())
    }

    /// Reads one or more digits.
    fn digits(&mut self) -> Result<(), JsonError> {
        self.expect(|byte| byte.is_ascii_digit())?;
        while self.skip(|byte| byte.is_ascii_digit()) {}
        Ok(())
    }

    /// Skips one byte, which must be one of these.
    fn expect(&mut self, is_one: impl FnOnce(u8) -> bool) -> Result<(), JsonError> {
        if self.skip(is_one) { Ok(()) } else { Err(self.syntax_error()) }
    }

    /// Skips one byte if it is one of these; returns whether it is.
    fn skip(&mut self, is_one: impl FnOnce(u8) -> bool) -> bool {
        let found = self.peek().is_some_and(is_one);
        self.at += usize::from(found);
        found
    }

    fn skip_whitespace(&mut self) {
        while self.skip(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {}
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn syntax_error(&self) -> JsonError {
        JsonError::Syntax { at: self.at }
    }
}

/// The number of bytes before the first one that a string cannot have as it is: a quotation mark, a backslash or a
/// control character.
///
/// # Why
///
/// Most bytes of an event are in strings, so eight are compared at a time.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH_BITS: u64 = u64::from_ne_bytes([0x80; 8]);
    // Whether a byte is below `limit`, which is at most 0x80.
    let has_less =
        |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGH_BITS != 0;
    let has = |word: u64, byte: u8| has_less(word ^ (ONES * u64::from(byte)), 1);
    let (words, _) = bytes.as_chunks::<8>();
    let plain = words.iter().take_while(|word| {
        let word = u64::from_ne_bytes(**word);
        !(has_less(word, 0x20) | has(word, b'"') | has(word, b'\\'))
    });
    let compared = 8 * plain.count();
    let rest = bytes.get(compared..).unwrap_or_default();
    let is_plain = |byte: &&u8| !matches!(byte, 0..=0x1f | b'"' | b'\\');
    compared + rest.iter().take_while(is_plain).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_part_of_a_string_ends_at_each_byte_that_must_be_escaped() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                let mut bytes = [b'a'; 20];
                bytes[at] = byte;
                let is_plain = byte > 0x1f && byte != b'"' && byte != b'\\';
                assert_eq!(plain_length(&bytes), if is_plain { 20 } else { at }, "{byte} at {at}");
                // Bytes with the high bit are before it.
                bytes[..at].fill(0xff);
                assert_eq!(plain_length(&bytes), if is_plain { 20 } else { at }, "{byte} at {at}");
            }
        }
        assert_eq!(plain_length(b""), 0);
    }
}
