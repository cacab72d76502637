//! Decodes a body: its content codings, then its charset, to text.
//!
//! # Why
//!
//! A proxy may compress a body, and a sender may write another charset than UTF-8. What is read and
//! stored is the text; the hash stays that of the bytes as received, and both encodings are kept with
//! it. What comes out is limited and counted like what comes in, so that a small body cannot become a
//! large one unnoticed. A body that cannot be decoded is still received: it goes to quarantine
//! (`NOTHING_LOST`).

use std::borrow::Cow;

use axum::http::{HeaderMap, header};
use onrecord_evidence::event::ids::Digest;

use super::charset::{decode_charset, stated_charset};
use super::content_coding::{ContentCoding, UnpackError, recognized, unpack};
use super::output_limits::{DecodeRefusal, OutputLimits};
use crate::ingest::quarantine::QuarantineReason;
use crate::ingest::redact::kept_header;

/// Maximum content codings of a body.
const MAX_CODINGS: usize = 4;

/// How the text of a body was encoded, if not as plain UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BodyEncoding {
    /// The content codings, in the order in which they were applied: `gzip`, `gzip, br`.
    pub content_coding: Option<String>,
    /// The charset, lower case: `utf-16le`, `windows-1252`.
    pub charset: Option<String>,
}

/// A body and its text.
#[derive(Clone)]
pub struct DecodedBody<'b> {
    received: &'b [u8],
    /// The text, or why there is none.
    text: Result<Cow<'b, str>, QuarantineReason>,
    encoding: BodyEncoding,
    /// The hash of the bytes as received, if they are not the bytes of the text.
    received_digest: Option<Digest>,
}

/// Whether a body has content codings, so that decoding it takes time.
pub(crate) fn is_coded(headers: &HeaderMap, body: &[u8]) -> bool {
    headers.contains_key(header::CONTENT_ENCODING) || recognized(body).is_some()
}

/// Decodes a body.
///
/// # Errors
///
/// [`DecodeRefusal`]: what comes out is not unpacked further.
pub(crate) fn decode_body<'b>(
    headers: &HeaderMap,
    body: &'b [u8],
    mut limits: OutputLimits<'_>,
) -> Result<DecodedBody<'b>, DecodeRefusal> {
    // Bytes beyond ASCII name no charset, and no coding.
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let stated = headers.get_all(header::CONTENT_ENCODING).iter();
    let stated: Vec<_> = stated.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let (unpacked, coding) = match unpack_all(&stated.join(","), body, &mut limits)? {
        Unpacked::Body(unpacked, coding) => (unpacked, coding),
        Unpacked::Failed { coding } => {
            let text = Err(QuarantineReason::NotDecoded { coding: coding.clone() });
            let encoding = BodyEncoding { content_coding: Some(coding), charset: None };
            return Ok(DecodedBody { received: body, text, encoding, received_digest: None });
        }
    };
    let (text, charset) = text_of(unpacked, stated_charset(content_type));
    if let Ok(Cow::Owned(text)) = &text {
        if text.len() > limits.max {
            return Err(DecodeRefusal::TooLarge);
        }
        // Of codings alone the bytes were taken while they came out.
        if charset.is_some() && !(limits.grow)(text.len()) {
            return Err(DecodeRefusal::NoCapacity);
        }
    }
    let is_as_received = matches!(text, Ok(Cow::Borrowed(_)) | Err(_));
    let encoding =
        BodyEncoding { content_coding: coding, charset: charset.map(str::to_ascii_lowercase) };
    let received_digest = (!is_as_received).then(|| Digest::of(body));
    Ok(DecodedBody { received: body, text, encoding, received_digest })
}

impl<'b> DecodedBody<'b> {
    /// A body without content codings and stated charset.
    #[must_use]
    pub fn uncoded(body: &'b [u8]) -> Self {
        let (text, charset) = text_of(Cow::Borrowed(body), None);
        let encoding =
            BodyEncoding { content_coding: None, charset: charset.map(str::to_ascii_lowercase) };
        let received_digest = matches!(text, Ok(Cow::Owned(_))).then(|| Digest::of(body));
        Self { received: body, text, encoding, received_digest }
    }

