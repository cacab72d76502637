//! The body of a request for a subscriber token: its validation, and what the token claims by it.

use serde::Deserialize;
use utoipa::ToSchema;

use super::bounded_text::{self, MAX_TEXT_BYTES};
use super::member::or_default;
use crate::http::body::RequestBody;
use crate::http::problem::Problem;
use onrecord_evidence::identity::grant::{Grant, call_reference};
use onrecord_evidence::identity::placeholder::{is_placeholder, is_placeholder_raw_id};
use onrecord_evidence::identity::raw_id::{canonical_raw_id, has_known_form};

/// Maximum number of other raw ids of a person.
const MAX_OTHER_RAW_IDS: usize = 8;
/// Maximum number of calls, and of participantIds, that a token grants.
const MAX_GRANTED: usize = 16;
/// Maximum length of an id of a call as the request states it, in bytes: a serverCallId is long, and
/// becomes a short reference.
const MAX_CALL_BYTES: usize = 4096;

/// A request for a subscriber token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenOrder)]
pub(crate) struct TokenBody {
    /// Whom the token speaks for.
    participant: TokenParticipant,
    /// Lifetime in seconds, up to `tokens.max_ttl`. Default: 3600.
    #[schema(minimum = 1)]
    pub ttl_s: Option<i64>,
    /// The app, with its version if it has one. 1 to 256 bytes.
    #[schema(min_length = 1, max_length = 256)]
    app: Option<String>,
    /// Which calls the backend proves that the participant belongs to.
    #[serde(default, deserialize_with = "or_default")]
    grant: GrantBody,
}

/// A participant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TokenParticipant {
    /// The raw id of the participant, of a known form: `8:acs:{resource id}_{user id}`,
    /// `8:orgid:{object id}`, `8:teamsvisitor:{id}`, `4:{phone number}`, and those of other clouds.
    #[schema(min_length = 1, max_length = 256)]
    raw_id: String,
    /// Other raw ids of the same person, at most 8.
    #[serde(default, deserialize_with = "or_default")]
    #[schema(max_items = 8)]
    other_raw_ids: Vec<String>,
}

/// What a token grants.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = TokenGrant)]
struct GrantBody {
    /// Ids of calls (serverCallId, correlationId, group id or room id), at most 16. Not the id of a
    /// Teams meeting.
    #[serde(deserialize_with = "or_default")]
    #[schema(max_items = 16)]
    calls: Vec<String>,
    /// ParticipantIds of the Calling SDK, at most 16.
    #[serde(deserialize_with = "or_default")]
    #[schema(max_items = 16)]
    participant_ids: Vec<String>,
}

/// Whom a token speaks for, and what it grants.
#[derive(Debug, PartialEq)]
pub(crate) struct TokenContents {
    pub raw_id: String,
    /// Sorted, without `raw_id` and repetitions.
    pub other_raw_ids: Vec<String>,
    pub app: Option<String>,
    pub grant: Grant,
}

impl RequestBody for TokenBody {
    /// 16 serverCallIds are 64 KiB.
    const MAX_BYTES: usize = 128 * 1024;
}

impl TokenBody {
    /// Checks the constraints that the types do not express.
    ///
    /// # Errors
    ///
    /// A problem that names the member.
    pub(crate) fn subject(self) -> Result<TokenContents, Problem> {
        let Self { participant, app, grant, .. } = self;
        check_known_raw_id("/participant/raw_id", &participant.raw_id)?;
        let others = "/participant/other_raw_ids";
        check_items(others, &participant.other_raw_ids, MAX_OTHER_RAW_IDS, check_known_raw_id)?;
        if let Some(app) = &app {
            bounded_text::check("/app", app, MAX_TEXT_BYTES)?;
        }
        check_items("/grant/calls", &grant.calls, MAX_GRANTED, check_call)?;
        let ids = &grant.participant_ids;
        check_items("/grant/participant_ids", ids, MAX_GRANTED, check_participant_id)?;
        let mut other_raw_ids = participant.other_raw_ids;
        other_raw_ids.retain(|raw_id| *raw_id != participant.raw_id);
        other_raw_ids.sort_unstable();
        other_raw_ids.dedup();
        Ok(TokenContents {
            raw_id: participant.raw_id,
            other_raw_ids,
            app,
            grant: Grant::new(grant.calls, grant.participant_ids),
        })
    }
}

