//! Parses a raw id: what it names, its cloud, and the ACS resource that it belongs to.
//!
//! The forms are those of `createIdentifierFromRawId` in `@azure/communication-common` 2.4.2. The raw
//! id in lower case is the key; the values parsed here are derived from it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What an identifier names: `kind` in JSON. Kinds that are not listed are `unknown`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr,
)]
#[serde(rename_all = "camelCase")]
#[strum(serialize_all = "camelCase")]
pub enum IdentifierKind {
    /// A user of an ACS resource.
    CommunicationUser,
    /// A phone number.
    PhoneNumber,
    /// A Teams user, signed in or anonymous.
    MicrosoftTeamsUser,
    /// A Teams call queue, auto attendant or other application.
    MicrosoftTeamsApp,
    /// A Teams user in a call through Teams Phone extensibility.
    TeamsExtensionUser,
    /// Anything else.
    #[default]
    Unknown,
}

/// The cloud that an identifier belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cloud {
    /// The worldwide cloud.
    #[default]
    Public,
    /// US Department of Defense.
    Dod,
    /// US Government Community Cloud High.
    Gcch,
}

/// The values that a raw id itself contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedRawId<'a> {
    /// What the raw id names.
    pub kind: IdentifierKind,
    /// The cloud that it belongs to.
    pub cloud: Cloud,
    /// The immutable id of the ACS resource that issued it, for ACS and Teams extension users.
    pub resource_id: Option<&'a str>,
}

/// Parses a raw id. Never fails: a text without a known form is [`IdentifierKind::Unknown`].
#[must_use]
pub fn parse_raw_id(raw_id: &str) -> ParsedRawId<'_> {
    let parsed = |kind, cloud| ParsedRawId { kind, cloud, resource_id: None };
    if let Some(number) = raw_id.strip_prefix("4:") {
        let kind =
            if number.is_empty() { IdentifierKind::Unknown } else { IdentifierKind::PhoneNumber };
        return parsed(kind, Cloud::Public);
    }
    let parts: Vec<&str> = raw_id.split(':').collect();
    let [scheme, realm, suffix] = parts[..] else {
        return parsed(IdentifierKind::Unknown, Cloud::Public);
    };
    match (scheme, realm) {
        ("8", "acs" | "spool") => acs_user(suffix, Cloud::Public),
        ("8", "dod-acs") => acs_user(suffix, Cloud::Dod),
        ("8", "gcch-acs") => acs_user(suffix, Cloud::Gcch),
        ("8", "orgid" | "teamsvisitor") => {
            parsed(IdentifierKind::MicrosoftTeamsUser, Cloud::Public)
        }
        ("8", "dod") => parsed(IdentifierKind::MicrosoftTeamsUser, Cloud::Dod),
        ("8", "gcch") => parsed(IdentifierKind::MicrosoftTeamsUser, Cloud::Gcch),
        ("28", "orgid") => parsed(IdentifierKind::MicrosoftTeamsApp, Cloud::Public),
        ("28", "dod") => parsed(IdentifierKind::MicrosoftTeamsApp, Cloud::Dod),
        ("28", "gcch") => parsed(IdentifierKind::MicrosoftTeamsApp, Cloud::Gcch),
        _ => parsed(IdentifierKind::Unknown, Cloud::Public),
    }
}

/// Whether a raw id has one of the forms that Azure issues, with real ids in it. A template
/// (`8:acs:…`, `8:acs:<resource>_<user>`) has none.
#[must_use]
pub fn has_known_form(raw_id: &str) -> bool {
    let is_id = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let Some((_, id)) = raw_id.rsplit_once(':') else {
        return false;
    };
    match parse_raw_id(raw_id).kind {
        IdentifierKind::CommunicationUser | IdentifierKind::TeamsExtensionUser => {
            id.contains('_') && id.split('_').all(is_id)
        }
        IdentifierKind::MicrosoftTeamsUser | IdentifierKind::MicrosoftTeamsApp => is_id(id),
        IdentifierKind::PhoneNumber => id.strip_prefix('+').unwrap_or(id).split('_').all(is_id),
        IdentifierKind::Unknown => false,
    }
}

/// `{resource}_{user}` is an ACS user, `{resource}_{tenant}_{user}` a Teams extension user.
fn acs_user(suffix: &str, cloud: Cloud) -> ParsedRawId<'_> {
    let mut segments = suffix.split('_');
    let resource_id = segments.next().filter(|resource| !resource.is_empty());
    let kind = if segments.count() == 2 {
        IdentifierKind::TeamsExtensionUser
    } else {
        IdentifierKind::CommunicationUser
    };
    ParsedRawId { kind, cloud, resource_id }
}

