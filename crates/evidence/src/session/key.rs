//! The names of sessions.
//!
//! # Why
//!
//! The name of a session consists of ids only, so that it does not change when other events arrive. A
//! roster states no id of a join; the name then contains the raw id and the instant of the joining,
//! which changes only if a roster of an earlier instant arrives.

use std::borrow::Cow;
use std::fmt;

use crate::event::ids::{Digest, Ids, guid};
use crate::event::instant::Millis;
use crate::identity::placeholder::is_placeholder;

/// Maximum length in bytes of an id that a name contains verbatim. A name contains the digest of a
/// longer id, because PostgreSQL must be able to index the name.
const MAX_VERBATIM_BYTES: usize = 128;

/// The identity of a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SessionKey<'t> {
    /// One join of one participant, by its participantId.
    Participant(String),
    /// All joins of a raw id by events without a participantId.
    RawId(&'t str),
    /// A client that belongs to no participantId.
    Attachment(&'t str),
    /// A client that belongs to no participantId and uses the attachment of another participant: the
    /// attachment, and the raw id of its token.
    ForeignAttachment(&'t str, &'t str),
    /// A raw id that only rosters list, and the instant of its joining in Unix milliseconds.
    Roster(&'t str, Millis),
}

impl SessionKey<'_> {
    /// The participantId of the session, if it has one.
    pub(super) fn participant_id(&self) -> Option<&str> {
        match self {
            Self::Participant(id) => Some(id),
            _ => None,
        }
    }
}

impl fmt::Display for SessionKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Participant(id) => write!(f, "p:{}", name_part(id)),
            Self::RawId(raw_id) => write!(f, "u:{}", name_part(raw_id)),
            Self::Attachment(id) => write!(f, "t:{}", name_part(id)),
            Self::ForeignAttachment(id, raw_id) => {
                write!(f, "f:{}", foreign_attachment(id, raw_id))
            }
            Self::Roster(raw_id, joined) => write!(f, "r:{}@{joined}", name_part(raw_id)),
        }
    }
}

/// The name of an attachment that a participant uses who does not own it: the attachment, and the first
/// half of the digest of the participant's raw id.
pub(super) fn foreign_attachment(id: &str, raw_id: &str) -> String {
    format!("{}/{}", name_part(id), Digest::of(raw_id.as_bytes()).first_half())
}

/// An id as part of a name: the id itself if it is short printable ASCII, else `#` and the first half of
/// its digest.
pub(super) fn name_part(id: &str) -> Cow<'_, str> {
    let plain = id.len() <= MAX_VERBATIM_BYTES
        && !id.starts_with('#')
        && id.bytes().all(|byte| byte.is_ascii_graphic());
    if plain {
        return Cow::Borrowed(id);
    }
    Cow::Owned(format!("#{}", Digest::of(id.as_bytes()).first_half()))
}

/// The participantId that an event states. A GUID is converted to lower case, because clients and Event
/// Grid may write it differently; anything else is verbatim. `None` for a placeholder.
pub(super) fn participant_id(ids: &Ids) -> Option<String> {
    let stated = ids.participant_id.as_deref()?;
    if is_placeholder(stated) || stated.eq_ignore_ascii_case("participantId") {
        return None;
    }
    Some(guid(stated).unwrap_or_else(|| stated.to_owned()))
}

/// The name of the session of an attachment that sent acknowledgements but no report.
#[must_use]
pub fn session_of_attachment(attachment: &str) -> String {
    SessionKey::Attachment(attachment).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_consist_of_ids() {
        for (key, name) in [
            (SessionKey::Participant("p1".to_owned()), "p:p1"),
            (SessionKey::RawId("8:acs:a_b"), "u:8:acs:a_b"),
            (SessionKey::Attachment("a1"), "t:a1"),
            (
                SessionKey::ForeignAttachment("a1", "8:acs:a_b"),
                "f:a1/05534deb6f9e01067abcab20c5ece328",
            ),
            (SessionKey::Roster("4:+1", 17), "r:4:+1@17"),
        ] {
            assert_eq!(key.to_string(), name);
        }
    }

    #[test]
    fn a_long_or_unprintable_id_is_named_by_its_digest() {
        let long = "x".repeat(129);
        for id in [long.as_str(), "a\0b", "a b", "é", "#"] {
            let part = name_part(id);
            assert!(part.starts_with('#') && part.len() == 33, "{id}");
        }
    }

    #[test]
    fn a_participant_id_is_compared_without_case_and_placeholders_are_none() {
        let of = |text: &str| {
            participant_id(&Ids { participant_id: Some(text.to_owned()), ..Ids::default() })
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
}
