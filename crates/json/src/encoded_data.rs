//! Decodes the data of an event that is written as a string: `data_base64` of a CloudEvent, and `data`
//! that holds JSON as a text.
//!
//! # Why
//!
//! Base64 and escapes hide member names from the redaction. The decoded JSON is redacted before it is
//! used, and the encoded text is kept only if nothing of it had to be redacted (`NO_SECRETS`).

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::entry::ValueKind;
use super::index::{JsonIndex, ValueRef};
use super::redact::{EncodedMember, RedactedJson, RedactionScope, redact_data};

/// Padding is optional.
const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

/// The standard and the URL-safe alphabet.
const ENGINES: [GeneralPurpose; 2] =
    [GeneralPurpose::new(&STANDARD, CONFIG), GeneralPurpose::new(&URL_SAFE, CONFIG)];

/// The data of an event, as written in a string.
pub struct EncodedData {
    member: EncodedMember,
    /// The decoded text; `None` if it is not text.
    text: Option<String>,
    /// The event has several such members, of which only one was decoded.
    is_ambiguous: bool,
}

impl EncodedData {
    /// Decodes the data of an event; `None` if it is not written in a string.
    #[must_use]
    pub fn of(event: ValueRef<'_>) -> Option<Self> {
        let (member, value) = match (event.member("data_base64"), event.member("data")) {
            (_, Some((_, data))) if data.kind() == ValueKind::String => (EncodedMember::Data, data),
            (Some((_, encoded)), None) => (EncodedMember::DataBase64, encoded),
            _ => return None,
        };
        let names = event.members().map(|(name, _)| name.decoded());
        let same_name = names.filter(|name| name.eq_ignore_ascii_case(member.name()));
        let is_string = value.kind() == ValueKind::String;
        let text = match member {
            EncodedMember::Data => Some(value.decoded().into_owned()),
            EncodedMember::DataBase64 => is_string.then(|| decode(&value.decoded())).flatten(),
        };
        Some(Self { member, text, is_ambiguous: same_name.count() > 1 })
    }

    /// The member that holds the data.
    #[must_use]
    pub fn member(&self) -> EncodedMember {
        self.member
    }

    /// The decoded JSON, not redacted yet; `None` if it is not JSON.
    #[must_use]
    pub fn json(&self) -> Option<JsonIndex<'_>> {
        // What is not JSON is not read.
        JsonIndex::parse(self.text.as_deref()?).ok()
    }

    /// The decoded JSON, redacted as the data of an event; `None` if it is not JSON, or has too many
    /// sensitive members.
    #[must_use]
    pub fn redacted(&self, scope: RedactionScope) -> Option<RedactedJson> {
        redact_data(&self.json()?, scope).ok()
    }

    /// Whether the string may be kept unchanged, by the redacted JSON.
    #[must_use]
    pub fn is_clean(&self, redacted: Option<&RedactedJson>) -> bool {
        !self.is_ambiguous && redacted.is_some_and(|json| json.pointers.is_empty())
    }
}

fn decode(base64: &str) -> Option<String> {
    // Text in neither alphabet is no base64.
    let bytes = ENGINES.iter().find_map(|engine| engine.decode(base64.trim()).ok())?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_clean(event: &str) -> bool {
        let index = JsonIndex::parse(event).unwrap();
        let encoded = EncodedData::of(index.root()).unwrap();
        let scope = RedactionScope::Calls { keeps: None, texts: crate::TextPolicy::All };
        encoded.is_clean(encoded.redacted(scope).as_ref())
    }

    #[test]
    fn only_single_data_without_sensitive_members_is_clean() {
        // {"a":"??>"} in both alphabets, with and without padding, and as a text.
        for data in [
            r#""data_base64":"eyJhIjoiPz8+In0=""#,
            r#""data_base64":"eyJhIjoiPz8-In0""#,
            r#""data":"{\"a\":\"??>\"}""#,
        ] {
            assert!(is_clean(&format!("{{{data}}}")), "{data}");
        }
        for event in [
            // {"token":1}
            r#"{"data_base64":"eyJ0b2tlbiI6MX0="}"#,
            r#"{"data_base64":"eyJ0b2tlbiI6MX0=","data_base64":"e30="}"#,
            r#"{"Data_Base64":"eyJ0b2tlbiI6MX0=","data_base64":"e30="}"#,
            r#"{"data_base64":"not base64"}"#,
            r#"{"data_base64":{}}"#,
            r#"{"data":"{\"token\":1}"}"#,
            r#"{"data":"{\"token\":1}","data":"{}"}"#,
            r#"{"data":"no JSON"}"#,
        ] {
            assert!(!is_clean(event), "{event}");
        }
    }

    #[test]
    fn data_that_is_a_value_of_its_own_is_not_encoded() {
        for event in [r#"{"data":{},"data_base64":"e30="}"#, r#"{"data":[]}"#, "{}", "3"] {
            let index = JsonIndex::parse(event).unwrap();
            assert!(EncodedData::of(index.root()).is_none(), "{event}");
        }
    }
}
