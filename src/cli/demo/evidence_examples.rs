//! The evidence of one good and one bad call, as the server gives it: a table, and the commands
//! that recompute it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use super::acknowledgements::CallAcknowledgements;
use super::commands;
use super::environment::DemoServer;
use super::terminal::Terminal;
use crate::cli::evidence::display_zone::DisplayZone;
use crate::cli::evidence::evidence_table::{
    EvidenceRow, EvidenceTable, consent_words, flag_note, verdict_words,
};
use crate::cli::evidence::exported_report::ExportedReport;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::person_name::person_name;
use onrecord_simulator::{ApiReadError, ApiReader};

/// Timeout of the report of a call; a call without one is skipped.
const REPORT_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval between two reads of the facts.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// What a call is an example of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::Display)]
#[strum(serialize_all = "snake_case")]
pub(super) enum ExampleKind {
    /// Every required notice was shown in time, and there was at least one.
    Good,
    /// A required notice was not shown, or too late.
    Bad,
}

/// Prints the evidence of the first call of each kind.
pub(super) struct EvidenceExamples {
    reader: ApiReader,
    key: String,
    program: String,
    terminal: Terminal,
    wanted: Mutex<BTreeSet<ExampleKind>>,
}

impl EvidenceExamples {
    pub(super) fn new(server: &DemoServer, terminal: &Terminal) -> anyhow::Result<Self> {
        Ok(Self {
            reader: ApiReader::new(&server.url, server.admin_key.clone())?,
            key: server.admin_key.clone(),
            program: server.program.display().to_string(),
            terminal: terminal.clone(),
            wanted: Mutex::new(BTreeSet::from([ExampleKind::Good, ExampleKind::Bad])),
        })
    }

    /// Prints the evidence of a call that is over, if no call of its kind was printed yet. Waits
    /// until all expected facts are in the stored report.
    pub(super) async fn consider(&self, call: &CallAcknowledgements) {
        if self.missing().is_empty() {
            return;
        }
        match self.example(call).await {
            Ok(Some(text)) => self.terminal.print(&text),
            Ok(None) => {}
            Err(error) => self.terminal.print(&error.to_string()),
        }
    }

