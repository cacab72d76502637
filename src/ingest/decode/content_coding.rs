//! Removes one content coding of a body: gzip, deflate, Brotli, Zstandard.

use std::io::{BufRead as _, Read};

use flate2::bufread::{DeflateDecoder, GzDecoder, ZlibDecoder};

use super::output_limits::{DecodeRefusal, OutputLimits};

/// Size of the parts in which a body is unpacked; after each the limits are checked.
const STEP: usize = 16 * 1024;
/// Maximum window of Zstandard as a content coding, as a power of two (RFC 9659): 8 MiB.
const MAX_ZSTD_WINDOW_LOG: u32 = 23;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(ascii_case_insensitive)]
pub(super) enum ContentCoding {
    #[strum(to_string = "gzip", serialize = "x-gzip")]
    Gzip,
    /// The format of zlib by RFC 9110. Some senders omit its head and its checksum.
    #[strum(to_string = "deflate", serialize = "x-deflate")]
    Deflate,
    #[strum(to_string = "br")]
    Brotli,
    #[strum(to_string = "zstd", serialize = "x-zstd")]
    Zstd,
}

/// Why a body is not unpacked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UnpackError {
    /// It is not of this coding, or not all of it.
    Damaged,
    Refused(DecodeRefusal),
}

impl ContentCoding {
    /// The coding of this name.
    pub(super) fn of(name: &str) -> Option<Self> {
        // Any other name is that of no coding.
        name.parse().ok()
    }

    pub(super) fn name(self) -> &'static str {
        self.into()
    }
}

/// The coding that a body shows by its first bytes, which no text begins with.
pub(super) fn recognized(body: &[u8]) -> Option<ContentCoding> {
    match body {
        [0x1f, 0x8b, 0x08, ..] => Some(ContentCoding::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(ContentCoding::Zstd),
        _ => None,
    }
}

/// Removes a coding. Nothing is unpacked beyond the limits.
pub(super) fn unpack(
    coding: ContentCoding,
    body: &[u8],
    limits: &mut OutputLimits<'_>,
) -> Result<Vec<u8>, UnpackError> {
    match coding {
        ContentCoding::Gzip => gunzip(body, limits),
        ContentCoding::Deflate => inflate(body, limits),
        ContentCoding::Brotli => {
            let mut unpacked = Vec::new();
            let reader = brotli_decompressor::Decompressor::new(body, STEP);
            read_limited(reader, &mut unpacked, limits)?;
            Ok(unpacked)
        }
        ContentCoding::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(body).map_err(|_| UnpackError::Damaged)?;
            decoder.window_log_max(MAX_ZSTD_WINDOW_LOG).map_err(|_| UnpackError::Damaged)?;
            let mut unpacked = Vec::new();
            read_limited(decoder, &mut unpacked, limits)?;
            Ok(unpacked)
        }
    }
}

/// Unpacks each member of a gzip file; the file may end in NULs.
fn gunzip(mut body: &[u8], limits: &mut OutputLimits<'_>) -> Result<Vec<u8>, UnpackError> {
    let mut unpacked = Vec::new();
    loop {
        read_limited(GzDecoder::new(&mut body), &mut unpacked, limits)?;
        if body.iter().all(|byte| *byte == 0) {
            return Ok(unpacked);
        }
    }
}

fn inflate(body: &[u8], limits: &mut OutputLimits<'_>) -> Result<Vec<u8>, UnpackError> {
    let has_zlib_head = matches!(body, [first, second, ..]
        if first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31));
    let mut rest = body;
    let mut unpacked = Vec::new();
    if has_zlib_head {
        match read_limited(ZlibDecoder::new(&mut rest), &mut unpacked, limits) {
            Ok(()) if rest.is_empty() => return Ok(unpacked),
            Err(UnpackError::Refused(refusal)) => return Err(UnpackError::Refused(refusal)),
            // The first two bytes may look like a head by chance.
            Ok(()) | Err(UnpackError::Damaged) => {
                unpacked.clear();
                rest = body;
            }
        }
    }
    read_limited(DeflateDecoder::new(&mut rest), &mut unpacked, limits)?;
    if rest.is_empty() { Ok(unpacked) } else { Err(UnpackError::Damaged) }
}

/// Appends what a decoder reads.
fn read_limited(
    decoder: impl Read,
    unpacked: &mut Vec<u8>,
    limits: &mut OutputLimits<'_>,
) -> Result<(), UnpackError> {
    let mut decoder = std::io::BufReader::with_capacity(STEP, decoder);
    loop {
        // A decoder has no other errors than those of its input.
        let part = decoder.fill_buf().map_err(|_| UnpackError::Damaged)?;
        let length = part.len();
        if length == 0 {
            return Ok(());
        }
        if unpacked.len() + length > limits.max {
            return Err(UnpackError::Refused(DecodeRefusal::TooLarge));
        }
        if !(limits.grow)(length) {
            return Err(UnpackError::Refused(DecodeRefusal::NoCapacity));
        }
        unpacked.extend_from_slice(part);
        decoder.consume(length);
    }
}
