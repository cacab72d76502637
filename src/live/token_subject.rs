//! The participant of a subscriber token, with what the token grants: by it a stream, a report or a
//! request sees calls.

use crate::http::subscriber_token::SubscriberClaims;
use onrecord_evidence::identity::grant::Grant;

/// The participant of a subscriber token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenSubject {
    /// The raw id of the participant.
    pub raw_id: String,
    /// Other raw ids of the same person.
    pub other_raw_ids: Vec<String>,
    pub grant: Grant,
}

impl TokenSubject {
    /// The participant of a token.
    pub(crate) fn of(claims: &SubscriberClaims) -> Self {
        Self {
            raw_id: claims.sub.clone(),
            other_raw_ids: claims.other_raw_ids.clone(),
            grant: claims.grant.clone(),
        }
    }

    /// All raw ids of the person, that of the participant first.
    pub(crate) fn persons(&self) -> impl Iterator<Item = &str> {
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
