//! The grammar of JSON (RFC 8259), read into entries.

use super::json::{DEEPEST, Entry, Fault, Kind, MOST_VALUES};

/// An event has so many values and names, or a few less.
const USUAL: usize = 128;

/// What may stand next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Value,
    /// A value, or the end of an array that has none.
    FirstValue,
    Name,
    /// A name, or the end of an object that has none.
    FirstName,
    /// A comma or the end of what is open.
    More,
}

/// Reads one value from the start of a text, without recursion.
pub(super) struct Reader<'t> {
    bytes: &'t [u8],
    at: usize,
    entries: Vec<Entry>,
    /// Indices of the arrays and objects that are not closed yet.
    open: Vec<usize>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            bytes: text.as_bytes(),
            at: 0,
            entries: Vec::with_capacity(text.len().min(USUAL)),
            open: Vec::with_capacity(8),
        }
    }

    /// Reads one value: itself, and all entries beginning with it.
    ///
    /// # Errors
    ///
    /// [`Fault`], with the place counted from the start of the text.
    pub(super) fn value(mut self) -> Result<(Entry, Vec<Entry>), Fault> {
        use Expected::{FirstName, FirstValue, More, Name, Value};
        let mut expected = Value;
        loop {
            if !self.entries.is_empty() {
                self.skip_blanks();
            }
            expected = match (expected, self.peek()) {
                (Value | FirstValue, Some(b'{')) => self.enter(Kind::Object, FirstName)?,
                (Value | FirstValue, Some(b'[')) => self.enter(Kind::Array, FirstValue)?,
                (FirstValue, Some(b']')) | (FirstName, Some(b'}')) => self.leave()?,
                (More, Some(close @ (b']' | b'}'))) if self.closes(close) => self.leave()?,
                (More, Some(b',')) => {
                    self.at += 1;
                    if self.innermost() == Some(Kind::Object) {
                        Name
                    } else {
                        Value
                    }
                }
                (Name | FirstName, Some(b'"')) => {
                    self.text()?;
                    self.skip_blanks();
                    self.expect(b':')?;
                    Value
                }
                (Value | FirstValue, Some(byte)) => {
                    self.scalar(byte)?;
                    More
                }
                _ => return Err(self.fault()),
            };
            if self.entries.len() > MOST_VALUES {
                return Err(Fault::Values);
            }
            if self.open.is_empty() {
                let root = self.entries.first().copied();
                return Ok((root.ok_or_else(|| self.fault())?, self.entries));
            }
        }
    }

    fn enter(&mut self, kind: Kind, next: Expected) -> Result<Expected, Fault> {
        if self.open.len() >= DEEPEST {
            return Err(Fault::Depth);
        }
        self.open.push(self.entries.len());
        self.add(kind, self.at + 1);
        Ok(next)
    }

    fn leave(&mut self) -> Result<Expected, Fault> {
        self.at += 1;
        let opened = self.open.pop().ok_or_else(|| self.fault())?;
        let within = self.entries.len() - opened - 1;
        let end = self.at;
        if let Some(entry) = self.entries.get_mut(opened) {
            entry.end = end;
            entry.within = within;
        }
        Ok(Expected::More)
    }

    fn innermost(&self) -> Option<Kind> {
        let entry = self.entries.get(*self.open.last()?)?;
        Some(entry.kind)
    }

    fn closes(&self, close: u8) -> bool {
        match self.innermost() {
            Some(Kind::Object) => close == b'}',
            Some(Kind::Array) => close == b']',
            _ => false,
        }
    }

    /// Enters what lies from here to `end`.
    fn add(&mut self, kind: Kind, end: usize) {
        let start = self.at;
        self.entries.push(Entry {
            kind,
            escaped: false,
            start,
            end,
            within: 0,
        });
        self.at = end;
    }

    fn scalar(&mut self, first: u8) -> Result<(), Fault> {
        match first {
            b'"' => self.text(),
            b't' => self.word(b"true", Kind::True),
            b'f' => self.word(b"false", Kind::False),
            b'n' => self.word(b"null", Kind::Null),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Result<(), Fault> {
        let here = self.bytes.get(self.at..).unwrap_or_default();
        if !here.starts_with(word) {
            return Err(self.fault());
        }
        self.add(kind, self.at + word.len());
        Ok(())
    }

    fn text(&mut self) -> Result<(), Fault> {
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
                Some(0..=0x1f) | None => return Err(self.fault()),
                Some(_) => self.at += 1,
            }
        }
        let end = self.at + 1;
        self.at = start;
        self.add(Kind::Text, end);
        if let Some(entry) = self.entries.last_mut() {
            entry.escaped = escaped;
        }
        Ok(())
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(self.fault());
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.fault()),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
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
        self.add(Kind::Number, end);
        Ok(())
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), Fault> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.fault());
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.peek() != Some(byte) {
            return Err(self.fault());
        }
        self.at += 1;
        Ok(())
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fault(&self) -> Fault {
        Fault::Syntax { at: self.at }
    }
}
