//! A call as lists and details show it.

use serde::Serialize;

use crate::http::timestamp::{micros, millis};
use crate::postgres::CallRow;

#[derive(Serialize)]
pub(super) struct CallView {
    pub call: String,
    started_at: String,
    ended_at: Option<String>,
    end_presumed: bool,
    /// Absent end: the call goes on. With a presumed end it is an upper bound.
    duration_ms: Option<i64>,
    kind: Option<String>,
    /// The latest verdict; `None`: no fact of the call bears a report.
    verdict: Option<String>,
    consent: Option<String>,
    indication: CallIndicationView,
    /// Whether any source stated that the call was recorded.
    recorded: bool,
    /// Whether any source stated that the call was transcribed.
    transcribed: bool,
    /// An open capture counts to the instant of the answer.
    recording_captured_ms: i64,
    transcription_captured_ms: i64,
    open_captures: i64,
    sessions: i64,
    /// Persons that the tenant has to notify.
    participants_ours: i64,
    participants_others: i64,
    outsiders: i64,
    /// Display names of participants, at most 20.
    names: Vec<String>,
    apps: Vec<String>,
    exceptions: i64,
    open_exceptions: i64,
    group_id: Option<String>,
    flags: Vec<String>,
    evaluated_at: String,
}

#[derive(Serialize)]
struct CallIndicationView {
    recording: CallLevelView,
    transcription: CallLevelView,
}

#[derive(Serialize)]
struct CallLevelView {
    state: String,
    stale: bool,
}

impl From<CallRow> for CallView {
    fn from(row: CallRow) -> Self {
        let level = |state, stale| CallLevelView { state, stale };
        Self {
            call: row.call,
            started_at: millis(row.started_at),
            ended_at: row.ended_at.map(millis),
            end_presumed: row.end_presumed,
            duration_ms: row.duration_ms,
            kind: row.kind,
            verdict: row.verdict,
            consent: row.consent,
            indication: CallIndicationView {
                recording: level(row.recording, row.recording_stale),
                transcription: level(row.transcription, row.transcription_stale),
            },
            recorded: row.recorded,
            transcribed: row.transcribed,
            recording_captured_ms: row.recording_captured_ms,
            transcription_captured_ms: row.transcription_captured_ms,
            open_captures: row.open_captures,
            sessions: row.sessions,
            participants_ours: row.participants_ours,
            participants_others: row.participants_others,
            outsiders: row.outsiders,
            names: row.names,
            apps: row.apps,
            exceptions: row.exceptions,
            open_exceptions: row.open_exceptions,
            group_id: row.group_id,
            flags: row.flags,
            evaluated_at: micros(row.evaluated_at),
        }
    }
}
