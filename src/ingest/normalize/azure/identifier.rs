//! Reads the identifier of a participant: raw id, kind, cloud and identity.
//!
//! The members are those of CommunicationIdentifierModel (REST common 2026-07-22). A missing raw id
//! (request forms, REST examples) is composed as by `getIdentifierRawId` of
//! `@azure/communication-common` 2.4.2.

use std::borrow::Cow;

use super::object::AzureObject;
use onrecord_evidence::event::calling_event::Participant;
use onrecord_evidence::fact::kinds::Identity;
use onrecord_evidence::identity::raw_id::{
    Cloud, IdentifierKind, ParsedRawId, canonical_raw_id, parse_raw_id,
};

/// The members with details, the kind of identifier that each means, and the member with its id.
const MEMBERS: [(&str, IdentifierKind, &str); 5] = [
    ("communicationUser", IdentifierKind::CommunicationUser, "id"),
    ("phoneNumber", IdentifierKind::PhoneNumber, "value"),
    ("microsoftTeamsUser", IdentifierKind::MicrosoftTeamsUser, "userId"),
    ("microsoftTeamsApp", IdentifierKind::MicrosoftTeamsApp, "appId"),
    ("teamsExtensionUser", IdentifierKind::TeamsExtensionUser, "userId"),
];

/// Reads participants, by the settings of the source.
#[derive(Clone, Copy)]
pub(crate) struct ParticipantReader<'a> {
    /// The immutable ids of the tenant's ACS resources; if empty, each ACS user belongs to the tenant.
    pub(crate) resource_ids: &'a [String],
}

impl ParticipantReader<'_> {
    /// Reads a participant in any of the three forms: the identifier itself (2021), or an object with
    /// the identifier in `communicationIdentifier` (since 2022) or `identifier` (rosters). `None` if
    /// the object has no identifier.
    pub(crate) fn read(&self, object: &AzureObject<'_, '_>) -> Option<Participant> {
        let nested = object.object(&["communicationIdentifier", "identifier"]);
        let identifier = if nested.is_present() { &nested } else { object };
        let participant = self.identified(identifier)?;
        Some(Participant { role: object.string(&["role"]), ..participant })
    }

    fn identified(&self, identifier: &AzureObject<'_, '_>) -> Option<Participant> {
        let details = details(identifier);
        let raw_id = match identifier.text(&["rawId"]).filter(|id| !id.is_empty()) {
            Some(raw_id) => raw_id,
            None => Cow::Owned(details.as_ref().and_then(Details::raw_id)?),
        };
        let raw_id = identifier.shortened(&["rawId"], raw_id);
        let raw_id = canonical_raw_id(&raw_id);
        let reading = parse_raw_id(&raw_id);
        let stated = identifier.text(&["kind"]);
        let kind = stated
            .as_deref()
            .and_then(known_kind)
            .or(details.as_ref().map(|details| details.kind))
            .unwrap_or(reading.kind);
        let cloud = details.and_then(|details| details.cloud).unwrap_or(reading.cloud);
        Some(Participant {
            kind,
            cloud,
            identity: self.identity(kind, &raw_id, &reading),
            raw_id: raw_id.into_owned(),
            display_name: None,
            role: None,
        })
    }

    /// The identity (`docs/evidence-rules.md`, section 2).
    fn identity(&self, kind: IdentifierKind, raw_id: &str, reading: &ParsedRawId<'_>) -> Identity {
        match kind {
            IdentifierKind::CommunicationUser => self.identity_of_user(reading.resource_id),
            IdentifierKind::PhoneNumber => Identity::Phone,
            IdentifierKind::MicrosoftTeamsUser | IdentifierKind::TeamsExtensionUser => {
                Identity::TeamsUser
            }
            IdentifierKind::MicrosoftTeamsApp => Identity::TeamsApp,
            IdentifierKind::Unknown if raw_id.starts_with("28:") => Identity::Bot,
            IdentifierKind::Unknown => Identity::Unknown,
        }
    }

    /// The identity of an ACS user. Without a resource id it is unknown, and unknown identities count
    /// as users of the tenant.
    fn identity_of_user(&self, resource_id: Option<&str>) -> Identity {
        if self.resource_ids.is_empty() {
            return Identity::Acs;
        }
        let Some(resource_id) = resource_id else {
            return Identity::Unknown;
        };
        let is_own = |id: &String| id.trim().eq_ignore_ascii_case(resource_id);
        if self.resource_ids.iter().any(is_own) { Identity::Acs } else { Identity::AcsForeign }
    }
}

