//! Random JSON for property tests: any JSON, and JSON that is almost a fact.

use proptest::prelude::*;
use serde_json::{Value, json};

/// Any JSON; members and values of facts are frequent.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
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
            "at",
            "session",
            "reporter",
            "sequence",
            "recording",
            "transcription",
            "type",
            "state",
            "started_at",
            "duration_ms",
            "index",
            "elapsed_ms",
            "witness",
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

/// A fact of a known kind, with extreme numbers.
pub(crate) fn almost_a_fact() -> impl Strategy<Value = Value> {
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
                "id": id.to_string(), "kind": kind, "at": t, "session": "a", "reporter": "a1",
                "type": "recording", "state": state, "recording": level, "started_at": start,
                "sequence": sequence, "index": 0, "duration_ms": duration, "leaving": yes,
                "presumed": yes, "leg": "l", "elapsed_ms": duration,
                "shown": [{"type": "recording", "state": level, "elapsed_ms": duration}],
            })
        },
    )
}
