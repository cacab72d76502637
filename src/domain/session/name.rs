//! What sessions are called, and which ids name nobody.
//!
//! # Why
//!
//! A session's name is made of ids only, so that the same people have the same names whatever else
//! becomes known. A roster names no join; there the instant of joining stands beside the raw id,
//! which moves only if a roster of an earlier instant turns up.

use std::borrow::Cow;
use std::fmt;

use crate::domain::ids::{Digest, Ids, guid};
use crate::domain::instant::Millis;

/// Longer ids are named by their digest: a name must fit into an index.
const LONGEST_VERBATIM: usize = 128;

/// What makes a session one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionKey<'t> {
    /// One join of one participant.
    Participant(String),
    /// All joins of a raw id that an event told of without a participantId.
    RawId(&'t str),
    /// A client that fits to no participantId.
    Attachment(&'t str),
    /// A raw id that only rosters show, from an instant on.
    Roster(&'t str, Millis),
}

impl SessionKey<'_> {
    /// The participantId of the session, if it has one.
    pub fn participant_id(&self) -> Option<&str> {
        match self {
            Self::Participant(id) => Some(id),
            Self::RawId(_) | Self::Attachment(_) | Self::Roster(..) => None,
        }
    }
}

impl fmt::Display for SessionKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Participant(id) => write!(f, "p:{}", name_part(id)),
            Self::RawId(raw_id) => write!(f, "u:{}", name_part(raw_id)),
            Self::Attachment(id) => write!(f, "t:{}", name_part(id)),
            Self::Roster(raw_id, joined) => write!(f, "r:{}@{joined}", name_part(raw_id)),
        }
    }
}

/// An id as part of a name: itself if it is short and plain, else `#` and half its digest.
pub fn name_part(id: &str) -> Cow<'_, str> {
    let plain = id.len() <= LONGEST_VERBATIM
        && !id.starts_with('#')
        && id.bytes().all(|byte| byte.is_ascii_graphic());
    if plain {
        return Cow::Borrowed(id);
    }
    let digest = Digest::of(id.as_bytes()).to_string();
    Cow::Owned(format!("#{}", digest.get(..32).unwrap_or(&digest)))
}

/// The participantId that an event states: a GUID in lower case, because clients and Event Grid
/// need not write it alike; anything else verbatim. `None` for a placeholder.
pub fn participant_id(ids: &Ids) -> Option<String> {
    let stated = ids.participant_id.as_deref()?;
    if is_placeholder(stated) || stated.eq_ignore_ascii_case("participantId") {
        return None;
    }
    Some(guid(stated).unwrap_or_else(|| stated.to_owned()))
}

/// Whether a raw id tells nobody from anybody else: "REDACTED", "rawId", nothing at all. Every real
/// one has a scheme before a colon.
pub fn is_placeholder_raw_id(raw_id: &str) -> bool {
    is_placeholder(raw_id) || !raw_id.contains(':')
}

fn is_placeholder(id: &str) -> bool {
    let id = id.trim();
    let nothing_but_zeros = id.bytes().all(|byte| matches!(byte, b'0' | b'-'));
    let lower_case = id.to_ascii_lowercase();
    nothing_but_zeros
        || id.starts_with('{')
        || lower_case.contains("redacted")
        || lower_case.contains("sanitized")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_ids() {
        for (key, name) in [
            (SessionKey::Participant("p1".to_owned()), "p:p1"),
            (SessionKey::RawId("8:acs:a_b"), "u:8:acs:a_b"),
            (SessionKey::Attachment("a1"), "t:a1"),
            (SessionKey::Roster("4:+1", 17), "r:4:+1@17"),
        ] {
            assert_eq!(key.to_string(), name);
        }
    }

    #[test]
    fn an_id_that_no_index_takes_is_named_by_its_digest() {
        let long = "x".repeat(129);
        for id in [long.as_str(), "a\0b", "a b", "é", "#"] {
            let part = name_part(id);
            assert!(part.starts_with('#') && part.len() == 33, "{id}");
        }
    }

    #[test]
    fn a_participant_id_is_compared_without_case_and_placeholders_are_none() {
        let of = |text: &str| {
            participant_id(&Ids {
                participant_id: Some(text.to_owned()),
                ..Ids::default()
            })
        };
        assert_eq!(
            of("041E3B8A-1CCE-4EBF-B587-131312C39410").as_deref(),
            Some("041e3b8a-1cce-4ebf-b587-131312c39410")
        );
        assert_eq!(of("participant1").as_deref(), Some("participant1"));
        for placeholder in [
            "",
            " ",
            "REDACTED",
            "{participantId}",
            "participantId",
            "00000000-0000-0000-0000-000000000000",
        ] {
            assert_eq!(of(placeholder), None, "{placeholder}");
        }
    }

    #[test]
    fn raw_ids_without_a_scheme_name_nobody() {
        for raw_id in ["", "REDACTED", "rawId", "{caller-id}", "8:acs:REDACTED"] {
            assert!(is_placeholder_raw_id(raw_id), "{raw_id}");
        }
        for raw_id in ["8:acs:a_b", "4:+1", "8:echo123", "28:orgid:a"] {
            assert!(!is_placeholder_raw_id(raw_id), "{raw_id}");
        }
    }
}
