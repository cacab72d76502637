//! A report for people: the names of participants, and instants as wall-clock times in UTC and a named zone.
//! The report itself has ids and milliseconds, so that it can be computed again and compared.

use std::collections::HashMap;

use chrono_tz::Tz;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::postgres::SessionDetailRow;
use crate::query::time_range::wall_clock;
use onrecord_evidence::event::instant::{self, Millis};

/// The parts of a report with names and wall-clock times.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReadableReport {
    /// The time zone of `local`.
    tz: &'static str,
    /// `started_at` and `ended_at`, each as `utc` and `local`, and `end_presumed`.
    #[schema(value_type = Object)]
    call: Value,
    /// The sessions of the report with `display_name` and `raw_id`; each instant as `utc` and
    /// `local`.
    #[schema(value_type = Vec<Object>)]
    sessions: Vec<Value>,
    /// The captures of the report; each instant as `utc` and `local`.
    #[schema(value_type = Vec<Object>)]
    captures: Vec<Value>,
    /// The obligations in the order of the report, with `display_name` and `raw_id`; each instant
    /// as `utc` and `local`.
    #[schema(value_type = Vec<Object>)]
    obligations: Vec<Value>,
}

impl ReadableReport {
    /// `sessions` are those that the call has now; one that a former version alone has is without a name.
    pub(super) fn of(report: &Value, sessions: &[SessionDetailRow], zone: Tz) -> Self {
        let names: HashMap<&str, &SessionDetailRow> =
            sessions.iter().map(|row| (row.session.as_str(), row)).collect();
        let parts = |member: &str, session: Option<&str>| -> Vec<Value> {
            let parts = report[member].as_array().into_iter().flatten();
            let parts = parts.map(|part| {
                let name = session.and_then(|member| part[member].as_str());
                readable(
                    part,
                    session.map(|_| name.and_then(|name| names.get(name).copied())),
                    zone,
                )
            });
            parts.collect()
        };
        Self {
            tz: zone.name(),
            call: readable(&report["call"], None, zone),
            sessions: parts("sessions", Some("session")),
            captures: parts("captures", None),
            obligations: parts("obligations", Some("session")),
        }
    }
}

/// A part of a report: its instants as wall-clock times, and the name of its session if it has one.
fn readable(part: &Value, session: Option<Option<&SessionDetailRow>>, zone: Tz) -> Value {
    let members = part.as_object().into_iter().flatten();
    let mut readable: Map<String, Value> = members
        .map(|(name, value)| match value.as_i64().filter(|_| name.ends_with("_at")) {
            Some(at) => (name.clone(), times(at, zone)),
            None => (name.clone(), value.clone()),
        })
        .collect();
    if let Some(row) = session {
        readable.insert(
            "display_name".to_owned(),
            json!(row.and_then(|row| row.display_name.as_ref())),
        );
        readable.insert("raw_id".to_owned(), json!(row.and_then(|row| row.raw_id.as_ref())));
    }
    Value::Object(readable)
}

/// An instant in UTC and in the zone; null beyond the calendar.
fn times(at: Millis, zone: Tz) -> Value {
    let instant = chrono::DateTime::from_timestamp_millis(at);
    instant.map_or(
        Value::Null,
        |local| json!({ "utc": instant::text(at), "local": wall_clock(local, zone) }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_become_wall_clock_times_and_lengths_stay() {
        let report = json!({
            "call": { "started_at": 1_793_465_999_000_i64, "ended_at": null, "end_presumed": false },
            "captures": [{ "type": "recording", "started_at": 1_793_466_000_000_i64, "ended_at": null }],
            "sessions": [{ "session": "s", "joined_at": 1_793_466_000_000_i64 }],
            "obligations": [{ "session": "s", "due_at": 1_793_466_000_000_i64, "exposure_ms": 12 }],
        });
        let readable = json!(ReadableReport::of(&report, &[], Tz::Europe__Berlin));
        assert_eq!(
            readable["call"]["started_at"],
            json!({ "utc": "2026-10-31T16:59:59.000Z", "local": "2026-10-31T17:59:59.000+01:00" })
        );
        assert_eq!(readable["call"]["ended_at"], Value::Null);
        assert_eq!(readable["obligations"][0]["exposure_ms"], 12);
        assert_eq!(readable["obligations"][0]["display_name"], Value::Null);
        assert!(readable["captures"][0].get("display_name").is_none());
        assert_eq!(readable["tz"], "Europe/Berlin");
    }
}
