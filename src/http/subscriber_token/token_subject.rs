//! The participant of a subscriber token, with what the token grants: by it a stream, a report or a
//! request sees calls.

use serde::{Deserialize, Serialize};

use onrecord_evidence::identity::grant::Grant;

/// The participant of a subscriber token, as the claims of the token state it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSubject {
    /// The raw id of the participant.
    #[serde(rename = "sub")]
    pub raw_id: String,
    /// The other raw ids of the same person, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_raw_ids: Vec<String>,
    /// What the backend of the app grants.
    #[serde(default, skip_serializing_if = "Grant::is_empty")]
    pub grant: Grant,
}

impl TokenSubject {
    /// All raw ids of the person, that of the participant first.
    pub fn persons(&self) -> impl Iterator<Item = &str> {
        let others = self.other_raw_ids.iter().map(String::as_str);
        std::iter::once(self.raw_id.as_str()).chain(others)
    }

    /// A participant without other raw ids and grants.
    #[cfg(test)]
    pub(crate) fn plain(raw_id: &str) -> std::sync::Arc<Self> {
        let (other_raw_ids, grant) = (Vec::new(), Grant::default());
        std::sync::Arc::new(Self { raw_id: raw_id.to_owned(), other_raw_ids, grant })
    }
}
