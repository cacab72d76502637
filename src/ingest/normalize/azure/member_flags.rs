//! The members of an event that cannot be read or stored as they are written: what is wrong with
//! each, and how a text is made storable.
//!
//! # Why
//!
//! A side member of another type than documented must not cost the fact (`NOTHING_LOST`): the member
//! counts as absent and is flagged, and the event is taken. What Postgres refuses in a text or an
//! index is replaced or shortened here, before the log, so that the live state and the ledger read
//! the same event, and no batch of the ledger is refused for its content.

use std::borrow::Cow;
use std::cell::RefCell;

use onrecord_evidence::event::calling_event::{FlagReason, FlaggedMember};
use onrecord_evidence::event::ids::Digest;

/// Maximum length of a text, in bytes. Ids of participants are in indexes, whose rows have at most
/// some 2,700 bytes.
pub(crate) const MAX_TEXT: usize = 1024;
/// Length of what replaces the end of a text that is too long: `…sha256:` and 64 digits.
const SHORTENED_END: usize = 3 + 7 + 64;
/// Maximum number of members that are listed. The original has all of them.
const MAX_FLAGGED: usize = 64;

/// The flagged members of one event.
#[derive(Debug, Default)]
pub(crate) struct MemberFlags {
    members: RefCell<Vec<FlaggedMember>>,
}

impl MemberFlags {
    /// Flags a member, once for each reason.
    pub(crate) fn add(&self, pointer: String, reason: FlagReason) {
        let member = FlaggedMember { pointer: without_nul(&pointer), reason };
        let mut members = self.members.borrow_mut();
        if members.len() < MAX_FLAGGED && !members.contains(&member) {
            members.push(member);
        }
    }

    /// The text without NUL.
    pub(crate) fn replaced<'t>(
        &self,
        text: Cow<'t, str>,
        pointer: impl FnOnce() -> String,
    ) -> Cow<'t, str> {
        if !text.contains('\0') {
            return text;
        }
        self.add(pointer(), FlagReason::Replaced);
        Cow::Owned(without_nul(&text))
    }

    /// The text, or its beginning with the SHA-256 of the whole.
    pub(crate) fn shortened<'t>(
        &self,
        text: Cow<'t, str>,
        pointer: impl FnOnce() -> String,
    ) -> Cow<'t, str> {
        if text.len() <= MAX_TEXT {
            return text;
        }
        self.add(pointer(), FlagReason::Shortened);
        let kept = text.floor_char_boundary(MAX_TEXT - SHORTENED_END);
        let digest = Digest::of(text.as_bytes());
        Cow::Owned(format!("{}…sha256:{digest}", text.get(..kept).unwrap_or_default()))
    }

    /// The flagged members of an event at this pointer.
    pub(crate) fn into_members_below(self, pointer: &str) -> Vec<FlaggedMember> {
        let mut members = self.members.into_inner();
        for member in &mut members {
            member.pointer.insert_str(0, pointer);
        }
        members
    }
}

/// The text with U+FFFD in place of NUL, which no text of Postgres holds.
pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer() -> String {
        "/a".to_owned()
    }

    #[test]
    fn a_text_that_is_too_long_keeps_its_beginning_and_stays_distinct() {
        let flags = MemberFlags::default();
        let long = |last: char| format!("{}{last}", "é".repeat(MAX_TEXT));
        let one = flags.shortened(Cow::Owned(long('1')), pointer);
        let other = flags.shortened(Cow::Owned(long('2')), pointer);
        assert!(one.len() <= MAX_TEXT && one.starts_with("ééé"), "{one}");
        assert_ne!(one, other);
        let fits = "x".repeat(MAX_TEXT);
        assert_eq!(flags.shortened(Cow::Borrowed(&fits), pointer), fits);
        let flagged = FlaggedMember { pointer: pointer(), reason: FlagReason::Shortened };
        assert_eq!(flags.into_members_below(""), [flagged]);
    }

    #[test]
    fn the_list_of_flagged_members_is_limited() {
        let flags = MemberFlags::default();
        for number in 0..10_000 {
            flags.add(format!("/{number}"), FlagReason::WrongType);
        }
        assert_eq!(flags.into_members_below("").len(), MAX_FLAGGED);
    }
}
