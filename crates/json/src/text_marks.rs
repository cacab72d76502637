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
    /// What is escaped in a JSON pointer.
    pub(crate) const POINTER: u8 = 128;

    /// The marks of a string.
    pub(crate) fn of(text: &str) -> Self {
        Self(text.bytes().fold(0, |marks, byte| marks | OF_BYTE[usize::from(byte)]))
    }

    const fn of_byte(byte: u8) -> u8 {
        let mut marks = match byte {
            b'"' | b'\'' | b'=' => Self::NAMING,
            b'\\' | b'%' => Self::NAMING | Self::ESCAPE,
            b'J' => Self::CAPITAL_J,
            b'@' => Self::AT,
            b'r' | b'R' => Self::LETTER_R,
            b'~' | b'/' => Self::POINTER,
            b':' | b'+' | b'<' | b'(' | b'[' | b'{' | b'`' => Self::JOINT,
            _ => 0,
        };
        if byte <= b' ' || byte >= 0x80 {
            marks |= Self::BLANK;
        }
        marks
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

/// The marks of each byte. A look-up for each costs less than comparisons, because most texts are short.
const OF_BYTE: [u8; 256] = {
    let mut marks = [0; 256];
    let mut byte = 0;
    while byte < marks.len() {
        #[expect(clippy::cast_possible_truncation, reason = "an index of 256 values")]
        let of_byte = TextMarks::of_byte(byte as u8);
        marks[byte] = of_byte;
        byte += 1;
    }
    marks
};
