//! Which characters a string has, by which most strings are known to be clean without a search.

/// Which of some characters occur in a string.
#[derive(Clone, Copy)]
pub(crate) struct TextMarks(u8);

impl TextMarks {
    /// A quotation mark, an equals sign, or what may encode one.
    pub(crate) const NAMING: u8 = 1;
    /// Each JSON Web Token begins with `eyJ`.
    pub(crate) const CAPITAL_J: u8 = 2;
    pub(crate) const AT: u8 = 4;
    pub(crate) const SPACE: u8 = 8;

    /// The marks of a string.
    pub(crate) fn of(text: &str) -> Self {
        // A fold without early exit is vectorized by the compiler.
        let marks = text.bytes().fold(0, |marks, byte| {
            let is_naming = (byte == b'"')
                | (byte == b'\'')
                | (byte == b'=')
                | (byte == b'\\')
                | (byte == b'%');
            marks
                | (u8::from(is_naming) * Self::NAMING)
                | (u8::from(byte == b'J') * Self::CAPITAL_J)
                | (u8::from(byte == b'@') * Self::AT)
                | (u8::from(byte == b' ') * Self::SPACE)
        });
        Self(marks)
    }

    /// Whether the string has one of these marks.
    pub(crate) fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    /// Whether the string has none of all.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}
