//! The rows of one call: call, sessions, captures.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::call_summary::CallSummary;

/// All rows of one call, the result of an evaluation. Serialized, it is the row of `call`.
#[derive(Debug, Serialize)]
pub struct CallRowSet {
    pub tenant: String,
    pub call: String,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub end_presumed: bool,
    pub recording: &'static str,
    pub recording_stale: bool,
    pub transcription: &'static str,
    pub transcription_stale: bool,
    pub group_id: Option<String>,
    /// `None`: no event states it.
    pub kind: Option<&'static str>,
    pub apps: Vec<String>,
    /// Values by which lists are filtered: `state=open`, `name=Ann`.
    #[serde(skip)]
    pub terms: BTreeSet<String>,
    /// Digest of the terms, and of what statistics count besides.
    pub terms_digest: i64,
    pub flags: Vec<String>,
    pub summary: CallSummary,
    pub fact_count: i32,
    /// `None`: the end of the call cannot be presumed.
    pub last_activity_at: Option<DateTime<Utc>>,
    pub next_evaluation_at: Option<DateTime<Utc>>,
    pub evaluated_at: DateTime<Utc>,
    #[serde(skip)]
    pub sessions: Vec<SessionRow>,
    #[serde(skip)]
    pub captures: Vec<CaptureRow>,
}

/// One presence of one participant.
#[derive(Debug)]
pub struct SessionRow {
    pub session: String,
    pub identity: String,
    pub ours: bool,
    pub raw_id: Option<String>,
    pub display_name: Option<String>,
    pub kind: Option<String>,
    pub participant_id: Option<String>,
    /// The clients of the session: `[{attachment, raw_id, trust}]`.
    pub attachments: serde_json::Value,
    pub user_agent: Option<String>,
    pub joined_at: DateTime<Utc>,
    pub left_at: Option<DateTime<Utc>>,
    pub join_inferred: bool,
    pub left_inferred: bool,
    pub flags: Vec<&'static str>,
    /// `None`: no client reports.
    pub proof: Option<&'static str>,
}

/// One uninterrupted interval of a capture.
#[derive(Debug, Serialize)]
pub struct CaptureRow {
    pub tenant: String,
    pub call: String,
    pub r#type: String,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub start_source: String,
    pub sources: Vec<String>,
    pub recordings: Vec<String>,
    pub kinds: Vec<String>,
}
