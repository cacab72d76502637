//! An anchor as the bytes that its text stands for.

use onrecord_evidence::identity::alias_graph::Anchor;
use uuid::Uuid;

use super::bytes::{
    ByteReader, hexadecimal, hyphenated_guid, packed_text, put_number, put_place, unpacked_text,
};

/// Maximum number of anchors that others may have links to: as many bits are left beside the form.
pub(super) const MAX_UPPERS: usize = 60;

/// How an anchor is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum AnchorSpelling {
    /// A correlationId that is a GUID.
    Guid = 0,
    /// `s-` and 32 hexadecimal digits.
    Server = 1,
    /// `a-` and 32 hexadecimal digits.
    Alias = 2,
    /// Any other text.
    Text = 3,
}

/// An anchor in few bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PackedAnchor {
    form: AnchorSpelling,
    bytes: PackedBytes,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum PackedBytes {
    Id([u8; 16]),
    Text(Vec<u8>),
}

impl PackedAnchor {
    pub(super) fn of(anchor: &Anchor) -> Self {
        let text = anchor.as_str();
        let digits = |prefix, form| {
            let digits = text.strip_prefix(prefix).and_then(hexadecimal)?;
            Some((form, digits))
        };
        let guid = || hyphenated_guid(text).map(|id| (AnchorSpelling::Guid, id));
        let id = digits("s-", AnchorSpelling::Server)
            .or_else(|| digits("a-", AnchorSpelling::Alias))
            .or_else(guid);
        match id {
            Some((form, id)) => Self { form, bytes: PackedBytes::Id(id) },
            None => {
                Self { form: AnchorSpelling::Text, bytes: PackedBytes::Text(packed_text(text)) }
            }
        }
    }

    pub(super) fn to_anchor(&self) -> Option<Anchor> {
        let text = match &self.bytes {
            PackedBytes::Text(packed) => unpacked_text(packed)?,
            PackedBytes::Id(id) => {
                let id = Uuid::from_bytes(*id);
                match self.form {
                    AnchorSpelling::Server => format!("s-{}", id.simple()),
                    AnchorSpelling::Alias => format!("a-{}", id.simple()),
                    AnchorSpelling::Guid | AnchorSpelling::Text => id.hyphenated().to_string(),
                }
            }
        };
        Some(Anchor::from_stored(text))
    }

    /// Appends the anchor. Bit `n` of `uppers`: it has a link to the anchor at place `n` of its record.
    pub(super) fn put(&self, uppers: u64, into: &mut Vec<u8>) {
        put_number((uppers << 2) | self.form as u64, into);
        match &self.bytes {
            PackedBytes::Id(id) => into.extend_from_slice(id),
            PackedBytes::Text(text) => {
                put_place(text.len(), into);
                into.extend_from_slice(text);
            }
        }
    }

    /// Reads an anchor and its links.
    pub(super) fn read(reader: &mut ByteReader<'_>) -> Option<(Self, u64)> {
        let head = reader.number()?;
        let form = match head & 3 {
            0 => AnchorSpelling::Guid,
            1 => AnchorSpelling::Server,
            2 => AnchorSpelling::Alias,
            _ => AnchorSpelling::Text,
        };
        let bytes = if form == AnchorSpelling::Text {
            let length = reader.place_in_list()?;
            PackedBytes::Text(reader.take(length)?.to_vec())
        } else {
            PackedBytes::Id(reader.take(16)?.try_into().ok()?)
        };
        Some((Self { form, bytes }, head >> 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_an_anchor_comes_back() {
        let anchors = [
            Anchor::correlation("c0000000-0000-4000-8000-000000000001"),
            Anchor::correlation("C0000000-0000-4000-8000-000000000001"),
            Anchor::correlation("c1"),
            Anchor::server("https://s"),
            Anchor::attachment("t"),
            Anchor::from_stored("s-short".to_owned()),
            Anchor::from_stored("a-0123456789ABCDEF0123456789abcdef".to_owned()),
        ];
        let mut bytes = Vec::new();
        for anchor in &anchors {
            PackedAnchor::of(anchor).put(5, &mut bytes);
        }
        let mut reader = ByteReader::new(&bytes);
        for anchor in &anchors {
            let (packed, uppers) = PackedAnchor::read(&mut reader).unwrap();
            assert_eq!((packed.to_anchor().as_ref(), uppers), (Some(anchor), 5));
            assert_eq!(packed, PackedAnchor::of(anchor));
        }
    }
}
