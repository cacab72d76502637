//! What the backend of an app grants to the holder of a subscriber token: calls and participantIds.
//!
//! # Why
//!
//! *A reference is compared as text.* A grant names a call by any id that a backend may know: a
//! serverCallId, a correlationId, a group or room id. [`call_reference`] gives each of them
//! one form, so that a grant and an event that write the same id differently agree. A serverCallId
//! becomes its anchor, which is short and shows nothing of the id.

use serde::{Deserialize, Serialize};

use super::alias_graph::Anchor;
use crate::event::ids;

/// What a token grants besides its participant. Both lists are in canonical form, sorted, without
/// repetitions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "GrantText")]
pub struct Grant {
    /// The calls that the participant is in, as [`call_reference`] writes them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    calls: Vec<String>,
    /// The participantIds of the participant: a GUID in lower case, else verbatim.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    participant_ids: Vec<String>,
}

/// A grant as a sender writes it.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct GrantText {
    calls: Vec<String>,
    participant_ids: Vec<String>,
}

impl From<GrantText> for Grant {
    fn from(text: GrantText) -> Self {
        Self::new(text.calls, text.participant_ids)
    }
}

impl Grant {
    /// The grant of these calls and participantIds, in any form.
    #[must_use]
    pub fn new(
        calls: impl IntoIterator<Item = String>,
        participant_ids: impl IntoIterator<Item = String>,
    ) -> Self {
        let participant_id = |id: String| ids::guid(&id).unwrap_or(id);
        Self {
            calls: sorted(calls.into_iter().map(|text| call_reference(&text))),
            participant_ids: sorted(participant_ids.into_iter().map(participant_id)),
        }
    }

    /// The calls, as [`call_reference`] writes them.
    #[must_use]
    pub fn calls(&self) -> &[String] {
        &self.calls
    }

    /// The participantIds: a GUID in lower case, else verbatim.
    #[must_use]
    pub fn participant_ids(&self) -> &[String] {
        &self.participant_ids
    }

    /// Whether it grants nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.participant_ids.is_empty()
    }

    /// Whether it names a call by this id, which [`call_reference`] wrote.
    #[must_use]
    pub fn names_call(&self, reference: &str) -> bool {
        self.calls.iter().any(|call| call == reference)
    }

    /// Whether it names this participantId: a GUID in lower case, else verbatim.
    #[must_use]
    pub fn names_participant(&self, participant_id: &str) -> bool {
        self.participant_ids.iter().any(|id| id == participant_id)
    }

    /// Whether it names calls by their serverCallIds alone. Such a grant covers no call of another
    /// serverCallId.
    #[must_use]
    pub fn has_only_server_call_ids(&self) -> bool {
        !self.calls.is_empty() && self.calls.iter().all(|call| is_server_reference(call))
    }
}

fn sorted(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut texts: Vec<String> = texts.collect();
    texts.sort_unstable();
    texts.dedup();
    texts
}

/// The form in which an id of a call is granted and compared: the anchor (`s-` and 32 hexadecimal
/// digits) of a serverCallId in any form, a GUID in lower case, any other text without surrounding
/// blanks. A reference stays as it is.
#[must_use]
pub fn call_reference(id: &str) -> String {
    let id = id.trim();
    if is_server_reference(id) {
        return id.to_owned();
    }
    if let Some(guid) = ids::guid(id) {
        return guid;
    }
    match ids::server_call_id(id).filter(|canonical| is_server_call_id(canonical)) {
        Some(canonical) => Anchor::server(&canonical).as_str().to_owned(),
        None => id.to_owned(),
    }
}

/// Whether a text is the anchor of a serverCallId.
fn is_server_reference(text: &str) -> bool {
    text.strip_prefix("s-").is_some_and(|digest| {
        digest.len() == 32 && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Whether a text that may be a serverCallId is one: a URL, or a text that may be base64. A meeting id
/// (`19:meeting_…@thread.v2`) is neither.
fn is_server_call_id(canonical: &str) -> bool {
    canonical.starts_with("https://")
        || canonical.starts_with("http://")
        || !canonical.contains([':', '@'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const URL: &str = "https://api.flightproxy.skype.com/api/v2/cp/conv-uswe-02?i=10";
    const GUID: &str = "6fc1bd42-6ad5-4c16-8c5a-9c3b0a1d3f11";
    const MEETING: &str = "19:meeting_MjgxNzYyYTAtZDQ0Yy00@thread.v2";
    const ROOM: &str = "99445276259151407";

    #[test]
    fn each_form_of_an_id_has_one_reference() {
        let server = Anchor::server(URL).as_str().to_owned();
        let encoded =
            "aHR0cHM6Ly9hcGkuZmxpZ2h0cHJveHkuc2t5cGUuY29tL2FwaS92Mi9jcC9jb252LXVzd2UtMDI_aT0xMA";
        for (id, reference) in [
            (URL, server.as_str()),
            ("HTTPS://API.flightproxy.skype.com/api/v2/cp/conv-uswe-02?i=10", &server),
            (encoded, &server),
            (&format!("{}==", encoded.replace('_', "/")), &server),
            (&server, &server),
            (&GUID.to_uppercase(), GUID),
            (MEETING, MEETING),
            (&format!(" {ROOM} "), ROOM),
        ] {
            assert_eq!(call_reference(id), reference, "{id}");
        }
    }

    #[test]
    fn a_grant_is_read_in_canonical_form() {
        let read = |value| serde_json::from_value::<Grant>(value).unwrap();
        let grant = read(json!({
            "calls": [URL, MEETING, ROOM, GUID.to_uppercase(), URL],
            "participant_ids": [GUID.to_uppercase(), "P1"],
        }));
        assert!(grant.names_call(Anchor::server(URL).as_str()));
        assert!([GUID, MEETING, ROOM].iter().all(|id| grant.names_call(id)));
        assert!(!grant.names_call("P1"));
        assert!(grant.names_participant(GUID) && grant.names_participant("P1"));
        assert_eq!(grant.calls().len(), 4);
        assert!(!grant.has_only_server_call_ids());
        assert!(read(json!({"calls": [URL]})).has_only_server_call_ids());
        assert_eq!(read(json!(grant)), grant);
        assert!(read(json!({})).is_empty());
        assert_eq!(json!(Grant::default()), json!({}));
    }

    proptest! {
        #[test]
        fn a_reference_stays_as_it_is(id in "[ -~]{0,80}|[A-Za-z0-9+/_=-]{20,60}|https?://[ -~]{0,60}") {
            let reference = call_reference(&id);
            prop_assert_eq!(call_reference(&reference), reference.clone());
            // An event states a serverCallId in its canonical form.
            if let Some(canonical) = ids::server_call_id(&id)
                && is_server_call_id(&canonical)
                && ids::guid(&id).is_none()
                && !is_server_reference(&id)
            {
                prop_assert_eq!(call_reference(&canonical), reference);
            }
        }
    }
}
