//! What an event's `data_base64` holds: base64 hides content from whoever looks for names.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::json::{Document, Kind, Node};
use super::redact::{Redacted, Scope, redact};

/// Base64 with or without padding.
const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

/// Both alphabets.
const ENGINES: [GeneralPurpose; 2] = [
    GeneralPurpose::new(&STANDARD, CONFIG),
    GeneralPurpose::new(&URL_SAFE, CONFIG),
];

/// The content of `data_base64`.
pub(super) struct HiddenContent {
    /// As JSON that may be kept; none if it is no JSON.
    json: Option<Redacted>,
    /// There is another one, that nobody looks into.
    is_ambiguous: bool,
}

impl HiddenContent {
    /// Looks into an event; `None` if nothing is hidden.
    pub(super) fn of(event: Node<'_>) -> Option<Self> {
        let (_, hidden) = event.member("data_base64")?;
        let names = event.members().map(|(name, _)| name.decoded());
        let named_so = names.filter(|name| name.eq_ignore_ascii_case("data_base64"));
        Some(Self {
            is_ambiguous: named_so.count() > 1,
            json: (hidden.kind() == Kind::Text)
                .then(|| revealed(&hidden.decoded()))
                .flatten(),
        })
    }

    /// Whether it may be kept as it is.
    pub(super) fn is_clean(&self) -> bool {
        let json = self.json.as_ref();
        !self.is_ambiguous && json.is_some_and(|json| json.pointers.is_empty())
    }

    /// The JSON that it holds, redacted.
    pub(super) fn json(&self) -> Option<Document<'_>> {
        Document::parse(&self.json.as_ref()?.text).ok()
    }
}

fn revealed(base64: &str) -> Option<Redacted> {
    let bytes = ENGINES
        .iter()
        .find_map(|engine| engine.decode(base64.trim()).ok())?;
    let text = String::from_utf8(bytes).ok()?;
    let document = Document::parse(&text).ok()?;
    let scope = Scope::Calls {
        base64_is_clean: false,
    };
    redact(&document, scope).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_clean(event: &str) -> bool {
        let document = Document::parse(event).unwrap();
        HiddenContent::of(document.root()).unwrap().is_clean()
    }

    #[test]
    fn only_a_single_clean_content_may_be_kept_as_it_is() {
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
