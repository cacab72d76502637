//! The key and the value of a flat record.

use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde_json::{Map, Value, json};

use crate::http::timestamp::micros;
use crate::kafka::KeyedRecord;
use crate::postgres::{FlatCall, FlatRow, FlatView};
use onrecord_evidence::event::ids::Digest;

/// Columns of `calls` that change with each evaluation or with the time: they alone make no other record.
const PASSING: [&str; 2] = ["evaluated_at", "complete_through"];

/// A record as it is published.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FlatRecord {
    /// The view of the schema `reading` of which it is a row.
    pub view: FlatView,
    /// JSON.
    pub value: String,
    /// Of the value, without the columns that pass.
    pub digest: Digest,
}

impl FlatRecord {
    /// The record of a row as it is at an instant, and its key.
    ///
    /// # Errors
    ///
    /// The row is no JSON object.
    pub(super) fn of(
        tenant: &str,
        row: FlatRow,
        now: DateTime<Utc>,
    ) -> serde_json::Result<(String, Self)> {
        let mut columns: Map<String, Value> = serde_json::from_str(&row.json)?;
        for (name, value) in &mut columns {
            if name.ends_with("_at") || name == "complete_through" {
                *value = instant(value);
            }
        }
        let key = key(tenant, &row.call, row.view, &columns);
        let mut lasting = columns.clone();
        lasting.retain(|name, _| !PASSING.contains(&name.as_str()));
        let digest = Digest::of(serde_json::to_string(&lasting)?.as_bytes());
        columns.insert("record".to_owned(), json!(<&str>::from(row.view)));
        columns.insert("removed".to_owned(), json!(false));
        columns.insert("published_at".to_owned(), json!(micros(now)));
        Ok((key, Self { view: row.view, value: serde_json::to_string(&columns)?, digest }))
    }
}

impl FlatRecord {
    /// The message that replaces the record with this key.
    pub(super) fn to_message(&self, key: String, call: &FlatCall) -> KeyedRecord {
        message(key, self.view, call, self.value.clone(), &self.digest)
    }
}

/// The messages that remove the record with this key: its key columns with `removed`, for sinks that skip messages
/// without a value, then a tombstone.
///
/// # Errors
///
/// The key was not made by this module.
pub(super) fn removal(
    key: &str,
    call: &FlatCall,
    now: DateTime<Utc>,
) -> serde_json::Result<[KeyedRecord; 2]> {
    let parts: Vec<Value> = serde_json::from_str(key)?;
    let view: Option<FlatView> =
        parts.first().and_then(Value::as_str).and_then(|name| name.parse().ok());
    let view = view.ok_or_else(|| serde_json::Error::custom(format!("{key} is no key")))?;
    let names = ["record", "tenant", "call"].iter().chain(view.key_columns());
    let mut columns: Map<String, Value> =
        names.map(|name| (*name).to_owned()).zip(parts.iter().cloned()).collect();
    columns.insert("removed".to_owned(), json!(true));
    columns.insert("published_at".to_owned(), json!(micros(now)));
    let value = serde_json::to_string(&columns)?;
    let digest = Digest::of(value.as_bytes());
    let removed = message(key.to_owned(), view, call, value, &digest);
    Ok([removed, KeyedRecord { key: key.to_owned(), headers: Vec::new(), value: None }])
}

fn message(
    key: String,
    view: FlatView,
    call: &FlatCall,
    value: String,
    digest: &Digest,
) -> KeyedRecord {
    let headers = [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_type", format!("onrecord.{}", <&str>::from(view))),
        ("ce_source", "onrecord/calls".to_owned()),
        ("ce_id", digest.to_string()),
        ("ce_tenant", call.tenant.clone()),
        ("ce_subject", call.call.clone()),
        ("content-type", "application/json".to_owned()),
    ];
    let headers = headers.into_iter().map(|(name, value)| (name.into(), value)).collect();
    KeyedRecord { key, headers, value: Some(value) }
}

/// A JSON array: no value in it can be mistaken for two.
fn key(tenant: &str, call: &str, view: FlatView, columns: &Map<String, Value>) -> String {
    let mut parts = vec![json!(<&str>::from(view)), json!(tenant), json!(call)];
    let named = view.key_columns().iter();
    parts.extend(named.map(|name| columns.get(*name).cloned().unwrap_or_default()));
    Value::Array(parts).to_string()
}

/// An instant of PostgreSQL in the form of all other interfaces: RFC 3339 in UTC with microseconds.
fn instant(value: &Value) -> Value {
    let parsed = value.as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok());
    // What is no instant stays as it is: null.
    parsed.map_or_else(|| value.clone(), |at| json!(micros(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(view: FlatView, row: &Value) -> (String, FlatRecord) {
        let row = FlatRow { view, call: "a".to_owned(), json: row.to_string() };
        FlatRecord::of("contoso", row, DateTime::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn a_record_has_all_columns_with_instants_in_one_form() {
        let row =
            json!({"call": "a", "ended_at": null, "started_at": "2026-11-30T01:02:03.4+00:00"});
        let (key, record) = record(FlatView::Calls, &row);
        assert_eq!(key, r#"["call","contoso","a"]"#);
        assert_eq!(
            record.value,
            r#"{"call":"a","ended_at":null,"published_at":"1970-01-01T00:00:00.000000Z","record":"call","removed":false,"started_at":"2026-11-30T01:02:03.400000Z"}"#
        );
    }

    #[test]
    fn an_evaluation_that_finds_the_same_makes_no_other_record() {
        let row = |evaluated: &str, flags: &[&str]| {
            record(FlatView::Calls, &json!({"evaluated_at": evaluated, "flags": flags})).1.digest
        };
        assert_eq!(row("2026-11-30T01:00:00+00:00", &[]), row("2026-11-30T02:00:00+00:00", &[]));
        assert_ne!(row("2026-11-30T01:00:00+00:00", &[]), row("2026-11-30T01:00:00+00:00", &["A"]));
    }

    #[test]
    fn the_keys_of_two_records_differ() {
        let row = |session: &str, kind: &str| {
            let row =
                json!({"type": kind, "due_at": "2026-11-30T01:00:00+00:00", "session": session});
            record(FlatView::Obligations, &row).0
        };
        assert_eq!(
            row("s", "recording"),
            r#"["obligation","contoso","a","recording","2026-11-30T01:00:00.000000Z","s"]"#
        );
        assert_ne!(row("s\",\"t", "recording"), row("s", "t"));
    }

    #[test]
    fn a_removal_names_the_record_and_ends_with_a_tombstone() {
        let key = r#"["capture","contoso","a","recording","2026-11-30T01:00:00.000000Z"]"#;
        let call = FlatCall { tenant: "contoso".to_owned(), call: "a".to_owned() };
        let [removed, tombstone] = removal(key, &call, DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(
            removed.value.unwrap(),
            r#"{"call":"a","published_at":"1970-01-01T00:00:00.000000Z","record":"capture","removed":true,"started_at":"2026-11-30T01:00:00.000000Z","tenant":"contoso","type":"recording"}"#
        );
        assert_eq!((tombstone.key.as_str(), tombstone.value), (key, None));
        assert!(removal("[1]", &call, DateTime::UNIX_EPOCH).is_err());
    }
}