/// Checks a list and each of its items.
fn check_items(
    member: &str,
    items: &[String],
    max_items: usize,
    check: impl Fn(&str, &str) -> Result<(), Problem>,
) -> Result<(), Problem> {
    if items.len() > max_items {
        return Err(Problem::invalid(member, format!("at most {max_items} items")));
    }
    let mut items = items.iter().enumerate();
    items.try_for_each(|(index, item)| check(&format!("{member}/{index}"), item))
}

/// Checks that a text is a raw id of a known form, in letters of any case. A token for another text would
/// speak for a person whom no event ever names, and its revocation would revoke nothing.
pub(super) fn check_known_raw_id(member: &str, raw_id: &str) -> Result<(), Problem> {
    check_raw_id(member, raw_id)?;
    if has_known_form(&canonical_raw_id(raw_id)) {
        return Ok(());
    }
    check_id_characters(member, raw_id)?;
    Err(Problem::invalid(
        member,
        "this is no raw id of a known form: 8:acs:{resource id}_{user id}, 8:orgid:{object id}, 8:teamsvisitor:{id}, 4:{phone number}, and those of other clouds; the app's backend has it as `identifier.rawId`, or as the id of the user that it created",
    ))
}

/// Checks that an id has no blank and no character that cannot be seen. Another text that looks the same
/// would name something else. No id of Azure has a character beyond ASCII.
fn check_id_characters(member: &str, id: &str) -> Result<(), Problem> {
    let Some(other) = id.chars().find(|char| !char.is_ascii_graphic()) else {
        return Ok(());
    };
    let detail = format!(
        "an id has no blanks, no invisible characters and none beyond ASCII; this one has U+{:04X}",
        u32::from(other)
    );
    Err(Problem::invalid(member, detail))
}

/// Checks that a text is the raw id of a participant.
fn check_raw_id(member: &str, raw_id: &str) -> Result<(), Problem> {
    bounded_text::check(member, raw_id, MAX_TEXT_BYTES)?;
    if is_placeholder_raw_id(raw_id) {
        return Err(Problem::invalid(
            member,
            "this is no raw id of a participant; the app's backend has it as `identifier.rawId`, for example 8:acs:… or 8:orgid:…",
        ));
    }
    Ok(())
}

fn check_call(member: &str, call: &str) -> Result<(), Problem> {
    bounded_text::check(member, call, MAX_CALL_BYTES)?;
    let reference = call_reference(call);
    if is_placeholder(call) {
        return Err(Problem::invalid(
            member,
            "this names no call; grant a serverCallId, correlationId, group id or room id",
        ));
    }
    if is_meeting(call) {
        return Err(Problem::invalid(
            member,
            "this is a meeting, which no event of the platform names; grant the serverCallId of its call (or the correlationId, if a Call Automation leg is in it)",
        ));
    }
    check_id_characters(member, call)?;
    bounded_text::check(member, &reference, MAX_TEXT_BYTES)
}

/// Whether a text is the id (of the thread) or the address of a Teams meeting. A grant of it would match
/// no call, because only clients state it.
fn is_meeting(call: &str) -> bool {
    let call = call.trim().to_ascii_lowercase();
    ["19:", "19%3a"].iter().any(|start| call.starts_with(start))
        || ["@thread.", "%40thread.", "/meetup-join/", "teams.microsoft.com/meet/"]
            .iter()
            .any(|part| call.contains(part))
}

