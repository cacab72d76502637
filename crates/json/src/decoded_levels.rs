//! Decodes a text level by level: JSON escapes, and percent-encoding.
//!
//! # Why
//!
//! A string may contain JSON, which may contain a string that contains JSON, or an encoded URL, and so
//! on. What is hidden by that is readable at one of these levels, so each of them is searched. A level
//! is decoded exactly as a reader of that level would do it: `\\\u0075\u0030…` is an escape of an
//! escape. Each character keeps the offset at which it begins in the original, so that a finding is
//! cut out of the original.

use std::ops::Range;

/// What is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoding {
    /// `\u0065`, `\/`, `\n`.
    Json,
    /// `%65`.
    Percent,
}

/// Reads the encoded character that a text begins with: the character, and the length of its encoding.
type ReadEncoded = fn(&str) -> Option<(char, usize)>;

/// A text after some decodings.
pub(crate) struct DecodedLevel {
    text: String,
    /// For each byte of the text, the offset in the original at which its character begins; then the
    /// length of the original.
    starts: Vec<u32>,
}

impl DecodedLevel {
    /// The original; `None` if it is longer than offsets reach.
    pub(crate) fn of(original: &str) -> Option<Self> {
        // No body has 4 GiB.
        let length = u32::try_from(original.len()).ok()?;
        Some(Self { text: original.to_owned(), starts: (0..=length).collect() })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The next level; `None` if nothing is encoded.
    pub(crate) fn decode(&self, decoding: Decoding) -> Option<Self> {
        let (mark, read): (_, ReadEncoded) = match decoding {
            Decoding::Json => ('\\', read_escape),
            Decoding::Percent => ('%', read_percent),
        };
        // `contains` is vectorized, and most texts have no mark.
        if !self.text.contains(mark) {
            return None;
        }
        let mut next = Self {
            text: String::with_capacity(self.text.len()),
            starts: Vec::with_capacity(self.starts.len()),
        };
        let mut at = 0;
        let mut is_changed = false;
        while let Some(rest) = self.text.get(at..)
            && let Some(offset) = rest.find(mark)
        {
            next.copy(self, at..at + offset);
            at += offset;
            match rest.get(offset..).and_then(read) {
                Some((character, length)) => {
                    next.push(character, self.original_offset(at));
                    at += length;
                    is_changed = true;
                }
                None => {
                    next.copy(self, at..at + 1);
                    at += 1;
                }
            }
        }
        next.copy(self, at..self.text.len());
        next.starts.extend(self.starts.last());
        is_changed.then_some(next)
    }

    fn copy(&mut self, from: &Self, range: Range<usize>) {
        self.text.push_str(from.text.get(range.clone()).unwrap_or_default());
        self.starts.extend_from_slice(from.starts.get(range).unwrap_or_default());
    }

    fn push(&mut self, character: char, start: u32) {
        self.text.push(character);
        self.starts.extend(std::iter::repeat_n(start, character.len_utf8()));
    }

    fn original_offset(&self, at: usize) -> u32 {
        self.starts.get(at).copied().unwrap_or_default()
    }

    /// The range of the original that a range of this level stands for.
    pub(crate) fn original(&self, range: Range<usize>) -> Range<usize> {
        self.original_offset(range.start) as usize..self.original_offset(range.end) as usize
    }

    /// Whether the character at an offset is encoded in the original.
    pub(crate) fn is_decoded_at(&self, at: usize) -> bool {
        let character = self.text.get(at..).and_then(|rest| rest.chars().next());
        character.is_some_and(|character| {
            let length = character.len_utf8();
            self.original(at..at + length).len() != length
        })
    }
}

/// Whether a text begins with a JSON escape.
pub(crate) fn is_escape(text: &str) -> bool {
    text.starts_with('\\') && read_escape(text).is_some()
}

/// The character that a JSON escape stands for, and its length. JavaScript's escapes are decoded too;
/// of a surrogate pair, each half is U+FFFD.
fn read_escape(text: &str) -> Option<(char, usize)> {
    let escaped = text.chars().nth(1)?;
    let digits = match escaped {
        'b' => return Some(('\u{8}', 2)),
        'f' => return Some(('\u{c}', 2)),
        'n' => return Some(('\n', 2)),
        'r' => return Some(('\r', 2)),
        't' => return Some(('\t', 2)),
        'u' | 'U' => 4,
        'x' | 'X' => 2,
        mark => return (!mark.is_alphanumeric()).then_some((mark, 1 + mark.len_utf8())),
    };
    let code = hexadecimal(text.as_bytes().get(2..2 + digits)?)?;
    Some((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 2 + digits))
}

/// The character that is written as `%` and two digits for each of its bytes, and its length. What is
/// no character is U+FFFD, and so is `&`, because an encoded one does not end a parameter.
fn read_percent(text: &str) -> Option<(char, usize)> {
    let byte_at = |index: usize| match text.as_bytes().get(index * 3..index * 3 + 3) {
        Some([b'%', digits @ ..]) => hexadecimal(digits).and_then(|byte| u8::try_from(byte).ok()),
        _ => None,
    };
    let first = byte_at(0)?;
    let length = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    let bytes: Option<Vec<u8>> = (0..length).map(byte_at).collect();
    let decoded = bytes.and_then(|bytes| {
        let character = std::str::from_utf8(&bytes).ok()?.chars().next()?;
        Some((character, 3 * length))
    });
    match decoded {
        Some(('&', length)) => Some((char::REPLACEMENT_CHARACTER, length)),
        // Bytes in no charset are data.
        decoded => Some(decoded.unwrap_or((char::REPLACEMENT_CHARACTER, 3))),
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |code, digit| Some(code * 16 + char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Decoding::{Json, Percent};

    fn decoded(text: &str, decodings: &[Decoding]) -> String {
        let mut level = DecodedLevel::of(text).unwrap();
        for decoding in decodings {
            level = level.decode(*decoding).unwrap();
        }
        level.text
    }

    #[test]
    fn each_level_is_decoded_as_by_its_reader() {
        for (text, decodings, expected) in [
            (r"\u0065yJ\/\n\\", &[Json][..], "eyJ/\n\\"),
            (r"\\\u0075\u0030065", &[Json, Json], "e"),
            (r"\\u0065", &[Json], r"\u0065"),
            (r"\ud83d\ude00 \q\", &[Json], "\u{fffd}\u{fffd} \\q\\"),
            ("%65%C2%A0%e4%26%zz%", &[Percent], "e\u{a0}\u{fffd}\u{fffd}%zz%"),
            (r"%2565 %5Cu0065", &[Percent, Json, Percent], "e e"),
        ] {
            assert_eq!(decoded(text, decodings), expected, "{text}");
        }
        let plain = DecodedLevel::of(r"plain\q %zz").unwrap();
        assert!(plain.decode(Json).is_none() && plain.decode(Percent).is_none());
    }

    #[test]
    fn a_range_of_a_level_is_one_of_the_original() {
        let text = r"é\\u0065y%4Ax";
        let level = DecodedLevel::of(text).unwrap();
        let level = level.decode(Json).unwrap().decode(Json).unwrap().decode(Percent).unwrap();
        assert_eq!(level.text(), "éeyJx");
        assert_eq!(&text[level.original(2..5)], r"\\u0065y%4A");
        assert_eq!(&text[level.original(0..6)], text);
        let encoded: Vec<bool> = [0, 2, 3, 4, 5].map(|at| level.is_decoded_at(at)).to_vec();
        assert_eq!(encoded, [false, true, false, true, false]);
    }
}
