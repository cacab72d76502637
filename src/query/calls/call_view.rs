//! A call as lists and details show it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::http::timestamp::{micros, millis};
use crate::openapi::named_schemas::{ConsentSchema, IndicationStateSchema, VerdictSchema};
use crate::postgres::CallRow;

/// A call as it is known now.
#[derive(Serialize, ToSchema)]
#[schema(as = Call)]
pub(crate) struct CallView {
    /// The id of the call: that of its strongest anchor. It changes when calls are merged;
    /// `aliases` of one call keep the former ones.
    pub call: String,
    /// The start of the call.
    #[schema(format = DateTime)]
    started_at: String,
    /// The end of the call. Null: it goes on.
    #[schema(format = DateTime, required = true)]
    ended_at: Option<String>,
    /// No source stated the end: the service presumed it, because nothing shows that the call goes
    /// on.
    end_presumed: bool,
    /// Length of the call in milliseconds. Null: it goes on. With a presumed end it is an upper
    /// bound.
    #[schema(required = true)]
    duration_ms: Option<i64>,
    /// `room`, `meeting`, `two_party` or `group`. Null: no event states it.
    #[schema(required = true)]
    kind: Option<String>,
    /// The latest verdict. Null: no fact of the call bears a report.
    #[schema(value_type = Option<VerdictSchema>, required = true)]
    verdict: Option<String>,
    /// The consent of the participants, the worst of the obligations that are ours. Null: no
    /// report.
    #[schema(value_type = Option<ConsentSchema>, required = true)]
    consent: Option<String>,
    /// The level of recording and transcription now, or at the end of the call.
    indication: CallIndicationView,
    /// Whether any source stated that the call was recorded.
    recorded: bool,
    /// Whether any source stated that the call was transcribed.
    transcribed: bool,
    /// Recorded time in milliseconds; an open capture counts to the instant of the answer.
    recording_captured_ms: i64,
    /// Transcribed time in milliseconds; an open capture counts to the instant of the answer.
    transcription_captured_ms: i64,
    /// Number of captures that go on.
    open_captures: i64,
    /// Number of sessions.
    sessions: i64,
    /// Number of persons that the tenant must notify.
    participants_ours: i64,
    /// Number of persons that others notify.
    participants_others: i64,
    /// Number of persons whose clients report although the platform did not name them in the call.
    outsiders: i64,
    /// Display names of participants, at most 20. Personal data.
    names: Vec<String>,
    /// The apps that reports name, with their versions.
    apps: Vec<String>,
    /// Number of exceptions, open or closed.
    exceptions: i64,
    /// Number of open exceptions.
    open_exceptions: i64,
    /// The group id of the call. Null: none is known.
    #[schema(required = true)]
    group_id: Option<String>,
    /// What an auditor must know about the facts: codes of the rules of evidence.
    flags: Vec<String>,
    /// When the rules of evidence were last applied to the call.
    #[schema(format = DateTime)]
    evaluated_at: String,
}

/// The levels of a call.
#[derive(Serialize, ToSchema)]
#[schema(as = CallIndication)]
struct CallIndicationView {
    /// The level of recording.
    recording: CallLevelView,
    /// The level of transcription.
    transcription: CallLevelView,
}

/// The level of one type.
#[derive(Serialize, ToSchema)]
#[schema(as = CallLevel)]
struct CallLevelView {
    /// The state.
    #[schema(value_type = IndicationStateSchema)]
    state: String,
    /// The state is `on`, and no source that states it is live any more.
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