    /// The bytes as received.
    pub(crate) fn received(&self) -> &'b [u8] {
        self.received
    }

    /// The text without what some senders write around it: byte order marks, NUL, blanks.
    ///
    /// # Errors
    ///
    /// [`QuarantineReason`]: the body is not text.
    pub(crate) fn text(&self) -> Result<&str, QuarantineReason> {
        let text = self.text.as_deref().map_err(Clone::clone)?;
        Ok(text.trim_start_matches(is_filler).trim_end_matches(is_filler))
    }

    /// The number of bytes of the text before [`DecodedBody::text`].
    pub(crate) fn text_start(&self) -> usize {
        let text = self.text.as_deref().unwrap_or_default();
        text.len() - text.trim_start_matches(is_filler).len()
    }

    /// How the text was encoded.
    pub(crate) fn encoding(&self) -> &BodyEncoding {
        &self.encoding
    }

    /// The hash of the bytes as received, if they are not the bytes of the text: it is that of the
    /// whole body, because its parts cannot be told apart before they are decoded.
    pub(crate) fn received_digest(&self) -> Option<Digest> {
        self.received_digest
    }
}

/// Whether a character around the JSON means nothing.
fn is_filler(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\0' | '\u{feff}')
}

enum Unpacked<'b> {
    /// The body without its codings, and their names.
    Body(Cow<'b, [u8]>, Option<String>),
    /// A coding is unknown, or the body is damaged.
    Failed { coding: String },
}

/// Removes the stated codings, the last one first, and those that are not stated but recognized.
fn unpack_all<'b>(
    stated: &str,
    body: &'b [u8],
    limits: &mut OutputLimits<'_>,
) -> Result<Unpacked<'b>, DecodeRefusal> {
    let mut names: Vec<&str> = stated
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"))
        .collect();
    let failed = || {
        let mut coding = kept_header(stated).to_ascii_lowercase();
        if coding.is_empty() {
            coding.push_str("unstated");
        }
        Ok(Unpacked::Failed { coding })
    };
    if names.len() > MAX_CODINGS {
        return failed();
    }
    let mut unpacked = Cow::Borrowed(body);
    let mut removed = Vec::new();
    loop {
        let coding = match names.pop() {
            // A proxy removed the coding, and not the header.
            Some(_) if looks_like_json(&unpacked) => continue,
            Some(name) => match ContentCoding::of(name) {
                Some(coding) => coding,
                None => return failed(),
            },
            None => match recognized(&unpacked) {
                Some(coding) => coding,
                None => break,
            },
        };
        if removed.len() == MAX_CODINGS {
            return failed();
        }
        unpacked = match unpack(coding, &unpacked, limits) {
            Ok(bytes) => Cow::Owned(bytes),
            Err(UnpackError::Refused(refusal)) => return Err(refusal),
            Err(UnpackError::Damaged) => return failed(),
        };
        removed.push(coding.name());
    }
    removed.reverse();
    Ok(Unpacked::Body(unpacked, (!removed.is_empty()).then(|| removed.join(", "))))
}

/// Whether the bytes are text that begins like an event or an array of events. No coding makes such.
fn looks_like_json(bytes: &[u8]) -> bool {
    let (text, _) = text_of(Cow::Borrowed(bytes), None);
    text.is_ok_and(|text| text.trim_start_matches(is_filler).starts_with(['{', '[']))
}

/// The text of bytes, and its charset if it is not UTF-8.
fn text_of<'b>(
    bytes: Cow<'b, [u8]>,
    stated: Option<&'static encoding_rs::Encoding>,
) -> (Result<Cow<'b, str>, QuarantineReason>, Option<&'static str>) {
    match decode_charset(&bytes, stated) {
        // Plain UTF-8 is not copied.
        Ok(None) => (utf8(bytes), None),
        Ok(Some((text, charset))) => (Ok(Cow::Owned(text)), Some(charset)),
        Err(charset) => (Err(QuarantineReason::NotInCharset { charset }), Some(charset)),
    }
}

