//! The body of a report: its validation, and the calling event that it becomes.

use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::bounded_text::{self, MAX_TEXT_BYTES};
use super::member::{RoundedMillis, or_default};
use crate::http::body::secrets::redact_body;
use crate::http::body::{self, RequestBody};
use crate::http::problem::Problem;
use crate::http::subscriber_token::SubscriberClaims;
use crate::openapi::named_schemas::{CaptureTypeSchema, LevelSchema, ShownTextSchema};
use onrecord_evidence::event::calling_event::{
    CallingEvent, Participant, ReportStatement, ShownStatement, ShownText, Statement,
};
use onrecord_evidence::event::ids::{self, Ids};
use onrecord_evidence::fact::kinds::{CaptureType, Identity, Level};
use onrecord_evidence::identity::raw_id::{IdentifierKind, parse_raw_id};

/// The source type of reports.
pub(crate) const REPORT_TYPE: &str = "onrecord.report";

/// The JSON pointers of the ids of a report.
const IDS: [&str; 5] =
    ["/report_id", "/server_call_id", "/participant_id", "/group_id", "/thread_id"];
/// Maximum length of an id, in bytes.
const MAX_ID_BYTES: usize = 1024;
/// Maximum length of a serverCallId, in bytes.
const MAX_SERVER_CALL_ID_BYTES: usize = 4096;
/// Maximum number of items of `shown`.
const MAX_SHOWN: usize = 64;
/// Maximum of `elapsed_ms`: 24 hours. A stopwatch with a larger value was not started by this
/// notice.
pub(crate) const MAX_ELAPSED_MS: i64 = 24 * 60 * 60 * 1000;

/// What the Calling SDK of a client observes, and what the client shows. Repeat it on every change
/// and every 30 s.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Report)]
pub(crate) struct ReportBody {
    /// The client's own id of this report. Sent again, it has no second effect.
    #[schema(min_length = 1, max_length = 1024)]
    pub report_id: String,
    /// The client's own id (UUID) for its leg of the call, usable before the call is known.
    pub attachment: Uuid,
    /// The client's own count of its reports.
    #[schema(minimum = 0)]
    pub sequence: i64,
    /// The serverCallId of the Calling SDK.
    #[schema(max_length = 4096)]
    server_call_id: Option<String>,
    /// The participantId of the Calling SDK.
    #[schema(max_length = 1024)]
    participant_id: Option<String>,
    /// The group id of the call.
    #[schema(max_length = 1024)]
    group_id: Option<String>,
    /// The thread id of the meeting.
    #[schema(max_length = 1024)]
    thread_id: Option<String>,
    /// The level of recording that the Calling SDK states. Absent: it states none.
    #[schema(value_type = Option<LevelSchema>)]
    recording: Option<Level>,
    /// The level of transcription that the Calling SDK states. Absent: it states none.
    #[schema(value_type = Option<LevelSchema>)]
    transcription: Option<Level>,
    /// The types for which the Calling SDK requires consent.
    #[serde(default, deserialize_with = "or_default")]
    #[schema(value_type = Vec<CaptureTypeSchema>, max_items = 2)]
    consent_required: Vec<CaptureType>,
    /// What is shown since the last report.
    #[serde(default, deserialize_with = "or_default")]
    #[schema(max_items = 64)]
    shown: Vec<ShownBody>,
    /// The client leaves the call.
    #[serde(default, deserialize_with = "or_default")]
    leaving: bool,
    /// The app, with its version.
    #[schema(max_length = 256)]
    app: Option<String>,
    /// The Calling SDK, with its version.
    #[schema(max_length = 256)]
    sdk: Option<String>,
    /// The body without its secrets.
    #[serde(skip)]
    pub original: String,
    /// The JSON pointers of what was redacted.
    #[serde(skip)]
    redacted: Vec<String>,
}

/// A notice on the screen of the participant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ShownNotice)]
struct ShownBody {
    /// What the notice is about.
    #[serde(rename = "type")]
    #[schema(value_type = CaptureTypeSchema)]
    capture_type: CaptureType,
    /// The level that it states.
    #[schema(value_type = LevelSchema)]
    state: Level,
    /// Milliseconds since it was shown, by the client's stopwatch, up to 24 h. Default: 0.
    #[serde(default, deserialize_with = "or_default")]
    #[schema(value_type = f64, minimum = 0, maximum = 86400000)]
    elapsed_ms: RoundedMillis,
    /// The words that were shown.
    #[schema(value_type = Option<ShownTextSchema>)]
    text: Option<ShownText>,
}

