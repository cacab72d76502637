//! The participant of a subscriber token, with what the token grants: by it a stream, a report or a
//! request sees calls.

use serde::{Deserialize, Serialize};

use onrecord_evidence::identity::grant::Grant;
use onrecord_evidence::identity::raw_id::canonical_raw_id;

/// The participant of a subscriber token, as the claims of the token state it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSubject {
    /// The raw id of the participant, in canonical form.
    #[serde(rename = "sub")]
    pub raw_id: String,
    /// The other raw ids of the same person, in canonical form, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_raw_ids: Vec<String>,
    /// What the backend of the app grants.
    #[serde(default, skip_serializing_if = "Grant::is_empty")]
    pub grant: Grant,
}

impl TokenSubject {
    /// A participant with these raw ids, which are compared in lower case.
    #[must_use]
    pub fn new(raw_id: &str, other_raw_ids: Vec<String>, grant: Grant) -> Self {
        let raw_id = canonical_raw_id(raw_id).into_owned();
        let others = other_raw_ids.iter().map(|other| canonical_raw_id(other).into_owned());
        let mut other_raw_ids: Vec<String> = others.filter(|other| *other != raw_id).collect();
        other_raw_ids.sort_unstable();
        other_raw_ids.dedup();
        Self { raw_id, other_raw_ids, grant }
    }

    /// All raw ids of the person, that of the participant first.
    pub fn persons(&self) -> impl Iterator<Item = &str> {
        let others = self.other_raw_ids.iter().map(String::as_str);
        std::iter::once(self.raw_id.as_str()).chain(others)
    }

    /// A participant without other raw ids and grants.
    #[cfg(test)]
    pub(crate) fn plain(raw_id: &str) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self::new(raw_id, Vec::new(), Grant::default()))
    }
}
