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
                (More, Some(close @ (b']' | b'}'))) if self.closes(close) => {
                    self.close_container()?
                }
                (More, Some(b',')) => {
                    self.at += 1;
                    if self.innermost() == Some(ValueKind::Object) {
                        Name
                    } else {
                        Value
                    }
                }
                (Name | FirstName, Some(b'"')) => {
                    self.string()?;
                    self.skip_whitespace();
                    self.expect(b':')?;
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
        self.push(kind, self.at + 1);
        Ok(next)
    }

    fn close_container(&mut self) -> Result<ExpectedToken, JsonError> {
        self.at += 1;
        let opened = self.open.pop().ok_or_else(|| self.syntax_error())?;
        let descendants = self.entries.len() - opened - 1;
        let end = self.at;
        if let Some(entry) = self.entries.get_mut(opened) {
            entry.end = end;
            entry.descendants = descendants;
        }
        Ok(ExpectedToken::More)
    }

    fn innermost(&self) -> Option<ValueKind> {
        let entry = self.entries.get(*self.open.last()?)?;
        Some(entry.kind)
    }

    fn closes(&self, close: u8) -> bool {
        match self.innermost() {
            Some(ValueKind::Object) => close == b'}',
            Some(ValueKind::Array) => close == b']',
            _ => false,
        }
    }

    /// Appends the entry of the value from here to `end`.
    fn push(&mut self, kind: ValueKind, end: usize) {
        let start = self.at;
        self.entries.push(ValueEntry {
            kind,
            escaped: false,
            start,
            end,
            descendants: 0,
        });
        self.at = end;
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
        let here = self.bytes.get(self.at..).unwrap_or_default();
        if !here.starts_with(literal) {
            return Err(self.syntax_error());
        }
        self.push(kind, self.at + literal.len());
        Ok(())
    }

    fn string(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0..=0x1f) | None => return Err(self.syntax_error()),
                Some(_) => self.at += 1,
            }
        }
        let end = self.at + 1;
        self.at = start;
        self.push(ValueKind::String, end);
        if let Some(entry) = self.entries.last_mut() {
            entry.escaped = escaped;
        }
        Ok(())
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(self.syntax_error());
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.syntax_error()),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let end = self.at;
        self.at = start;
        self.push(ValueKind::Number, end);
        Ok(())
    }

    /// Reads one or more digits.
    fn digits(&mut self) -> Result<(), JsonError> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.syntax_error());
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return Err(self.syntax_error());
        }
        self.at += 1;
        Ok(())
    }

    fn skip_whitespace(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn syntax_error(&self) -> JsonError {
        JsonError::Syntax { at: self.at }
    }
}
