//! The report of a call as pages show it: parsed from its JSON, with the names of the participants.

use serde::Deserialize;
use serde_json::Value;

use crate::console::words::catalogue::Words;
use crate::http::problem::{Problem, ProblemKind};
use crate::postgres::SessionDetailRow;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::CaptureType;
use onrecord_evidence::identity::person_name::person_name;

/// A report of the rules 2 (`docs/evidence-rules.md`, section 9).
#[derive(Debug, Deserialize)]
pub(in crate::console) struct ShownReport {
    pub rules: String,
    pub verdict: String,
    pub consent: String,
    pub call: ShownCall,
    pub sessions: Vec<ShownSession>,
    pub captures: Vec<ShownCapture>,
    pub obligations: Vec<ShownObligation>,
    pub observation: ShownObservation,
    pub flags: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(in crate::console) struct ShownCall {
    pub started_at: Millis,
    pub ended_at: Option<Millis>,
    pub end_presumed: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(in crate::console) struct ShownSession {
    pub session: String,
    pub identity: String,
    pub ours: bool,
    pub joined_at: Millis,
    pub left_at: Option<Millis>,
}

#[derive(Debug, Deserialize)]
pub(in crate::console) struct ShownCapture {
    #[serde(rename = "type")]
    pub capture_type: CaptureType,
    pub started_at: Millis,
    pub ended_at: Option<Millis>,
    pub start_source: String,
    pub sources: Vec<String>,
    pub kinds: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(in crate::console) struct ShownObligation {
    pub session: String,
    #[serde(rename = "type")]
    pub capture_type: CaptureType,
    pub due_at: Millis,
    pub ends_at: Option<Millis>,
    pub dispatched_at: Option<Millis>,
    pub delivered_at: Option<Millis>,
    pub shown_at: Option<Millis>,
    pub acknowledged_at: Option<Millis>,
    pub exposure_ms: Option<Millis>,
    pub exposure_min_ms: Option<Millis>,
    pub status: String,
    pub consent: String,
}

#[derive(Debug, Deserialize)]
pub(in crate::console) struct ShownObservation {
    pub recording: ObservedPart,
    pub transcription: ObservedPart,
}

/// How much of the time that was to be observed was.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct ObservedPart {
    pub observed_ms: Millis,
    pub watch_ms: Millis,
}

impl ObservedPart {
    /// Of a hundred, rounded down: only what was observed whole is 100.
    pub(in crate::console) fn percent(&self) -> i64 {
        if self.watch_ms <= 0 { 100 } else { self.observed_ms.saturating_mul(100) / self.watch_ms }
    }
}

/// The numbers of obligations that a sentence about the verdict has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::console) struct ObligationCounts {
    pub due: usize,
    pub in_time: usize,
    pub late: usize,
    pub not_proven: usize,
    pub pending: usize,
    pub brief: usize,
}

impl ShownReport {
    /// The report in a JSON value.
    ///
    /// # Errors
    ///
    /// It is of rules that pages do not show.
    pub(in crate::console) fn parse(report: &Value) -> Result<Self, Problem> {
        Self::deserialize(report).map_err(|_| {
            Problem::new(
                ProblemKind::Conflict,
                "this version is of former rules, which pages do not show; GET /v1/calls/{call}/evidence does",
            )
        })
    }

    /// How the obligations of ours ended.
    pub(in crate::console) fn counts(&self) -> ObligationCounts {
        let mut counts = ObligationCounts::default();
        for obligation in self.obligations.iter().filter(|it| it.status != "NOT_OURS") {
            counts.due += 1;
            match obligation.status.as_str() {
                "MET" => counts.in_time += 1,
                "LATE" => counts.late += 1,
                "PENDING" => counts.pending += 1,
                "BRIEF" => counts.brief += 1,
                _ => counts.not_proven += 1,
            }
        }
        counts
    }

    /// Where the time of the call ends in a chart: its end, or the instant of the report.
    pub(in crate::console) fn end(&self, as_of: Millis) -> Millis {
        self.call.ended_at.unwrap_or(as_of).max(self.call.started_at)
    }
}

/// What an auditor must know about the clients of a session: codes with their meanings.
pub(in crate::console) fn session_flags(
    row: &SessionDetailRow,
    words: Words,
) -> Vec<(String, &'static str)> {
    let meaning = |flag: &str| words.find(&format!("flag.{flag}.meaning")).unwrap_or_default();
    row.flags.iter().map(|flag| (flag.clone(), meaning(flag))).collect()
}

/// The name of the person of a session.
pub(in crate::console) fn name_of(sessions: &[SessionDetailRow], session: &str) -> String {
    let row = sessions.iter().find(|row| row.session == session);
    let (name, raw_id) =
        row.map_or((None, None), |row| (row.display_name.as_deref(), row.raw_id.as_deref()));
    person_name(name, raw_id, session)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        let obligation = |status: &str| {
            json!({
                "session": "a", "type": "recording", "due_at": 59_800, "ends_at": 120_500,
                "dispatched_at": 60_050, "delivered_at": 60_100, "shown_at": 60_300, "acknowledged_at": null,
                "already_shown": false, "exposure_ms": 500, "exposure_min_ms": 350, "shown_ms": 60_200,
                "late_facts": 0, "status": status, "consent": "GIVEN"
            })
        };
        let statuses = ["MET", "NOT_OURS", "NOT_SENT", "UNCONFIRMED", "LATE", "PENDING", "BRIEF"];
        json!({
            "rules": "2", "verdict": "EXCEPTIONS", "consent": "GIVEN",
            "call": { "started_at": 0, "ended_at": null, "end_presumed": false },
            "sessions": [], "captures": [], "flags": [],
            "obligations": statuses.map(obligation),
            "observation": {
                "recording": { "observed_ms": 149_999, "watch_ms": 150_000 },
                "transcription": { "observed_ms": 0, "watch_ms": 0 }
            }
        })
    }

    #[test]
    fn a_report_has_the_numbers_of_its_sentence_and_one_of_former_rules_is_refused() {
        let parsed = ShownReport::parse(&report()).unwrap();
        let expected =
            ObligationCounts { due: 6, in_time: 1, late: 1, not_proven: 2, pending: 1, brief: 1 };
        assert_eq!(parsed.counts(), expected);
        assert_eq!(parsed.observation.recording.percent(), 99);
        assert_eq!(parsed.observation.transcription.percent(), 100);
        assert_eq!(parsed.end(7), 7);
        let mut former = report();
        former.as_object_mut().unwrap().remove("captures");
        assert!(ShownReport::parse(&former).is_err());
    }
}
