//! Decodes the charset of a text: by its byte order mark, by its zero bytes, or as stated.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// The charset that a content type states; `None` if it states none, or an unknown one.
pub(super) fn stated_charset(content_type: Option<&str>) -> Option<&'static Encoding> {
    let parameters = content_type?.split(';').skip(1);
    let mut charsets = parameters.filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches(['"', '\'']))
    });
    Encoding::for_label(charsets.next()?.trim().as_bytes())
}

/// Decodes bytes whose charset is not UTF-8; `None` if it is, or should be.
///
/// # Errors
///
/// The name of the charset, in which the bytes are no text.
pub(super) fn decode_charset(
    bytes: &[u8],
    stated: Option<&'static Encoding>,
) -> Result<Option<(String, &'static str)>, &'static str> {
    let encoding = charset_of(bytes, stated);
    if encoding == UTF_8 {
        return Ok(None);
    }
    let bytes = match bytes {
        // The last of some NULs after the text.
        [whole @ .., 0] if is_utf16(encoding) && whole.len().is_multiple_of(2) => whole,
        bytes => bytes,
    };
    let text = encoding.decode_without_bom_handling_and_without_replacement(bytes);
    text.map(|text| Some((text.into_owned(), encoding.name()))).ok_or_else(|| encoding.name())
}

fn is_utf16(encoding: &'static Encoding) -> bool {
    encoding == UTF_16LE || encoding == UTF_16BE
}

/// The charset of bytes. A byte order mark shows it, and so do the zero bytes of UTF-16, because JSON
/// begins with an ASCII character; what a content type states may be wrong.
fn charset_of(bytes: &[u8], stated: Option<&'static Encoding>) -> &'static Encoding {
    if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        return encoding;
    }
    match (bytes, stated) {
        ([0, second, ..], _) if *second != 0 => UTF_16BE,
        ([first, 0, ..], _) if *first != 0 => UTF_16LE,
        (_, Some(stated)) if is_utf16(stated) && std::str::from_utf8(bytes).is_ok() => UTF_8,
        (_, stated) => stated.unwrap_or(UTF_8),
    }
}