fn utf8(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, QuarantineReason> {
    let not_text =
        |error: std::str::Utf8Error| QuarantineReason::NotText { at: error.valid_up_to() };
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(not_text),
        Cow::Owned(bytes) => {
            String::from_utf8(bytes).map(Cow::Owned).map_err(|error| not_text(error.utf8_error()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 64 * 1024;
    const JSON: &str = r#"[{"name":"Jürgen €"}]"#;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
        let mut writer =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 3).unwrap()
    }

    /// [`JSON`], compressed with Brotli by Node.js.
    const BROTLI: &[u8] = &[
        0x8b, 0x0b, 0x80, 0x5b, 0x7b, 0x22, 0x6e, 0x61, 0x6d, 0x65, 0x22, 0x3a, 0x22, 0x4a, 0xc3,
        0xbc, 0x72, 0x67, 0x65, 0x6e, 0x20, 0xe2, 0x82, 0xac, 0x22, 0x7d, 0x5d, 0x03,
    ];
    /// 5 MiB of blanks, compressed with Brotli by Node.js.
    const BROTLI_BLANKS: &[u8] =
        &[0x9b, 0xff, 0xff, 0x4f, 0xf8, 0x25, 0x40, 0xe2, 0xb1, 0x40, 0x20, 0xf7, 0xfe, 0x09];

    fn headers(content_type: Option<&str>, codings: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for coding in codings {
            headers.append(header::CONTENT_ENCODING, HeaderValue::from_str(coding).unwrap());
        }
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        }
        headers
    }

    fn decoded<'b>(
        headers: &HeaderMap,
        body: &'b [u8],
        capacity: usize,
    ) -> Result<DecodedBody<'b>, DecodeRefusal> {
        let mut left = capacity;
        let mut grow = |bytes| {
            let fits = left.checked_sub(bytes);
            left = fits.unwrap_or(left);
            fits.is_some()
        };
        decode_body(headers, body, OutputLimits { max: MAX, grow: &mut grow })
    }

    fn text(content_type: Option<&str>, codings: &[&str], body: &[u8]) -> (String, BodyEncoding) {
        let headers = headers(content_type, codings);
        let body = decoded(&headers, body, MAX).unwrap();
        (body.text().unwrap().to_owned(), body.encoding().clone())
    }

    fn encoded(content_coding: Option<&str>, charset: Option<&str>) -> BodyEncoding {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        BodyEncoding { content_coding: owned(content_coding), charset: owned(charset) }
    }

    fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    }

    #[test]
    fn a_body_in_any_content_coding_is_unpacked() {
        let json = JSON.as_bytes();
        let two_members = [gzip(&json[..7]), gzip(&json[7..])].concat();
        let padded = [gzip(json), vec![0; 512]].concat();
        for (codings, body, kept) in [
            (&["gzip"][..], gzip(json), "gzip"),
            (&["GZIP"], gzip(json), "gzip"),
            (&["x-gzip"], two_members, "gzip"),
            (&["gzip"], padded, "gzip"),
            (&["deflate"], zlib(json), "deflate"),
            (&["deflate"], raw_deflate(json), "deflate"),
            (&["br"], BROTLI.to_vec(), "br"),
            (&["zstd"], zstd(json), "zstd"),
            (&["zstd"], [zstd(&json[..7]), zstd(&json[7..])].concat(), "zstd"),
            (&["br, gzip"], gzip(BROTLI), "br, gzip"),
            (&["deflate", "identity, gzip"], gzip(&zlib(json)), "deflate, gzip"),
            (&["gzip, gzip"], gzip(&gzip(json)), "gzip, gzip"),
            // The head does not state them.
            (&[], gzip(json), "gzip"),
            (&["identity"], zstd(json), "zstd"),
            (&["gzip"], gzip(&gzip(json)), "gzip, gzip"),
        ] {
            let expected = (JSON.to_owned(), encoded(Some(kept), None));
            assert_eq!(text(None, codings, &body), expected, "{codings:?} {kept}");
        }
    }

    #[test]
    fn a_body_whose_coding_a_proxy_has_removed_is_read_as_it_is() {
        for coding in ["gzip", "deflate", "br", "zstd", "compress", "utf-8", "gzip, br"] {
            let expected = (JSON.to_owned(), encoded(None, None));
            assert_eq!(text(None, &[coding], JSON.as_bytes()), expected, "{coding}");
        }
    }

    #[test]
    fn a_body_that_cannot_be_unpacked_goes_to_quarantine_with_its_coding() {
        let mut damaged = gzip(JSON.as_bytes());
        damaged[14] ^= 0xff;
        let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 3].to_vec();
        for (coding, body) in [
            ("gzip", damaged),
            ("gzip", cut(gzip(JSON.as_bytes()))),
            ("deflate", cut(zlib(JSON.as_bytes()))),
            ("deflate", b"\xff\xff\xff".to_vec()),
            ("br", cut(BROTLI.to_vec())),
            ("zstd", cut(zstd(JSON.as_bytes()))),
            ("compress", b"\x1f\x9d\x90".to_vec()),
            ("gzip", b"\x00\x01".to_vec()),
            ("gzip, gzip, gzip, gzip, gzip", gzip(b"x")),
        ] {
            let headers = headers(None, &[coding]);
            let body = decoded(&headers, &body, MAX).unwrap();
            let reason = QuarantineReason::NotDecoded { coding: coding.to_owned() };
            assert_eq!(body.text(), Err(reason), "{coding}");
            assert_eq!(body.encoding(), &encoded(Some(coding), None));
        }
    }

    #[test]
    fn nothing_is_unpacked_beyond_the_limits() {
        let blanks = vec![b' '; 16 << 20];
        for (coding, body) in [
            ("gzip", gzip(&blanks)),
            ("gzip, gzip", gzip(&gzip(&blanks))),
            ("deflate", zlib(&blanks)),
            ("deflate", raw_deflate(&blanks)),
            ("br", BROTLI_BLANKS.to_vec()),
            ("zstd", zstd(&blanks)),
        ] {
            assert!(body.len() < MAX, "{coding}");
            let headers = headers(None, &[coding]);
            let refusal = |capacity| decoded(&headers, &body, capacity).map(|_| ()).unwrap_err();
            assert_eq!(refusal(usize::MAX), DecodeRefusal::TooLarge, "{coding}");
            assert_eq!(refusal(MAX / 2), DecodeRefusal::NoCapacity, "{coding}");
        }
        // A text in another charset grows too.
        let euros = vec![0x80; MAX / 2];
        let headers = headers(Some("text/plain; charset=windows-1252"), &[]);
        let refusal = |capacity| decoded(&headers, &euros, capacity).map(|_| ()).unwrap_err();
        assert_eq!(refusal(usize::MAX), DecodeRefusal::TooLarge);
        assert_eq!(
            decoded(&headers, &euros[..MAX / 4], MAX / 2).err(),
            Some(DecodeRefusal::NoCapacity)
        );
    }

    #[test]
    fn a_body_in_another_charset_is_transcoded() {
        let (le, be) = (utf16(JSON, u16::to_le_bytes), utf16(JSON, u16::to_be_bytes));
        let marked = |mark: &[u8], bytes: &[u8]| [mark, bytes].concat();
        let latin = b"[{\"name\":\"J\xfcrgen \x80\"}]".to_vec();
        for (content_type, body, charset) in [
            (None, JSON.as_bytes().to_vec(), None),
            (Some("application/json; charset=utf-8"), JSON.as_bytes().to_vec(), None),
            (Some("application/json"), marked(b"\xef\xbb\xbf", JSON.as_bytes()), None),
            (None, marked(b"\xff\xfe", &le), Some("utf-16le")),
            (None, marked(b"\xfe\xff", &be), Some("utf-16be")),
            (Some("application/json; charset=utf-16"), le.clone(), Some("utf-16le")),
            (Some("application/json;charset=\"UTF-16\""), be.clone(), Some("utf-16be")),
            (Some("application/json; charset=utf-8"), le.clone(), Some("utf-16le")),
            (None, marked(&be, &[0, 0]), Some("utf-16be")),
            (None, marked(&le, &[0]), Some("utf-16le")),
            (Some("application/json; charset=utf-16le"), JSON.as_bytes().to_vec(), None),
            (Some("application/json; charset=ISO-8859-1"), latin.clone(), Some("windows-1252")),
            (Some("application/json; v=1; Charset=cp1252"), latin, Some("windows-1252")),
            (Some("application/json; charset=unheard-of"), JSON.as_bytes().to_vec(), None),
        ] {
            let expected = (JSON.to_owned(), encoded(None, charset));
            assert_eq!(text(content_type, &[], &body), expected, "{content_type:?} {charset:?}");
        }
        let both = gzip(&utf16(JSON, u16::to_le_bytes));
        let expected = (JSON.to_owned(), encoded(Some("gzip"), Some("utf-16le")));
        assert_eq!(text(None, &["gzip"], &both), expected);
    }

    #[test]
    fn what_is_around_the_text_is_left_out_and_what_is_no_text_is_said_to_be_none() {
        let around = [b"\xef\xbb\xbf \r\n", JSON.as_bytes(), b"\n\0\0 \x0c\0"].concat();
        assert_eq!(text(None, &[], &around).0, JSON);
        for (content_type, body, reason) in [
            (None, &b"{\"a\":\"\xff\"}"[..], QuarantineReason::NotText { at: 6 }),
            (
                None,
                b"\xff\xfe\x00\xd8x\x00",
                QuarantineReason::NotInCharset { charset: "UTF-16LE" },
            ),
            (
                Some("text/plain; charset=shift_jis"),
                b"\xff\xff",
                QuarantineReason::NotInCharset { charset: "Shift_JIS" },
            ),
        ] {
            let headers = headers(content_type, &[]);
            assert_eq!(decoded(&headers, body, MAX).unwrap().text(), Err(reason));
        }
    }

    #[test]
    fn the_hash_is_that_of_the_bytes_as_received() {
        for (body, is_other) in [
            (JSON.as_bytes().to_vec(), false),
            ([b"\xef\xbb\xbf", JSON.as_bytes()].concat(), false),
            (gzip(JSON.as_bytes()), true),
            (utf16(JSON, u16::to_le_bytes), true),
        ] {
            let digest = decoded(&HeaderMap::new(), &body, MAX).unwrap().received_digest();
            assert_eq!(digest, is_other.then(|| Digest::of(&body)));
            assert_eq!(DecodedBody::uncoded(JSON.as_bytes()).received_digest(), None);
        }
    }

    proptest! {
        #[test]
        fn bytes_in_any_coding_come_out_as_they_went_in_or_not_at_all(
            json in r#"\{"a":"[a-zé]{0,200}"\}"#,
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            for (coding, body) in [
                ("gzip", gzip(json.as_bytes())),
                ("deflate", zlib(json.as_bytes())),
                ("zstd", zstd(json.as_bytes())),
            ] {
                let headers = headers(None, &[coding]);
                let whole = decoded(&headers, &body, MAX).unwrap();
                prop_assert_eq!(whole.text().unwrap(), json.as_str());
                let mut damaged = body.clone();
                let place = at.index(damaged.len());
                damaged[place] = byte;
                // No damage may end a node.
                let _ = decoded(&headers, &damaged, MAX).map(|body| body.text().map(str::len));
            }
        }
    }
}
