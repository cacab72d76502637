//! Decodes the `data_base64` of a CloudEvent.
//!
//! # Why
//!
//! Base64 hides member names from the redaction. The decoded JSON is redacted before it is used, and
//! the encoded text is kept only if the decoded JSON has no sensitive member (`NO_SECRETS`).

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::entry::ValueKind;
use super::index::{JsonIndex, ValueRef};
use super::redact::{RedactedJson, RedactionScope, redact};

/// Padding is optional.
const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

/// The standard and the URL-safe alphabet.
const ENGINES: [GeneralPurpose; 2] =
    [GeneralPurpose::new(&STANDARD, CONFIG), GeneralPurpose::new(&URL_SAFE, CONFIG)];

/// The decoded content of `data_base64`.
pub struct Base64Payload {
    /// The redacted JSON; `None` if the content is not JSON.
    json: Option<RedactedJson>,
    /// The event has several such members, of which only one was decoded.
    is_ambiguous: bool,
}

impl Base64Payload {
    /// Decodes the member of an event; `None` if the event has none.
    #[must_use]
    pub fn of(event: ValueRef<'_>) -> Option<Self> {
        let (_, encoded) = event.member("data_base64")?;
        let names = event.members().map(|(name, _)| name.decoded());
        let same_name = names.filter(|name| name.eq_ignore_ascii_case("data_base64"));
        Some(Self {
            is_ambiguous: same_name.count() > 1,
            json: (encoded.kind() == ValueKind::String)
                .then(|| decode(&encoded.decoded()))
                .flatten(),
        })
    }

    /// Whether the encoded text may be kept unchanged.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let json = self.json.as_ref();
        !self.is_ambiguous && json.is_some_and(|json| json.pointers.is_empty())
    }

    /// The decoded JSON, redacted; `None` if the content is not JSON.
    #[must_use]
    pub fn json(&self) -> Option<JsonIndex<'_>> {
        JsonIndex::parse(&self.json.as_ref()?.text).ok()
    }
}

fn decode(base64: &str) -> Option<RedactedJson> {
    let bytes = ENGINES.iter().find_map(|engine| engine.decode(base64.trim()).ok())?;
    let text = String::from_utf8(bytes).ok()?;
    let index = JsonIndex::parse(&text).ok()?;
    let scope = RedactionScope::Calls { base64_is_clean: false };
    redact(&index, scope).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_clean(event: &str) -> bool {
        let index = JsonIndex::parse(event).unwrap();
        Base64Payload::of(index.root()).unwrap().is_clean()
    }

    #[test]
    fn only_a_single_payload_without_sensitive_members_is_clean() {
        // {"a":"??>"} in both alphabets, with and without padding.
        for base64 in ["eyJhIjoiPz8+In0=", "eyJhIjoiPz8-In0"] {
            assert!(is_clean(&format!(r#"{{"data_base64":"{base64}"}}"#)));
        }
        for event in [
            // {"token":1}
            r#"{"data_base64":"eyJ0b2tlbiI6MX0="}"#,
            r#"{"data_base64":"eyJ0b2tlbiI6MX0=","data_base64":"e30="}"#,
            r#"{"Data_Base64":"eyJ0b2tlbiI6MX0=","data_base64":"e30="}"#,
            r#"{"data_base64":"not base64"}"#,
            r#"{"data_base64":{}}"#,
        ] {
            assert!(!is_clean(event), "{event}");
        }
    }
}
