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
    /// A blank, a control character, or what is not ASCII: some of that is white space.
    pub(crate) const BLANK: u8 = 8;
    /// What begins an escape.
    pub(crate) const ESCAPE: u8 = 16;
    /// The last letter of `Bearer`.
    pub(crate) const LETTER_R: u8 = 32;
    /// Punctuation that may be before a token.
    pub(crate) const JOINT: u8 = 64;

    /// The marks of a string.
    pub(crate) fn of(text: &str) -> Self {
        // A fold without early exit is vectorized by the compiler.
        let marks = text.bytes().fold(0, |marks, byte| {
            let is_escape = (byte == b'\\') | (byte == b'%');
            let is_naming = (byte == b'"') | (byte == b'\'') | (byte == b'=') | is_escape;
            marks
                | (u8::from(is_naming) * Self::NAMING)
                | (u8::from(is_escape) * Self::ESCAPE)
                | (u8::from(byte == b'J') * Self::CAPITAL_J)
                | (u8::from(byte == b'@') * Self::AT)
                | (u8::from((byte <= b' ') | (byte >= 0x80)) * Self::BLANK)
                | (u8::from(byte | 0x20 == b'r') * Self::LETTER_R)
                | (u8::from(matches!(byte, b':' | b'+' | b'<' | b'(' | b'[' | b'{' | b'`'))
                    * Self::JOINT)
        });
        Self(marks)
    }

    /// Whether the string has one of these marks.
    pub(crate) fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    /// Whether a string with these marks has nothing to search for.
    pub(crate) fn is_clean(self) -> bool {
        // A token and a private key have a name before them, which ends in R or r.
        let may_be_named = self.has(Self::LETTER_R) && self.has(Self::BLANK | Self::JOINT);
        !may_be_named && !self.has(Self::NAMING | Self::CAPITAL_J | Self::AT)
    }
}
