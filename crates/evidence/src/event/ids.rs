//! The identifiers of a call in one canonical form each, and the recognition of placeholders.
//!
//! # Why
//!
//! Each sender writes the same identifier differently: Event Grid omits the base64 padding of
//! `serverCallId`, Call Automation callbacks keep it, Microsoft's documentation asks for the URL-safe
//! alphabet, and samples contain placeholders ("REDACTED", all-zero GUIDs). Two events belong to one
//! call only if their canonical forms are equal, so a placeholder must not have a canonical form.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Minimum length of a `serverCallId` or `recordingId` in characters. Shorter ones are placeholders;
/// real ones have some 200 characters.
const MIN_OPAQUE_ID_CHARS: usize = 24;

/// Maximum length of a `serverCallId` or `recordingId` in bytes. Longer texts are not decoded, because
/// each layer of percent-encoding costs one pass.
const MAX_OPAQUE_ID_BYTES: usize = 4096;

/// Base64 as senders write it: with or without padding; bits after the last byte are ignored.
const TOLERANT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The name of a tenant, which every row, message, stream and query of the tenant carries. Clones share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Tenant(Arc<str>);

/// The text is not a tenant name.
#[derive(Debug, thiserror::Error)]
#[error(
    "a tenant is 1 to 63 lower-case letters, digits and hyphens and begins with a letter or digit"
)]
pub struct InvalidTenant;