/// The raw id by which it is compared: letters in lower case. Services write the same id in different
/// case. A placeholder has no scheme, and stays as it is.
#[must_use]
pub fn canonical_raw_id(raw_id: &str) -> Cow<'_, str> {
    if raw_id.contains(':') && raw_id.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(raw_id.to_ascii_lowercase());
    }
    Cow::Borrowed(raw_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_ids_are_compared_in_lower_case() {
        assert_eq!(canonical_raw_id("8:ACS:Ab_Cd"), "8:acs:ab_cd");
        assert_eq!(canonical_raw_id("8:acs:ab_cd"), "8:acs:ab_cd");
        assert_eq!(canonical_raw_id("REDACTED"), "REDACTED");
    }
    use IdentifierKind::*;

    #[test]
    fn a_name_or_a_template_has_no_known_form() {
        for raw_id in [
            "8:acs:8540c0de-899f-5cce-acb5-3ec493af3800_0000000a-u",
            "8:gcch-acs:8540c0de-899f-5cce-acb5-3ec493af3800_t_u",
            "8:spool:8540c0de-899f-5cce-acb5-3ec493af3800_u",
            "8:orgid:daba101a-91c5-44c9-bb9b-e2a9a790571a",
            "8:dod:daba101a-91c5-44c9-bb9b-e2a9a790571a",
            "8:teamsvisitor:071536b1f28346a2a4d9a4e8a2b1a5a7",
            "28:orgid:daba101a-91c5-44c9-bb9b-e2a9a790571a",
            "4:+112345556789",
            "4:112345556789_1",
            "4:anonymous",
        ] {
            assert!(has_known_form(raw_id), "{raw_id}");
        }
        for raw_id in [
            "",
            "alice",
            "8:alice",
            "8:acs:",
            "8:acs:…",
            "8:acs:...",
            "8:acs:alice",
            "8:acs:_",
            "8:acs:r_",
            "8:acs:_u",
            "8:acs:<resource>_<user>",
            "8:acs:{resource}_{user}",
            "8:acs:$RESOURCE_$USER",
            "8:acs:r_u:x",
            "8:acs:r_u ",
            " 8:acs:r_u",
            "8:acs:r_ü",
            "8:orgid:",
            "8:orgid:…",
            "8:orgid:<object id>",
            "8:orgid:alice@contoso.com",
            "9:orgid:a",
            "8:unknown:a",
            "28:daba101a-91c5-44c9-bb9b-e2a9a790571a",
            "28:orgid:",
            "8:echo123",
            "4:",
            "4:+",
            "4:+49 30 1234",
            "sip:alice@contoso.com",
        ] {
            assert!(!has_known_form(raw_id), "{raw_id}");
        }
    }

    #[test]
    fn each_form_of_raw_id_is_recognized() {
        let resource = "8540c0de-899f-5cce-acb5-3ec493af3800";
        for (raw_id, kind, cloud, of) in [
            (
                "8:acs:8540c0de-899f-5cce-acb5-3ec493af3800_u",
                CommunicationUser,
                Cloud::Public,
                Some(resource),
            ),
            (
                "8:dod-acs:8540c0de-899f-5cce-acb5-3ec493af3800_u",
                CommunicationUser,
                Cloud::Dod,
                Some(resource),
            ),
            (
                "8:gcch-acs:8540c0de-899f-5cce-acb5-3ec493af3800_t_u",
                TeamsExtensionUser,
                Cloud::Gcch,
                Some(resource),
            ),
            (
                "8:spool:8540c0de-899f-5cce-acb5-3ec493af3800_u",
                CommunicationUser,
                Cloud::Public,
                Some(resource),
            ),
            (
                "8:orgid:daba101a-91c5-44c9-bb9b-e2a9a790571a",
                MicrosoftTeamsUser,
                Cloud::Public,
                None,
            ),
            ("8:gcch:daba101a-91c5-44c9-bb9b-e2a9a790571a", MicrosoftTeamsUser, Cloud::Gcch, None),
            ("8:teamsvisitor:x", MicrosoftTeamsUser, Cloud::Public, None),
            (
                "28:orgid:daba101a-91c5-44c9-bb9b-e2a9a790571a",
                MicrosoftTeamsApp,
                Cloud::Public,
                None,
            ),
            ("28:daba101a-91c5-44c9-bb9b-e2a9a790571a", Unknown, Cloud::Public, None),
            ("4:+112345556789", PhoneNumber, Cloud::Public, None),
            ("4:112345556789_asserted", PhoneNumber, Cloud::Public, None),
            ("4:anonymous", PhoneNumber, Cloud::Public, None),
            ("8:echo123", Unknown, Cloud::Public, None),
            ("a raw id that originated in the service", Unknown, Cloud::Public, None),
            ("", Unknown, Cloud::Public, None),
        ] {
            assert_eq!(
                parse_raw_id(raw_id),
                ParsedRawId { kind, cloud, resource_id: of },
                "{raw_id}"
            );
        }
    }
}