/// The kind of that name; `None` for `unknown`, which the SDK writes for kinds newer than itself.
fn known_kind(text: &str) -> Option<IdentifierKind> {
    MEMBERS.iter().find(|(name, ..)| name.eq_ignore_ascii_case(text)).map(|(_, kind, _)| *kind)
}

/// The member with more details than the raw id.
struct Details<'d> {
    kind: IdentifierKind,
    /// The id of the user or app, perhaps with its resource, or the phone number.
    id: Option<Cow<'d, str>>,
    cloud: Option<Cloud>,
    is_anonymous: bool,
}

fn details<'d>(identifier: &AzureObject<'d, '_>) -> Option<Details<'d>> {
    for (name, kind, id) in MEMBERS {
        let member = identifier.object(&[name]);
        if !member.is_present() {
            continue;
        }
        let id = match kind {
            IdentifierKind::TeamsExtensionUser => extension_id(&member).map(Cow::Owned),
            _ => member.text(&[id]),
        };
        return Some(Details {
            kind,
            id: id.filter(|id| !id.is_empty()),
            cloud: member.text(&["cloud"]).and_then(|cloud| known_cloud(&cloud)),
            // Also a member of a phone number, where it means a withheld number.
            is_anonymous: member.boolean(&["isAnonymous"]).unwrap_or(false),
        });
    }
    None
}

fn extension_id(member: &AzureObject<'_, '_>) -> Option<String> {
    let resource = member.text(&["resourceId"])?;
    let tenant = member.text(&["tenantId"])?;
    let user = member.text(&["userId"])?;
    Some(format!("{resource}_{tenant}_{user}"))
}

fn known_cloud(text: &str) -> Option<Cloud> {
    let clouds = [("public", Cloud::Public), ("dod", Cloud::Dod), ("gcch", Cloud::Gcch)];
    let found = clouds.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, cloud)| cloud)
}

