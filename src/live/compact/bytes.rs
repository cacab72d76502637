//! Numbers and texts in few bytes.

use onrecord_evidence::event::instant::Millis;
use uuid::Uuid;

/// Length of a GUID in its hyphenated form.
const GUID_LENGTH: usize = 36;
/// Begins the 16 bytes of a GUID in a packed text.
const GUID: u8 = 1;
/// Begins a byte that would otherwise be one of these two marks.
const ESCAPE: u8 = 2;

/// Appends a number, seven bits in each byte.
pub(super) fn put_number(mut number: u64, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    into.push(number.to_le_bytes()[0]);
}

/// Appends a length or a place in a list.
pub(super) fn put_place(place: usize, into: &mut Vec<u8>) {
    put_number(place as u64, into);
}

/// Appends an instant as its distance from another one.
pub(super) fn put_instant(at: Millis, from: Millis, into: &mut Vec<u8>) {
    let distance = at.wrapping_sub(from);
    // The sign goes into the lowest bit, so that small distances are short.
    put_number(((distance << 1) ^ (distance >> 63)).cast_unsigned(), into);
}

/// A text in which each GUID takes 16 bytes.
pub(super) fn packed_text(text: &str) -> Vec<u8> {
    let mut packed = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(&byte) = rest.as_bytes().first() {
        let guid = rest.get(..GUID_LENGTH).and_then(hyphenated_guid);
        if let Some(guid) = guid {
            packed.push(GUID);
            packed.extend(guid);
            rest = rest.get(GUID_LENGTH..).unwrap_or_default();
            continue;
        }
        let length = rest.chars().next().map_or(1, char::len_utf8);
        let (one, after) = rest.split_at(length);
        if byte == GUID || byte == ESCAPE {
            packed.push(ESCAPE);
        }
        packed.extend_from_slice(one.as_bytes());
        rest = after;
    }
    packed
}

/// The text that was packed; `None`: it was none.
pub(super) fn unpacked_text(packed: &[u8]) -> Option<String> {
    let (mut text, mut reader) = (Vec::with_capacity(packed.len() * 2), ByteReader::new(packed));
    while let Some(byte) = reader.byte() {
        match byte {
            GUID => {
                let mut guid = Uuid::encode_buffer();
                let id = Uuid::from_slice(reader.take(16)?).ok()?;
                text.extend_from_slice(id.hyphenated().encode_lower(&mut guid).as_bytes());
            }
            ESCAPE => text.push(reader.byte()?),
            byte => text.push(byte),
        }
    }
    String::from_utf8(text).ok()
}

/// The bytes of a GUID that is written in lower case with hyphens.
pub(super) fn hyphenated_guid(text: &str) -> Option<[u8; 16]> {
    if text.len() != GUID_LENGTH {
        return None;
    }
    let id = Uuid::try_parse(text).ok()?;
    let mut written = Uuid::encode_buffer();
    (id.hyphenated().encode_lower(&mut written) == text).then(|| id.into_bytes())
}

/// The bytes of 32 hexadecimal digits in lower case.
pub(super) fn hexadecimal(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 {
        return None;
    }
    let id = Uuid::try_parse(text).ok()?;
    let mut written = Uuid::encode_buffer();
    (id.simple().encode_lower(&mut written) == text).then(|| id.into_bytes())
}

/// Reads what was appended.
#[derive(Clone, Copy)]
pub(super) struct ByteReader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> ByteReader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self::from(bytes, 0)
    }

    /// Begins at this place.
    pub(super) fn from(bytes: &'b [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// The place of the next byte.
    pub(super) fn place(&self) -> usize {
        self.at
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
            shift += 7;
        }
    }

    pub(super) fn place_in_list(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    pub(super) fn instant(&mut self, from: Millis) -> Option<Millis> {
        let number = self.number()?;
        let distance = (number >> 1).cast_signed() ^ -((number & 1).cast_signed());
        Some(from.wrapping_add(distance))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_raw_id_of_two_guids_takes_less_than_half() {
        let raw_id =
            "8:acs:11111111-1111-4111-8111-111111111111_0000000a-3a1b-8e4f-28f4-343a0d0061aa";
        let packed = packed_text(raw_id);
        assert_eq!(packed.len(), 41);
        assert_eq!(unpacked_text(&packed).as_deref(), Some(raw_id));
    }

    proptest! {
        #[test]
        fn a_text_comes_back(
            text in "(\\PC|[\u{0}-\u{4}]|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-fA-F]{12}){0,6}",
        ) {
            prop_assert_eq!(unpacked_text(&packed_text(&text)), Some(text));
        }

        #[test]
        fn numbers_and_instants_come_back(number: u64, at: Millis, from: Millis) {
            let mut bytes = Vec::new();
            put_number(number, &mut bytes);
            put_instant(at, from, &mut bytes);
            let mut reader = ByteReader::new(&bytes);
            prop_assert_eq!(reader.number(), Some(number));
            prop_assert_eq!(reader.instant(from), Some(at));
            prop_assert_eq!(reader.byte(), None);
        }
    }
}