    /// The kinds of which no call was printed yet.
    pub(super) fn missing(&self) -> BTreeSet<ExampleKind> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn example(&self, call: &CallAcknowledgements) -> Result<Option<String>, ApiReadError> {
        let began = Instant::now();
        while !self.is_complete(call).await? {
            if began.elapsed() >= REPORT_TIMEOUT {
                return Ok(None);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let evidence = self.reader.evidence::<EvidenceBody>(&call.public_id).await?;
        let example = evidence.and_then(|evidence| Some((evidence.kind()?, evidence)));
        let is_wanted = |kind: &ExampleKind| {
            self.wanted.lock().unwrap_or_else(PoisonError::into_inner).remove(kind)
        };
        let Some((kind, evidence)) = example.filter(|(kind, _)| is_wanted(kind)) else {
            return Ok(None);
        };
        let detail = self.reader.call(&call.public_id).await?.unwrap_or_default();
        let table = evidence.table(kind, call, &detail);
        let commands = commands::evidence_commands(
            &self.key,
            &self.reader.resource_url(&call.public_id, "evidence"),
            &self.reader.resource_url(&call.public_id, "facts"),
            &self.program,
        );
        Ok(Some(format!("{table}\n{commands}")))
    }

    /// Whether the end of a call and all expected facts are in its stored report.
    async fn is_complete(&self, call: &CallAcknowledgements) -> Result<bool, ApiReadError> {
        let facts = self.reader.facts(&call.public_id).await?;
        // Facts that cannot be read are read again until the timeout.
        let exported = facts.and_then(|facts| ExportedReport::read(&facts).ok());
        Ok(exported.is_some_and(|exported| {
            !exported.report["call"]["ended_at"].is_null()
                && call.missing_from(&exported).is_empty()
        }))
    }
}

/// The response of `GET /v1/calls/{call}/evidence`; only the members that are used here.
#[derive(Deserialize)]
struct EvidenceBody {
    verdict: String,
    consent: String,
    as_of: String,
    report: ReportObligations,
    why: Vec<ExplanationBody>,
}

#[derive(Deserialize)]
struct ReportObligations {
    obligations: Vec<ObligationBody>,
}

/// What identifies an obligation.
#[derive(PartialEq, Deserialize)]
struct ObligationKey {
    session: String,
    r#type: String,
    due_at: Millis,
}

#[derive(Deserialize)]
struct ObligationBody {
    #[serde(flatten)]
    key: ObligationKey,
    shown_at: Option<Millis>,
    exposure_ms: Option<Millis>,
    status: String,
    consent: String,
}

#[derive(Deserialize)]
struct ExplanationBody {
    #[serde(flatten)]
    key: ObligationKey,
    rule: String,
}

impl ObligationBody {
    fn is_exception(&self) -> bool {
        matches!(self.status.as_str(), "LATE" | "UNCONFIRMED" | "UNDELIVERED" | "NOT_SENT")
    }
}

impl EvidenceBody {
    fn kind(&self) -> Option<ExampleKind> {
        let any = |fits: fn(&ObligationBody) -> bool| self.report.obligations.iter().any(fits);
        match self.verdict.as_str() {
            "COMPLIANT" if any(|obligation| obligation.status == "MET") => Some(ExampleKind::Good),
            "EXCEPTIONS" if any(ObligationBody::is_exception) => Some(ExampleKind::Bad),
            _ => None,
        }
    }

    fn table(&self, kind: ExampleKind, call: &CallAcknowledgements, detail: &Value) -> String {
        let names = names(detail);
        let who = |session: &str| {
            let name = names.get(session);
            name.map_or_else(|| person_name(None, None, session), Clone::clone)
        };
        // One reason is enough here; `onrecord evidence show` has all of them.
        let explained = self.report.obligations.iter().position(ObligationBody::is_exception);
        let rows = self.report.obligations.iter().enumerate().map(|(number, obligation)| {
            let why = self.why.iter().find(|why| why.key == obligation.key);
            EvidenceRow {
                who: who(&obligation.key.session),
                capture_type: obligation.key.r#type.clone(),
                due_at: obligation.key.due_at,
                shown_at: obligation.shown_at,
                exposure_ms: obligation.exposure_ms,
                status: obligation.status.clone(),
                consent: obligation.consent.clone(),
                why: why.filter(|_| explained == Some(number)).map(|why| why.rule.clone()),
            }
        });
        let participants = detail["participants"].as_array().into_iter().flatten();
        let flagged = participants.filter_map(|one| {
            let flags = one["flags"].as_array()?.iter().filter_map(Value::as_str);
            flag_note(&who(one["session"].as_str()?), flags)
        });
        let table = EvidenceTable {
            title: format!(
                "Evidence of a {kind} call, {} {}: {}",
                call.title, call.public_id, self.verdict
            ),
            summary: vec![
                ("verdict", verdict_words(&self.verdict)),
                ("consent", consent_words(&self.consent)),
                ("as of", self.as_of.clone()),
            ],
            rows: rows.collect(),
            notes: flagged.collect(),
            zone: DisplayZone::UTC,
        };
        table.text()
    }
}

/// The name of the person of each session of a call.
fn names(detail: &Value) -> HashMap<String, String> {
    let participants = detail["participants"].as_array();
    let named = participants.into_iter().flatten().filter_map(|one| {
        let session = one["session"].as_str()?;
        let name = person_name(one["display_name"].as_str(), one["raw_id"].as_str(), session);
        Some((session.to_owned(), name))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn evidence(verdict: &str, status: &str) -> EvidenceBody {
        let obligation = |session: &str,
                          shown: Option<Millis>,
                          exposure: Option<Millis>,
                          status: &str| {
            json!({"session": session, "type": "recording", "due_at": 1_795_000_000_000_i64, "shown_at": shown, "exposure_ms": exposure, "status": status, "consent": "NOT_REQUIRED"})
        };
        let body = json!({
            "verdict": verdict, "consent": "NOT_REQUIRED", "as_of": "2026-11-18T11:06:50.000Z",
            "report": { "obligations": [
                obligation("p:1", Some(1_795_000_000_035), Some(35), "MET"),
                obligation("p:2", None, Some(4_000), status),
                obligation("r:4:+14255550123@1795000000000", None, None, "NOT_OURS"),
            ] },
            "why": [
                { "session": "p:1", "type": "recording", "due_at": 1_795_000_000_000_i64, "rule": "In time." },
                { "session": "p:2", "type": "recording", "due_at": 1_795_000_000_000_i64, "rule": "No notice was shown." },
            ],
        });
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn the_table_names_every_session_and_explains_one_exception_and_each_stranger() {
        let detail = json!({ "participants": [
            { "session": "p:1", "display_name": "Ada Lindqvist", "raw_id": "8:acs:a_b" },
            { "session": "p:2", "display_name": null, "raw_id": "8:acs:0be2ef5c-8b43-4bc1-9f1a-3a8bd0ce6a4c_0000002a-1fb9-4878-07fd-0848220077e1" },
            { "session": "t:a1", "display_name": null, "raw_id": "8:acs:a_c", "flags": ["CLAIM_REFUSED", "OUTSIDER"] },
        ] });
        let call = CallAcknowledgements {
            title: "Teams meeting",
            public_id: "c".to_owned(),
            ..CallAcknowledgements::default()
        };
        let table = evidence("EXCEPTIONS", "NOT_SENT").table(ExampleKind::Bad, &call, &detail);
        let expected = "
Evidence of a bad call, Teams meeting c: EXCEPTIONS

verdict  a required notice is missing or late (EXCEPTIONS)
consent  not required (NOT_REQUIRED)
as of    2026-11-18T11:06:50.000Z

who               type       due (UTC)     shown (UTC)   exposure  status                             consent
Ada Lindqvist     recording  11:06:40.000  11:06:40.035  35 ms     shown in time (MET)                not required (NOT_REQUIRED)
ACS user …77e1    recording  11:06:40.000  –             4000 ms   no notice was sent (NOT_SENT)      not required (NOT_REQUIRED)
participant …0000  recording  11:06:40.000  –             –         another party notifies (NOT_OURS)  not required (NOT_REQUIRED)

Why ACS user …77e1 is NOT_SENT for the recording: No notice was shown.

ACS user …ac is flagged CLAIM_REFUSED and OUTSIDER: a client names a participantId that is not its own, and the platform names others in the call and not this person. Its reports and acknowledgements count for no other participant.
";
        let words = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
        };
        assert_eq!(words(&table), words(expected));
    }

    #[test]
    fn a_call_with_a_shown_notice_is_good_and_one_with_an_exception_is_bad() {
        for (verdict, status, kind) in [
            ("COMPLIANT", "BRIEF", Some(ExampleKind::Good)),
            ("EXCEPTIONS", "LATE", Some(ExampleKind::Bad)),
            ("UNOBSERVED", "MET", None),
            ("PENDING", "PENDING", None),
        ] {
            assert_eq!(evidence(verdict, status).kind(), kind, "{verdict}");
        }
    }
}