impl Details<'_> {
    fn raw_id(&self) -> Option<String> {
        let id = self.id.as_deref()?;
        let cloud = self.cloud.unwrap_or_default();
        let prefix = match (self.kind, cloud) {
            (IdentifierKind::CommunicationUser | IdentifierKind::Unknown, _) => "",
            (IdentifierKind::PhoneNumber, _) => "4:",
            (IdentifierKind::MicrosoftTeamsUser, _) if self.is_anonymous => "8:teamsvisitor:",
            (IdentifierKind::MicrosoftTeamsUser, Cloud::Public) => "8:orgid:",
            (IdentifierKind::MicrosoftTeamsUser, Cloud::Dod) => "8:dod:",
            (IdentifierKind::MicrosoftTeamsUser, Cloud::Gcch) => "8:gcch:",
            (IdentifierKind::MicrosoftTeamsApp, Cloud::Public) => "28:orgid:",
            (IdentifierKind::MicrosoftTeamsApp, Cloud::Dod) => "28:dod:",
            (IdentifierKind::MicrosoftTeamsApp, Cloud::Gcch) => "28:gcch:",
            (IdentifierKind::TeamsExtensionUser, Cloud::Public) => "8:acs:",
            (IdentifierKind::TeamsExtensionUser, Cloud::Dod) => "8:dod-acs:",
            (IdentifierKind::TeamsExtensionUser, Cloud::Gcch) => "8:gcch-acs:",
        };
        Some(format!("{prefix}{id}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::normalize::azure::member_flags::MemberFlags;
    use IdentifierKind::*;
    use onrecord_json::JsonIndex;

    const RESOURCE: &str = "8540C0DE-899f-5cce-acb5-3ec493af3800";

    fn read(json: &str, resource_ids: &[String]) -> Option<Participant> {
        let index = JsonIndex::parse(json).unwrap();
        let flags = MemberFlags::default();
        ParticipantReader { resource_ids }.read(&AzureObject::event(index.root(), &flags))
    }

    #[test]
    fn an_identifier_of_every_kind_and_cloud_is_read() {
        let user = "8:acs:8540c0de-899f-5cce-acb5-3ec493af3800_u";
        for (json, raw_id, kind, cloud, identity) in [
            (
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/azure/id-acs.json")),
                "8:acs:8540c0de-899f-5cce-acb5-3ec493af3800_c94ff260-162d-46d6-94fd-e79f4d213715",
                CommunicationUser,
                Cloud::Public,
                Identity::Acs,
            ),
            (
                include_str!(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/tests/data/azure/id-nokind-request.json"
                )),
                "8:gcch:daba101a-91c5-44c9-bb9b-e2a9a790571a",
                MicrosoftTeamsUser,
                Cloud::Gcch,
                Identity::TeamsUser,
            ),
            (
                include_str!(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/tests/data/azure/id-phone.json"
                )),
                "4:112345556789",
                PhoneNumber,
                Cloud::Public,
                Identity::Phone,
            ),
            (
                include_str!(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/tests/data/azure/id-teams-gcch.json"
                )),
                "8:gcch:daba101a-91c5-44c9-bb9b-e2a9a790571a",
                MicrosoftTeamsUser,
                Cloud::Gcch,
                Identity::TeamsUser,
            ),
            (
                include_str!(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/tests/data/azure/id-teams.json"
                )),
                "8:orgid:daba101a-91c5-44c9-bb9b-e2a9a790571a",
                MicrosoftTeamsUser,
                Cloud::Public,
                Identity::TeamsUser,
            ),
            (
                include_str!(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/tests/data/azure/id-unknown.json"
                )),
                "a raw id that originated in the service",
                Unknown,
                Cloud::Public,
                Identity::Unknown,
            ),
            (
                r#"{"communicationUser":{"id":"8:acs:8540c0de-899f-5cce-acb5-3ec493af3800_u"}}"#,
                user,
                CommunicationUser,
                Cloud::Public,
                Identity::Acs,
            ),
            (
                r#"{"phoneNumber":{"value":"+1555","isAnonymous":true}}"#,
                "4:+1555",
                PhoneNumber,
                Cloud::Public,
                Identity::Phone,
            ),
            (
                r#"{"microsoftTeamsUser":{"userId":"u","isAnonymous":true,"cloud":"dod"}}"#,
                "8:teamsvisitor:u",
                MicrosoftTeamsUser,
                Cloud::Dod,
                Identity::TeamsUser,
            ),
            (
                r#"{"microsoftTeamsUser":{"userId":"u","cloud":"DOD"}}"#,
                "8:dod:u",
                MicrosoftTeamsUser,
                Cloud::Dod,
                Identity::TeamsUser,
            ),
            (
                r#"{"microsoftTeamsApp":{"appId":"a","cloud":"gcch"}}"#,
                "28:gcch:a",
                MicrosoftTeamsApp,
                Cloud::Gcch,
                Identity::TeamsApp,
            ),
            (
                r#"{"teamsExtensionUser":{"userId":"u","tenantId":"t","resourceId":"r","cloud":"dod"}}"#,
                "8:dod-acs:r_t_u",
                TeamsExtensionUser,
                Cloud::Dod,
                Identity::TeamsUser,
            ),
            (
                r#"{"kind":"unknown","rawId":"28:bot"}"#,
                "28:bot",
                Unknown,
                Cloud::Public,
                Identity::Bot,
            ),
            (
                r#"{"kind":"someFutureKind","rawId":"8:gcch-acs:r_t_u"}"#,
                "8:gcch-acs:r_t_u",
                TeamsExtensionUser,
                Cloud::Gcch,
                Identity::TeamsUser,
            ),
            (
                r#"{"communicationIdentifier":{"rawId":"8:orgid:u","kind":"MicrosoftTeamsUser"},"role":"Organizer"}"#,
                "8:orgid:u",
                MicrosoftTeamsUser,
                Cloud::Public,
                Identity::TeamsUser,
            ),
        ] {
            let participant = read(json, &[RESOURCE.to_owned()]).unwrap();
            assert_eq!(participant.raw_id, raw_id);
            assert_eq!(
                (participant.kind, participant.cloud, participant.identity),
                (kind, cloud, identity),
                "{json}"
            );
        }
    }

    #[test]
    fn an_acs_user_belongs_to_the_tenant_by_resource_id_or_without_settings() {
        let user = r#"{"rawId":"8:acs:8540c0de-899f-5cce-acb5-3ec493af3800_u"}"#;
        let placeholder = r#"{"rawId":"REDACTED","kind":"communicationUser"}"#;
        let other = ["11111111-899f-5cce-acb5-3ec493af3800".to_owned()];
        for (json, resource_ids, identity) in [
            (user, &[][..], Identity::Acs),
            (user, &[RESOURCE.to_owned()], Identity::Acs),
            (user, &other, Identity::AcsForeign),
            (placeholder, &[], Identity::Acs),
            (placeholder, &other, Identity::Unknown),
        ] {
            assert_eq!(read(json, resource_ids).unwrap().identity, identity);
        }
    }

    #[test]
    fn an_object_without_identifier_is_no_participant() {
        for json in [
            "{}",
            r#"{"role":"Attendee"}"#,
            r#"{"kind":"phoneNumber"}"#,
            r#"{"rawId":"","communicationUser":{"id":""}}"#,
            r#"{"teamsExtensionUser":{"userId":"u"}}"#,
        ] {
            assert_eq!(read(json, &[]), None, "{json}");
        }
    }
}