impl Tenant {
    /// Parses a name of 1 to 63 characters of `a-z`, `0-9` and `-` that does not begin with a hyphen.
    ///
    /// # Errors
    ///
    /// [`InvalidTenant`] for anything else.
    pub fn parse(name: &str) -> Result<Self, InvalidTenant> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let fits = (1..=63).contains(&name.len()) && !name.starts_with('-');
        if fits && name.bytes().all(allowed) { Ok(Self(name.into())) } else { Err(InvalidTenant) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Tenant {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::parse(&name).map_err(serde::de::Error::custom)
    }
}

/// A SHA-256 digest: 32 bytes, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of several parts. Each part is preceded by its length, so that two different lists
    /// of parts never give the same input.
    #[must_use]
    pub fn of_parts(parts: &[&str]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        Self(hasher.finalize().into())
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Converts 32 bytes; `None` for another number of bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The first half: 32 hexadecimal digits.
    #[must_use]
    pub fn first_half(&self) -> String {
        let mut text = self.to_string();
        text.truncate(32);
        text
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 2 * size_of::<Self>()];
        for (byte, digits) in self.0.iter().zip(text.as_chunks_mut::<2>().0) {
            *digits = [byte >> 4, byte & 15].map(|half| DIGITS[usize::from(half)]);
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text)
            .ok_or_else(|| serde::de::Error::custom("a digest has 64 hexadecimal digits"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The identifiers by which an event names its call, in canonical form; placeholders are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ids {
    /// The correlationId, the id of the call itself: a non-zero GUID in lower case (see [`guid`]).
    pub correlation_id: Option<String>,
    /// The serverCallId (see [`server_call_id`]).
    pub server_call_id: Option<String>,
    /// The callConnectionId of one Call Automation leg: a non-zero GUID. Never the leg of the recorder
    /// itself.
    pub call_connection_id: Option<String>,
    /// The recordingId (see [`recording_id`]).
    pub recording_id: Option<String>,
    /// The participantId of one join of one participant, as Event Grid or a client states it;
    /// verbatim.
    pub participant_id: Option<String>,
    /// The client's own id for its leg of the call: a UUID.
    pub attachment: Option<String>,
    /// The groupId. Not an alias of the call, because it recurs in other calls.
    pub group_id: Option<String>,
}

/// A GUID in lower case with hyphens; `None` for the all-zero one and for anything else.
#[must_use]
pub fn guid(text: &str) -> Option<String> {
    let text = text.trim();
    // `Uuid` also parses braces and URNs, which no sender writes; only the hyphenated form is valid.
    if text.len() != 36 {
        return None;
    }
    let id = Uuid::try_parse(text).ok()?;
    (!id.is_nil()).then(|| id.hyphenated().to_string())
}

/// The canonical form of a `serverCallId`: the URL that its base64 encodes, in any alphabet, padding
/// or percent-encoding, with scheme and host in lower case. If it encodes no URL (as the IncomingCall
/// sample of Microsoft's documentation), the text itself in the standard alphabet without padding.
/// `None` for a placeholder.
#[must_use]
pub fn server_call_id(text: &str) -> Option<String> {
    let text = percent_decoded(text)?;
    if is_url(&text) {
        return canonical_url(&text);
    }
    let standard = without_padding(&text).replace('-', "+").replace('_', "/");
    let decoded = TOLERANT_BASE64.decode(&standard).ok();
    let url = decoded.and_then(|bytes| percent_decoded(std::str::from_utf8(&bytes).ok()?));
    match url {
        Some(url) if is_url(&url) => canonical_url(&url),
        _ => (!is_placeholder(&standard)).then_some(standard),
    }
}

/// The canonical form of a `recordingId`: URL-safe alphabet without padding. `None` for a
/// placeholder.
#[must_use]
pub fn recording_id(text: &str) -> Option<String> {
    let text = percent_decoded(text)?;
    let id = without_padding(&text).replace('+', "-").replace('/', "_");
    (!is_placeholder(&id)).then_some(id)
}

/// Expects the canonical form, so that padding does not lengthen a placeholder to an id.
fn is_placeholder(text: &str) -> bool {
    text.chars().count() < MIN_OPAQUE_ID_CHARS
        // No store keeps NUL in a text.
        || text.contains('\0')
        || text.starts_with('{')
        || starts_with_any(text, ["redacted", "sanitized"])
}

fn is_url(text: &str) -> bool {
    starts_with_any(text, ["https://", "http://"])
}

/// Whether the text starts with one of these, in upper or lower case.
fn starts_with_any(text: &str, starts: [&str; 2]) -> bool {
    starts
        .iter()
        .any(|start| text.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start)))
}

/// The URL with scheme and host in lower case; `None` for a placeholder.
fn canonical_url(url: &str) -> Option<String> {
    let after_scheme = url.find("//").map_or(0, |at| at + 2);
    let path = url[after_scheme..].find(['/', '?', '#']).map_or(url.len(), |at| after_scheme + at);
    let url = format!("{}{}", url[..path].to_ascii_lowercase(), &url[path..]);
    (!is_placeholder(&url)).then_some(url)
}

/// The text without base64 padding, which only some senders write.
fn without_padding(text: &str) -> &str {
    text.trim_end_matches(|letter: char| letter == '=' || letter.is_whitespace())
}

/// Removes all layers of percent-encoding, which an id from a subject or a query may have; base64
/// contains no `%`. `None` for a text that is too long for an id.
fn percent_decoded(text: &str) -> Option<String> {
    if text.len() > MAX_OPAQUE_ID_BYTES {
        return None;
    }
    let mut text = text.to_owned();
    // Each pass shortens the text, so the loop ends.
    while let Some(decoded) = percent_decoded_once(&text) {
        text = decoded;
    }
    Some(text.trim().to_owned())
}

/// Removes one layer of percent-encoding. `None` if there is none, or if the result is not UTF-8.
fn percent_decoded_once(text: &str) -> Option<String> {
    if !text.contains('%') {
        return None;
    }
    let digit = |byte: &u8| u8::try_from(char::from(*byte).to_digit(16)?).ok();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let mut any = false;
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%'
            && let [high, low, after @ ..] = tail
            && let (Some(high), Some(low)) = (digit(high), digit(low))
        {
            bytes.push(high * 16 + low);
            rest = after;
            any = true;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    if any { String::from_utf8(bytes).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD_NO_PAD;

    use super::*;

    const URL: &str = "https://api.flightproxy.skype.com/api/v2/cp/conv-uswe-04-prod-aks.conv.skype.com/conv/ZSPJd2pjtkqycttrHRm_M5w?i=10-128-85-133&e=638853537803496626";
    const PADDED: &str = "aHR0cHM6Ly9hcGkuZmxpZ2h0cHJveHkuc2t5cGUuY29tL2FwaS92Mi9jcC9jb252LXVzd2UtMDQtcHJvZC1ha3MuY29udi5za3lwZS5jb20vY29udi9aU1BKZDJwanRrcXljdHJIU21fTTV3P2k9MTAtMTI4LTg1LTEzMyZlPTYzODg1MzUzNzgwMzQ5NjYyNg==";

    #[test]
    fn a_server_call_id_is_the_same_in_each_padding_and_alphabet() {
        let canonical = server_call_id(PADDED);
        assert!(
            canonical
                .as_deref()
                .is_some_and(|id| id.starts_with("https://api.flightproxy.skype.com/"))
        );
        assert_eq!(server_call_id(PADDED.trim_end_matches('=')), canonical);
        assert_eq!(server_call_id(&PADDED.replace('=', "%3D")), canonical);
        let url = canonical.unwrap();
        assert_eq!(server_call_id(&url), Some(url.clone()));
        let url_safe = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&url);
        assert_eq!(server_call_id(&url_safe), Some(url.clone()));
        assert_eq!(server_call_id(&url.replacen("https://api.", "HTTPS://API.", 1)), Some(url));
    }

    #[test]
    fn the_path_of_a_decoded_url_keeps_its_case() {
        let encoded = base64::engine::general_purpose::STANDARD.encode(URL);
        assert_eq!(server_call_id(&encoded).as_deref(), Some(URL));
    }

    #[test]
    fn placeholders_have_no_canonical_form() {
        for text in [
            "REDACTED",
            "serverCallId",
            "{serverCallId}",
            "",
            "Y3NVcmw",
            "REDACTED-REDACTED-REDACTED",
            "{server-call-id-that-is-long}",
            "https://conv.skype.com/conv/with%00nul",
        ] {
            assert_eq!(server_call_id(text), None, "{text}");
            assert_eq!(recording_id(text), None, "{text}");
        }
        // It encodes a URL with a NUL.
        assert_eq!(server_call_id("aHR0cHM6Ly9jb252LnNreXBlLmNvbS9jb252L3dpdGgAbnVs"), None);
        for text in ["00000000-0000-0000-0000-000000000000", "CallIdGuid", "{correlationId}", ""] {
            assert_eq!(guid(text), None, "{text}");
        }
    }

    #[test]
    fn an_opaque_server_call_id_stays_an_id() {
        let sample = "tob2JIV0wzOHdab3dWcGVWZmsrL2QxYVZnQ2U1bVVLQTh1T056YmpvdXdnQjNzZTlnTEhjNFlYem5BVU9nRGY5dUFQ";
        assert_eq!(server_call_id(sample).as_deref(), Some(sample));
    }

    #[test]
    fn a_text_with_many_layers_of_encoding_is_not_an_id_and_is_not_decoded() {
        let layers = format!("%{}41{URL}", "25".repeat(2_000_000));
        assert_eq!(server_call_id(&layers), None);
        assert_eq!(recording_id(&layers), None);
        let few = format!("%{}3D", "25".repeat(100));
        assert_eq!(
            server_call_id(&format!("{}{few}", PADDED.trim_end_matches('='))),
            server_call_id(PADDED)
        );
    }

    #[test]
    fn guids_are_compared_without_case() {
        assert_eq!(
            guid("DBA00566-C94D-4912-8087-3F54101E0AA4").as_deref(),
            Some("dba00566-c94d-4912-8087-3f54101e0aa4")
        );
    }

    #[test]
    fn a_digest_is_parsed_from_its_own_text() {
        let digest = Digest::of_parts(&["a", "bc"]);
        assert_eq!(Digest::from_hex(&digest.to_string()), Some(digest));
        assert_ne!(digest, Digest::of_parts(&["ab", "c"]));
        assert_eq!(Digest::from_hex("zz"), None);
    }

    #[test]
    fn a_tenant_is_a_short_lower_case_name() {
        assert!(Tenant::parse("contoso-1").is_ok());
        for name in ["", "-a", "Contoso", "a b", &"a".repeat(64)] {
            assert!(Tenant::parse(name).is_err(), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn canonical_ids_are_fixed_points(
            text in "([hH]ttps://[A-z%= ]{0,40})?.{0,100}=? ?",
            is_encoded: bool,
        ) {
            let text = if is_encoded { STANDARD_NO_PAD.encode(text) } else { text };
            for canonical in [server_call_id, recording_id] {
                if let Some(id) = canonical(&text) {
                    proptest::prop_assert_eq!(canonical(&id), Some(id));
                }
            }
        }
    }
}