fn check_participant_id(member: &str, participant_id: &str) -> Result<(), Problem> {
    bounded_text::check(member, participant_id, MAX_TEXT_BYTES)?;
    if is_placeholder(participant_id) {
        let detail =
            "this is no participantId; the Calling SDK has it as `call.info.participantId`";
        return Err(Problem::invalid(member, detail));
    }
    check_id_characters(member, participant_id)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::http::body;

    const GUID: &str = "6fc1bd42-6ad5-4c16-8c5a-9c3b0a1d3f11";
    const URL: &str = "https://api.flightproxy.skype.com/api/v2/cp/conv-uswe-02?i=10";

    fn subject(request: Value) -> Result<TokenContents, String> {
        body::deserialize(request)
            .and_then(TokenBody::subject)
            .map_err(|problem| serde_json::to_string(&problem).unwrap())
    }

    #[test]
    fn a_grant_and_the_other_raw_ids_are_in_canonical_form() {
        let subject = subject(json!({
            "participant": {"raw_id": "8:acs:r_u", "other_raw_ids": ["8:orgid:b", "8:acs:r_u", "8:orgid:a", "8:orgid:b"]},
            "app": "shop",
            "grant": {"calls": [GUID.to_uppercase(), URL], "participant_ids": [GUID.to_uppercase()]},
        }))
        .unwrap();
        assert_eq!(subject.other_raw_ids, ["8:orgid:a", "8:orgid:b"]);
        assert_eq!(subject.grant.participant_ids(), [GUID]);
        assert!(subject.grant.names_call(GUID) && subject.grant.names_call(&call_reference(URL)));
    }

    #[test]
    fn null_is_the_absence_of_an_optional_member() {
        let plain = subject(json!({"participant": {"raw_id": "8:acs:r_u"}}));
        for request in [
            json!({"participant": {"raw_id": "8:acs:r_u", "other_raw_ids": null}, "ttl_s": null, "app": null, "grant": null}),
            json!({"participant": {"raw_id": "8:acs:r_u"}, "grant": {"calls": null, "participant_ids": null}}),
        ] {
            assert_eq!(subject(request), plain);
        }
    }

    #[test]
    fn a_meeting_is_not_granted_because_no_event_of_the_platform_names_it() {
        for meeting in [
            "19:meeting_MjgxNzYyYTAtZDQ0Yy00@thread.v2",
            " 19:abc@unq.gbl.spaces",
            "19%3ameeting_Mjgx%40thread.v2",
            "https://teams.microsoft.com/l/meetup-join/19%3ameeting_Mjgx%40thread.v2/0?context=x",
            "https://teams.microsoft.com/meet/2345678901234?p=abc",
        ] {
            let request =
                json!({"participant": {"raw_id": "8:acs:r_u"}, "grant": {"calls": [meeting]}});
            let problem = subject(request).unwrap_err();
            assert!(problem.contains("\"member\":\"/grant/calls/0\""), "{problem}");
            assert!(problem.contains("grant the serverCallId"), "{problem}");
        }
        let request = json!({"participant": {"raw_id": "8:acs:r_u"}, "grant": {"calls": [URL, GUID, "99445276259151407"]}});
        assert_eq!(subject(request).unwrap().grant.calls().len(), 3);
    }

    #[test]
    fn an_id_with_a_character_that_cannot_be_seen_is_rejected_and_the_character_named() {
        for (character, named) in [
            (' ', "U+0020"),
            ('\u{a0}', "U+00A0"),
            ('\u{200b}', "U+200B"),
            ('\u{2060}', "U+2060"),
            ('\u{feff}', "U+FEFF"),
            ('\u{ad}', "U+00AD"),
            ('\u{430}', "U+0430"),
        ] {
            for place in ["start", "end"] {
                let odd = |id: &str| match place {
                    "start" => format!("{character}{id}"),
                    _ => format!("{id}{character}"),
                };
                for (request, member) in [
                    (json!({"participant": {"raw_id": odd("8:acs:r_u")}}), "/participant/raw_id"),
                    (
                        json!({"participant": {"raw_id": "8:acs:r_u", "other_raw_ids": [odd("8:orgid:a")]}}),
                        "/participant/other_raw_ids/0",
                    ),
                    (
                        json!({"participant": {"raw_id": "8:acs:r_u"}, "grant": {"calls": [odd(GUID)]}}),
                        "/grant/calls/0",
                    ),
                    (
                        json!({"participant": {"raw_id": "8:acs:r_u"}, "grant": {"participant_ids": [odd(GUID)]}}),
                        "/grant/participant_ids/0",
                    ),
                ] {
                    let problem = subject(request).unwrap_err();
                    assert!(problem.contains(&format!("\"member\":\"{member}\"")), "{problem}");
                    assert!(problem.contains(named), "{problem}");
                }
            }
        }
    }

    #[test]
    fn a_raw_id_is_known_in_letters_of_any_case() {
        for raw_id in ["8:ACS:R_U", "8:Orgid:DABA101A", "8:acs:r_U"] {
            assert_eq!(subject(json!({"participant": {"raw_id": raw_id}})).unwrap().raw_id, raw_id);
        }
    }

    #[test]
    fn a_wrong_text_is_rejected_with_the_pointer_of_its_member() {
        let many = |number: usize| vec!["8:acs:r_u"; number];
        for (participant, grant, member) in [
            (json!({"raw_id": ""}), json!({}), "/participant/raw_id"),
            (json!({"raw_id": "REDACTED"}), json!({}), "/participant/raw_id"),
            (json!({"raw_id": "rawId"}), json!({}), "/participant/raw_id"),
            (json!({"raw_id": "8:acs:a\u{0}b"}), json!({}), "/participant/raw_id"),
            (json!({"raw_id": "8:acs:…"}), json!({}), "/participant/raw_id"),
            (json!({"raw_id": "alice"}), json!({}), "/participant/raw_id"),
            (
                json!({"raw_id": "8:acs:r_u", "other_raw_ids": ["8:orgid:…"]}),
                json!({}),
                "/participant/other_raw_ids/0",
            ),
            (
                json!({"raw_id": format!("8:acs:{}", "x".repeat(251))}),
                json!({}),
                "/participant/raw_id",
            ),
            (
                json!({"raw_id": "8:acs:r_u", "other_raw_ids": many(9)}),
                json!({}),
                "/participant/other_raw_ids",
            ),
            (
                json!({"raw_id": "8:acs:r_u", "other_raw_ids": ["8:acs:r_v", "\u{1}"]}),
                json!({}),
                "/participant/other_raw_ids/1",
            ),
            (json!({"raw_id": "8:acs:r_u"}), json!({"calls": many(17)}), "/grant/calls"),
            (json!({"raw_id": "8:acs:r_u"}), json!({"calls": ["a call\n"]}), "/grant/calls/0"),
            (
                json!({"raw_id": "8:acs:r_u"}),
                json!({"calls": [GUID, "00000000-0000-0000-0000-000000000000"]}),
                "/grant/calls/1",
            ),
            (
                json!({"raw_id": "8:acs:r_u"}),
                json!({"calls": [format!("room:{}", "x".repeat(252))]}),
                "/grant/calls/0",
            ),
            (
                json!({"raw_id": "8:acs:r_u"}),
                json!({"calls": ["x".repeat(4097)]}),
                "/grant/calls/0",
            ),
            (json!({"raw_id": "8:acs:r_u"}), json!({"calls": [7]}), "/grant/calls/0"),
            (
                json!({"raw_id": "8:acs:r_u"}),
                json!({"participant_ids": many(17)}),
                "/grant/participant_ids",
            ),
            (
                json!({"raw_id": "8:acs:r_u"}),
                json!({"participant_ids": [""]}),
                "/grant/participant_ids/0",
            ),
            (
                json!({"raw_id": "8:acs:r_u"}),
                json!({"participant_ids": ["a\u{7f}"]}),
                "/grant/participant_ids/0",
            ),
            (json!({"raw_id": "8:acs:r_u"}), json!({"call": []}), "/grant/call"),
        ] {
            let problem = subject(json!({"participant": participant, "grant": grant})).unwrap_err();
            assert!(problem.contains(&format!("\"member\":\"{member}\"")), "{member}: {problem}");
        }
        let problem =
            subject(json!({"participant": {"raw_id": "8:acs:r_u"}, "app": "a\u{0}"})).unwrap_err();
        assert!(problem.contains("\"/app\""), "{problem}");
    }
}
