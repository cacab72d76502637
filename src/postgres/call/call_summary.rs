//! What a list shows of a call besides its own columns: a part of its row.
//!
//! # Why
//!
//! A list of 100 calls looked up six tables for each of them, some 3,000 pages. All of it follows from the rows that a
//! projection writes, so it writes this too. Exceptions are counted by the reader: they also change without a projection.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What a call looks like in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallSummary {
    /// `None`: its facts bear no report.
    pub verdict: Option<String>,
    /// `None`: its facts bear no report.
    pub consent: Option<String>,
    pub sessions: i64,
    pub participants_ours: i64,
    pub participants_others: i64,
    pub outsiders: i64,
    /// Display names, the first of them.
    pub names: Vec<String>,
    pub recording: CaptureSummary,
    pub transcription: CaptureSummary,
}

/// The captures of a type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureSummary {
    /// How many there were.
    pub captures: i64,
    /// The sum of the lengths of those that ended, in ms.
    pub ended_ms: i64,
    /// The starts of those that go on, in ms since 1970.
    pub open_since: Vec<i64>,
}

impl CaptureSummary {
    /// The sum of the lengths of all, in ms; those that go on until now.
    #[must_use]
    pub fn captured_ms(&self, now: DateTime<Utc>) -> i64 {
        let open = self.open_since.iter().map(|since| now.timestamp_millis() - since);
        self.ended_ms + open.sum::<i64>()
    }
}