impl RequestBody for ReportBody {
    const MAX_BYTES: usize = 256 * 1024;

    /// Parses what is left of the body without its secrets.
    fn of_bytes(json: &[u8]) -> Result<Self, Problem> {
        let redacted = redact_body(json, &IDS)?;
        let body = body::parse(redacted.text.as_bytes())?;
        Ok(Self { redacted: redacted.pointers, original: redacted.text, ..body })
    }
}

impl ReportBody {
    /// Checks the constraints that the types do not express.
    pub(crate) fn validate(&self) -> Result<(), Problem> {
        bounded_text::check("/report_id", &self.report_id, MAX_ID_BYTES)
            .map_err(|problem| problem.adding("report_id is the client's own id of this report"))?;
        if self.sequence < 0 {
            return Err(Problem::invalid(
                "/sequence",
                "sequence is the client's own count of its reports, 0 or more",
            ));
        }
        let texts = [
            ("/server_call_id", &self.server_call_id, MAX_SERVER_CALL_ID_BYTES),
            ("/participant_id", &self.participant_id, MAX_ID_BYTES),
            ("/group_id", &self.group_id, MAX_ID_BYTES),
            ("/thread_id", &self.thread_id, MAX_ID_BYTES),
            ("/app", &self.app, MAX_TEXT_BYTES),
            ("/sdk", &self.sdk, MAX_TEXT_BYTES),
        ];
        for (member, text, max_bytes) in texts {
            bounded_text::check_optional(member, text.as_deref(), max_bytes)?;
        }
        if self.consent_required.len() > CaptureType::ALL.len() {
            return Err(Problem::invalid("/consent_required", "each type at most once"));
        }
        if self.shown.len() > MAX_SHOWN {
            return Err(Problem::invalid(
                "/shown",
                format!("at most {MAX_SHOWN} items; report what is shown since the last report"),
            ));
        }
        for (index, shown) in self.shown.iter().enumerate() {
            if let Some(text) = &shown.text {
                bounded_text::check_shown(text)
                    .map_err(|problem| problem.within(&format!("/shown/{index}")))?;
            }
            if !(0..=MAX_ELAPSED_MS).contains(&shown.elapsed_ms.0) {
                return Err(Problem::invalid(
                    format!("/shown/{index}/elapsed_ms"),
                    format!("milliseconds since it was shown, 0 to {MAX_ELAPSED_MS}"),
                ));
            }
        }
        Ok(())
    }

    /// The attachment in canonical form.
    pub(crate) fn attachment(&self) -> String {
        self.attachment.hyphenated().to_string()
    }

    /// The serverCallId in canonical form, if it is valid.
    pub(crate) fn server_call_id(&self) -> Option<String> {
        self.server_call_id.as_deref().and_then(ids::server_call_id)
    }

    /// The calling event of this report. An invalid serverCallId (too short, a placeholder) counts
    /// as absent, because a report of a recording must not be lost by it. The event carries what the
    /// token of its sender claims, so that every answer is a function of the set of events.
    pub(crate) fn into_event(
        self,
        subscriber: &SubscriberClaims,
        resource_ids: &[String],
    ) -> CallingEvent {
        let parsed = parse_raw_id(&subscriber.subject.raw_id);
        let ids = Ids {
            server_call_id: self.server_call_id(),
            participant_id: self
                .participant_id
                .as_deref()
                .map(|id| ids::guid(id).unwrap_or_else(|| id.to_owned()))
                .filter(|id| !id.is_empty()),
            attachment: Some(self.attachment()),
            group_id: self.group_id.as_deref().and_then(ids::guid),
            ..Ids::default()
        };
        let participant = Participant {
            identity: claimed_identity(parsed.kind, parsed.resource_id, resource_ids),
            kind: parsed.kind,
            cloud: parsed.cloud,
            raw_id: subscriber.subject.raw_id.clone(),
            display_name: None,
            role: None,
        };
        let shown = self
            .shown
            .into_iter()
            .map(|shown| ShownStatement {
                capture_type: shown.capture_type,
                state: shown.state,
                elapsed_ms: shown.elapsed_ms.0,
                text: shown.text,
            })
            .collect();
        let report = ReportStatement {
            participant,
            other_raw_ids: subscriber.subject.other_raw_ids.clone(),
            grant: subscriber.subject.grant.clone(),
            sequence: self.sequence,
            recording: self.recording,
            transcription: self.transcription,
            consent_required: self.consent_required,
            shown,
            leaving: self.leaving,
            thread_id: self.thread_id,
            app: self.app,
            sdk: self.sdk,
        };
        CallingEvent {
            statement: Statement::Report(report),
            ids,
            source_type: REPORT_TYPE.to_owned(),
            generation: None,
            redacted: self.redacted,
            flagged: Vec::new(),
        }
    }
}

