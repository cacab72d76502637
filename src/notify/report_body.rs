//! The body of a report, and what makes it one that can be believed.

use serde::Deserialize;
use uuid::Uuid;

use crate::domain::calling_event::{
    CallingEvent, Participant, Report, Shown, ShownText, Statement,
};
use crate::domain::fact::{CaptureType, Identity, Level};
use crate::domain::identity::{IdentifierKind, read_raw_id};
use crate::domain::ids::{self, Ids};
use crate::http::problem::Problem;

/// The type under which reports are known.
pub(super) const REPORT_TYPE: &str = "onrecord.report";

const LONGEST_TEXT: usize = 1024;
const LONGEST_ID: usize = 4096;
const MOST_SHOWN: usize = 64;
/// A stopwatch that shows more than a day was not started by this notice.
const LONGEST_ELAPSED: i64 = 24 * 60 * 60 * 1000;

/// As a client sends it. Unknown members are refused: a misspelt one would be lost silently.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportBody {
    pub report_id: String,
    pub attachment: Uuid,
    pub sequence: i64,
    server_call_id: Option<String>,
    participant_id: Option<String>,
    group_id: Option<String>,
    thread_id: Option<String>,
    recording: Option<Level>,
    transcription: Option<Level>,
    #[serde(default)]
    consent_required: Vec<CaptureType>,
    #[serde(default)]
    shown: Vec<ShownBody>,
    #[serde(default)]
    leaving: bool,
    app: Option<String>,
    sdk: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShownBody {
    #[serde(rename = "type")]
    capture: CaptureType,
    state: Level,
    #[serde(default)]
    elapsed_ms: i64,
    text: Option<ShownText>,
}

impl ReportBody {
    /// Checks what types cannot say.
    pub fn validate(&self) -> Result<(), Problem> {
        if self.report_id.is_empty() || self.report_id.len() > LONGEST_TEXT {
            return Err(Problem::invalid(
                "/report_id",
                format!(
                    "report_id is the client's own id of this report, 1 to {LONGEST_TEXT} bytes"
                ),
            ));
        }
        if self.sequence < 0 {
            return Err(Problem::invalid(
                "/sequence",
                "sequence is the client's own count of its reports, 0 or more",
            ));
        }
        let texts = [
            ("/server_call_id", &self.server_call_id, LONGEST_ID),
            ("/participant_id", &self.participant_id, LONGEST_TEXT),
            ("/group_id", &self.group_id, LONGEST_TEXT),
            ("/thread_id", &self.thread_id, LONGEST_TEXT),
            ("/app", &self.app, LONGEST_TEXT),
            ("/sdk", &self.sdk, LONGEST_TEXT),
        ];
        for (member, text, longest) in texts {
            if text.as_ref().is_some_and(|text| text.len() > longest) {
                return Err(Problem::invalid(member, format!("at most {longest} bytes")));
            }
        }
        if self.shown.len() > MOST_SHOWN {
            return Err(Problem::invalid(
                "/shown",
                format!("at most {MOST_SHOWN} items; report what is shown since the last report"),
            ));
        }
        for (index, shown) in self.shown.iter().enumerate() {
            if !(0..=LONGEST_ELAPSED).contains(&shown.elapsed_ms) {
                return Err(Problem::invalid(
                    format!("/shown/{index}/elapsed_ms"),
                    format!("milliseconds since it was shown, 0 to {LONGEST_ELAPSED}"),
                ));
            }
        }
        Ok(())
    }

    /// The reporter, canonical.
    pub fn attachment(&self) -> String {
        self.attachment.hyphenated().to_string()
    }

    /// The serverCallId that it names, canonical.
    pub fn server_call_id(&self) -> Option<String> {
        self.server_call_id.as_deref().and_then(ids::server_call_id)
    }

    /// The calling event that it is. A serverCallId that is none (too short, a placeholder) counts
    /// as absent: a report of a recording must not be lost for it.
    pub fn into_event(self, raw_id: String, resource_ids: &[String]) -> CallingEvent {
        let reading = read_raw_id(&raw_id);
        let ids = Ids {
            server_call_id: self.server_call_id(),
            participant_id: self
                .participant_id
                .as_deref()
                .map(|id| ids::guid(id).unwrap_or_else(|| id.to_owned()))
                .filter(|id| !id.is_empty()),
            attachment: Some(self.attachment.hyphenated().to_string()),
            group_id: self.group_id.as_deref().and_then(ids::guid),
            ..Ids::default()
        };
        let participant = Participant {
            identity: claimed(reading.kind, reading.resource_id, resource_ids),
            kind: reading.kind,
            cloud: reading.cloud,
            raw_id,
            display_name: None,
            role: None,
        };
        let shown = self
            .shown
            .into_iter()
            .map(|shown| Shown {
                capture: shown.capture,
                state: shown.state,
                elapsed_ms: shown.elapsed_ms,
                text: shown.text,
            })
            .collect();
        let report = Report {
            participant,
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
            redacted: Vec::new(),
        }
    }
}

/// What a subscriber token claims: it is in our own client, so a Teams identity is `teams_custom`.
fn claimed(kind: IdentifierKind, resource_id: Option<&str>, ours: &[String]) -> Identity {
    match kind {
        IdentifierKind::CommunicationUser => {
            let own = ours.is_empty()
                || resource_id.is_some_and(|resource| {
                    ours.iter().any(|own| own.eq_ignore_ascii_case(resource))
                });
            if own {
                Identity::Acs
            } else {
                Identity::AcsForeign
            }
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
    fn a_teams_identity_in_our_client_is_teams_custom() {
        let claims = |raw_id: &str, ours: &[String]| {
            let reading = read_raw_id(raw_id);
            claimed(reading.kind, reading.resource_id, ours)
        };
        assert_eq!(
            claims("8:orgid:daba101a-91c5-44c9-bb9b-e2a9a790571a", &[]),
            Identity::TeamsCustom
        );
        assert_eq!(claims("8:acs:r_u", &[]), Identity::Acs);
        assert_eq!(claims("8:acs:r_u", &["R".to_owned()]), Identity::Acs);
        assert_eq!(
            claims("8:acs:r_u", &["other".to_owned()]),
            Identity::AcsForeign
        );
    }

    #[test]
    fn a_wrong_member_is_named_with_what_is_expected() {
        let read = |text: &str| {
            crate::http::body::read::<ReportBody>(text.as_bytes())
                .err()
                .map(|problem| format!("{problem:?}"))
                .unwrap_or_default()
        };
        let problem = read(
            r#"{"report_id":"1","attachment":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","sequence":1,"recording":"maybe"}"#,
        );
        assert!(
            problem.contains("/recording") && problem.contains("`on`, `paused`, `off`"),
            "{problem}"
        );
        let problem = read(r#"{"report_id":"1","attachment":"x","sequence":1}"#);
        assert!(problem.contains("/attachment"), "{problem}");
        let problem = read(
            r#"{"report_id":"1","attachment":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","sequence":1,"recordnig":"on"}"#,
        );
        assert!(problem.contains("recordnig"), "{problem}");
    }
}
