//! How a person is named in a sentence: by the display name, else by the kind of the identity and the
//! last digits of the raw id.

use super::raw_id::{IdentifierKind, parse_raw_id};

/// Number of digits of a raw id that tell two persons of one kind apart.
const LAST_DIGITS: usize = 4;

/// The name of the person of a session in a sentence.
#[must_use]
pub fn person_name(display_name: Option<&str>, raw_id: Option<&str>, session: &str) -> String {
    // A source may have the raw id in place of a name, or no letter at all.
    let is_name = |name: &str| Some(name) != raw_id && name.chars().any(char::is_alphanumeric);
    if let Some(name) = display_name.map(str::trim).filter(|name| is_name(name)) {
        return name.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    }
    let raw_id_or_session = raw_id.unwrap_or(session);
    let kind = raw_id.map_or(IdentifierKind::Unknown, |raw_id| parse_raw_id(raw_id).kind);
    if kind == IdentifierKind::PhoneNumber
        && !raw_id_or_session.ends_with(|it: char| it.is_ascii_digit())
    {
        return "anonymous phone number".to_owned();
    }
    // The scheme before the last colon is the same for all of a kind.
    let id = raw_id_or_session.rsplit(':').next().unwrap_or_default();
    let digits: Vec<char> = id.chars().filter(char::is_ascii_alphanumeric).collect();
    let last = digits.len().saturating_sub(LAST_DIGITS);
    let last: String = digits.get(last..).into_iter().flatten().collect();
    format!("{} …{last}", kind_name(kind))
}

/// A kind of identity in words.
fn kind_name(kind: IdentifierKind) -> &'static str {
    match kind {
        IdentifierKind::CommunicationUser => "ACS user",
        IdentifierKind::PhoneNumber => "phone number",
        IdentifierKind::MicrosoftTeamsUser => "Teams user",
        IdentifierKind::MicrosoftTeamsApp => "Teams app",
        IdentifierKind::TeamsExtensionUser => "Teams Phone user",
        IdentifierKind::Unknown => "participant",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW_ID: &str =
        "8:acs:0be2ef5c-8b43-4bc1-9f1a-3a8bd0ce6a4c_0000002a-1fb9-4878-07fd-0848220077e1";

    #[test]
    fn a_person_is_named_by_the_display_name_else_by_kind_and_last_digits() {
        for (display_name, raw_id, name) in [
            (Some("Ada Lindqvist"), Some(RAW_ID), "Ada Lindqvist"),
            (Some("  Ada\n"), Some(RAW_ID), "Ada"),
            (Some("Ada\u{7}Lindqvist"), None, "Ada Lindqvist"),
            (Some("Zoë"), None, "Zoë"),
            (Some("李雷"), None, "李雷"),
            (Some(""), Some(RAW_ID), "ACS user …77e1"),
            (Some(" - "), Some(RAW_ID), "ACS user …77e1"),
            (Some(RAW_ID), Some(RAW_ID), "ACS user …77e1"),
            (None, Some("8:orgid:daba101a-91c5-44c9-bb9b-e2a9a790571a"), "Teams user …571a"),
            (None, Some("8:gcch-acs:r_t_0001"), "Teams Phone user …0001"),
            (None, Some("28:orgid:daba101a-91c5-44c9-bb9b-e2a9a790571a"), "Teams app …571a"),
            (None, Some("4:+14255550123"), "phone number …0123"),
            (None, Some("4:anonymous"), "anonymous phone number"),
            (None, Some("8:echo123"), "participant …o123"),
            (None, Some("8:acs:a_c"), "ACS user …ac"),
            (None, Some("x"), "participant …x"),
            (None, None, "participant …0001"),
        ] {
            let session = "t:6ba7b810-0000-0000-0000-000000000001";
            assert_eq!(
                person_name(display_name, raw_id, session),
                name,
                "{display_name:?} {raw_id:?}"
            );
        }
    }
}
