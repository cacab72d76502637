//! Random JSON for the laws: anything at all, and almost facts.

use proptest::prelude::*;
use serde_json::{Value, json};

/// Any JSON, with a liking for what facts are made of.
pub(in crate::domain) fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "",
        "a",
        "r1",
        "recording",
        "transcription",
        "on",
        "paused",
        "off",
        "active",
        "inactive",
        "acs",
        "\u{0}",
        "call.started",
        "call.ended",
        "session.joined",
        "session.left",
        "report",
        "leg.connected",
        "provider.state",
        "file",
        "notice.displayed",
        "consent.given",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![Just(i64::MIN), Just(i64::MAX), -9..9_i64, any::<i64>()].prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        let member = prop::sample::select(vec![
            "id",
            "kind",
            "t",
            "session",
            "reporter",
            "sequence",
            "recording",
            "transcription",
            "type",
            "state",
            "start",
            "duration",
            "index",
            "elapsed",
            "presumed",
            "leaving",
            "shown",
            "consent_required",
            "identity",
            "leg",
            "capture_kind",
            "x",
        ]);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            proptest::collection::vec((member, inner), 0..12).prop_map(|members| {
                let members = members.into_iter();
                Value::Object(members.map(|(name, it)| (name.to_owned(), it)).collect())
            }),
        ]
    })
}

/// A fact of a kind that we know, whose members hold anything.
pub(in crate::domain) fn almost_a_fact() -> impl Strategy<Value = Value> {
    let extreme = prop_oneof![
        Just(i64::MIN),
        Just(i64::MIN + 1),
        Just(-1),
        Just(0),
        Just(1),
        Just(i64::MAX - 1),
        Just(i64::MAX),
    ];
    let kind = prop::sample::select(vec![
        "call.started",
        "call.ended",
        "session.joined",
        "session.left",
        "leg.connected",
        "provider.state",
        "report",
        "file",
        "notice.dispatched",
        "notice.delivered",
        "notice.displayed",
        "notice.hidden",
        "notice.acknowledged",
        "consent.given",
        "consent.declined",
    ]);
    let state = prop::sample::select(vec!["active", "inactive", "on", "off", "paused"]);
    let level = prop::sample::select(vec!["on", "paused", "off"]);
    let numbers = (extreme.clone(), extreme.clone(), extreme, any::<u64>());
    (0..9_u8, kind, state, level, numbers, any::<bool>()).prop_map(
        |(id, kind, state, level, (t, start, sequence, duration), yes)| {
            json!({
                "id": id.to_string(), "kind": kind, "t": t, "session": "a", "reporter": "a1",
                "type": "recording", "state": state, "recording": level, "start": start,
                "sequence": sequence, "index": 0, "duration": duration, "leaving": yes,
                "presumed": yes, "leg": "l", "elapsed": duration,
                "shown": [{"type": "recording", "state": level, "elapsed": duration}],
            })
        },
    )
}