/// The identity that a subscriber token claims. The client is the tenant's own app, so a Teams user
/// in it is `teams_custom`. Without `own_resources`, every ACS user is the tenant's own.
fn claimed_identity(
    kind: IdentifierKind,
    resource_id: Option<&str>,
    own_resources: &[String],
) -> Identity {
    match kind {
        IdentifierKind::CommunicationUser => {
            let is_own = own_resources.is_empty()
                || resource_id.is_some_and(|resource| {
                    own_resources.iter().any(|own| own.eq_ignore_ascii_case(resource))
                });
            if is_own { Identity::Acs } else { Identity::AcsForeign }
        }
        IdentifierKind::MicrosoftTeamsUser | IdentifierKind::TeamsExtensionUser => {
            Identity::TeamsCustom
        }
        IdentifierKind::MicrosoftTeamsApp => Identity::TeamsApp,
        IdentifierKind::PhoneNumber => Identity::Phone,
        IdentifierKind::Unknown => Identity::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_teams_user_in_the_own_app_is_teams_custom() {
        let claims = |raw_id: &str, own_resources: &[String]| {
            let parsed = parse_raw_id(raw_id);
            claimed_identity(parsed.kind, parsed.resource_id, own_resources)
        };
        assert_eq!(
            claims("8:orgid:daba101a-91c5-44c9-bb9b-e2a9a790571a", &[]),
            Identity::TeamsCustom
        );
        assert_eq!(claims("8:acs:r_u", &[]), Identity::Acs);
        assert_eq!(claims("8:acs:r_u", &["R".to_owned()]), Identity::Acs);
        assert_eq!(claims("8:acs:r_u", &["other".to_owned()]), Identity::AcsForeign);
    }

    #[test]
    fn null_is_absence_and_a_fraction_of_a_millisecond_is_rounded() {
        let required =
            r#""report_id":"1","attachment":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","sequence":1"#;
        let event = |more: &str| {
            let body = ReportBody::of_bytes(format!("{{{required}{more}}}").as_bytes()).unwrap();
            body.validate().unwrap();
            let tenant = ids::Tenant::parse("t").unwrap();
            body.into_event(&SubscriberClaims::new(tenant, "8:acs:r_u".to_owned(), None, 0), &[])
        };
        let nulls = [
            "server_call_id",
            "participant_id",
            "group_id",
            "thread_id",
            "recording",
            "transcription",
            "consent_required",
            "shown",
            "leaving",
            "app",
            "sdk",
        ];
        let nulls: String = nulls.iter().map(|name| format!(",\"{name}\":null")).collect();
        assert_eq!(event(&nulls).statement, event("").statement);
        let shown = |more: &str| {
            let item = format!(r#","shown":[{{"type":"recording","state":"on"{more}}}]"#);
            event(&item).statement
        };
        assert_eq!(shown(r#","elapsed_ms":null,"text":null"#), shown(""));
        assert_eq!(shown(r#","elapsed_ms":120.6"#), shown(r#","elapsed_ms":121"#));
    }

    #[test]
    fn a_wrong_member_is_named_with_what_is_expected() {
        let problem_of = |text: &str| {
            ReportBody::of_bytes(text.as_bytes())
                .err()
                .map(|problem| format!("{problem:?}"))
                .unwrap_or_default()
        };
        let problem = problem_of(
            r#"{"report_id":"1","attachment":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","sequence":1,"recording":"maybe"}"#,
        );
        assert!(
            problem.contains("/recording") && problem.contains("`on`, `paused`, `off`"),
            "{problem}"
        );
        let problem = problem_of(r#"{"report_id":"1","attachment":"x","sequence":1}"#);
        assert!(problem.contains("/attachment"), "{problem}");
        let problem = problem_of(
            r#"{"report_id":"1","attachment":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","sequence":1,"recordnig":"on"}"#,
        );
        assert!(problem.contains("recordnig"), "{problem}");
    }
}
