//! Law 3: nothing that is authenticated is lost, and one bad event takes no other with it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::json;

use crate::config::SourceKind;
use crate::domain::calling_event::Statement;
use crate::domain::ids::Digest;
use crate::intake::delivery::{
    Contents, Delivery, Door, Normalized, Taken, Unreadable, take_apart,
};
use crate::intake::reason::Reason;

const EVENT_GRID: Door<'static> = Door {
    kind: SourceKind::EventGrid,
    source: "Contoso-Calls",
    resource_ids: &[],
};

pub(super) const CALL_AUTOMATION: Door<'static> = Door {
    kind: SourceKind::CallAutomation,
    ..EVENT_GRID
};

const CORRELATION: &str = "5d169a62-eaa9-4cd1-9397-f77a623bd983";

fn posted(door: &Door<'_>, body: impl AsRef<[u8]>) -> Contents {
    let delivery = Delivery {
        content_type: Some("application/json"),
        headers: &[],
        body: body.as_ref(),
    };
    take_apart(door, &delivery)
}

pub(super) fn events(contents: Contents) -> Vec<Taken> {
    match contents {
        Contents::Events(events) => events,
        Contents::Handshake(_) => panic!("a handshake"),
    }
}

pub(super) fn only(contents: Contents) -> Taken {
    let mut events = events(contents);
    assert_eq!(events.len(), 1);
    events.remove(0)
}

pub(super) fn event(contents: Contents) -> Normalized {
    match only(contents) {
        Taken::Event(normalized) => *normalized,
        Taken::Unreadable(unreadable) => panic!("{}", unreadable.reason),
    }
}

pub(super) fn unreadable(contents: Contents) -> Unreadable {
    match only(contents) {
        Taken::Unreadable(unreadable) => unreadable,
        Taken::Event(normalized) => panic!("{}", normalized.original),
    }
}

/// An event of Event Grid with this `data`.
fn of_type(name: &str, data: &str) -> String {
    format!(
        r#"{{"id":"1","topic":"/T","eventType":"Microsoft.Communication.{name}","eventTime":"2025-06-13T19:03:12Z","data":{data}}}"#
    )
}

fn refused(name: &str, data: &str) -> (&'static str, Option<String>) {
    let unreadable = unreadable(posted(&EVENT_GRID, of_type(name, data)));
    assert_eq!(unreadable.content, Some(of_type(name, data)));
    let pointer = unreadable.reason.pointer().map(str::to_owned);
    (unreadable.reason.code(), pointer)
}

#[test]
fn a_batch_of_five_thousand_with_bad_ones_loses_only_those() {
    let good = of_type("CallStarted", r#"{"correlationId":"c"}"#);
    let mut elements = vec![good.as_str(); 5_000];
    for (at, bad) in [
        (17, "7"),
        (
            1_000,
            r#"{"id":"2","eventType":"Microsoft.Communication.CallEnded","data":{"serverCallId":7}}"#,
        ),
        (2_000, r#"{"id":"3",}"#),
        (2_001, "null"),
        (4_999, r#"["nested"]"#),
    ] {
        elements[at] = bad;
    }
    let body = format!("[{}]", elements.join(",\n"));
    let taken = events(posted(&EVENT_GRID, body));
    assert_eq!(taken.len(), 5_000);
    let bad: Vec<(usize, &str)> = taken
        .iter()
        .enumerate()
        .filter_map(|(at, taken)| match taken {
            Taken::Unreadable(unreadable) => Some((at, unreadable.reason.code())),
            Taken::Event(_) => None,
        })
        .collect();
    assert_eq!(
        bad,
        [
            (17, "not_an_object"),
            (1_000, "wrong_type"),
            (2_000, "not_json"),
            (2_001, "not_an_object"),
            (4_999, "not_an_object")
        ]
    );
    for (at, taken) in taken.iter().enumerate() {
        let (sha256, size) = match taken {
            Taken::Event(normalized) => (normalized.sha256, normalized.original.len()),
            Taken::Unreadable(unreadable) => (unreadable.sha256, unreadable.size),
        };
        assert_eq!(sha256, Digest::of(elements[at].as_bytes()));
        assert_eq!(size, elements[at].len());
    }
}

#[test]
fn an_empty_array_holds_no_events() {
    assert!(events(posted(&EVENT_GRID, " [ ] ")).is_empty());
}

#[test]
fn a_body_that_cannot_be_taken_apart_is_kept_whole() {
    for (body, code) in [
        (&b"\xff\xfe{"[..], "not_text"),
        (b"{\0\"\0t\0o\0k\0e\0n\0", "not_text"),
        (b"", "empty"),
        (b" \r\n", "empty"),
        (b"{\"a\":1", "not_json"),
        (b"[{\"a\":1},", "not_json"),
        (b"hello", "not_json"),
        (b"\"hello\"", "not_an_object"),
    ] {
        let unreadable = unreadable(posted(&EVENT_GRID, body));
        assert_eq!(unreadable.reason.code(), code);
        let kept = (code != "not_text").then(|| String::from_utf8(body.to_vec()).unwrap());
        assert_eq!(unreadable.content, kept);
        assert_eq!(unreadable.sha256, Digest::of(body));
        assert_eq!(unreadable.size, body.len());
        assert_eq!(unreadable.content_type.as_deref(), Some("application/json"));
    }
    let many = format!("[{}0]", "0,".repeat(10_000));
    let unreadable = unreadable(posted(&EVENT_GRID, &many));
    assert_eq!(unreadable.reason, Reason::TooManyElements);
    assert_eq!(unreadable.content, Some(many));
}

#[test]
fn a_member_of_a_wrong_type_is_told_by_its_pointer() {
    let wrong = |pointer: &str| ("wrong_type", Some(pointer.to_owned()));
    for (name, data, pointer) in [
        ("CallStarted", "3", "/data"),
        ("CallStarted", r#"{"serverCallId":7}"#, "/data/serverCallId"),
        ("CallStarted", r#"{"startedBy":"x"}"#, "/data/startedBy"),
        ("CallStarted", r#"{"isTwoParty":"no"}"#, "/data/isTwoParty"),
        ("CallStarted", r#"{"group":{"id":1}}"#, "/data/group/id"),
        (
            "CallEnded",
            r#"{"durationOfCall":"49"}"#,
            "/data/durationOfCall",
        ),
        (
            "CallEnded",
            r#"{"endedBy":{"communicationidentifier":{"phoneNumber":{"value":5}}}}"#,
            "/data/endedBy/communicationidentifier/phoneNumber/value",
        ),
        (
            "ParticipantsUpdated",
            r#"{"participants":"x"}"#,
            "/data/participants",
        ),
        (
            "ParticipantsUpdated",
            r#"{"participants":[{"identifier":{"rawId":"a"}},{"identifier":[]}]}"#,
            "/data/participants/1/identifier",
        ),
        (
            "RecordingFileStatusUpdated",
            r#"{"recordingStorageInfo":{"recordingChunks":[{"index":1.5}]}}"#,
            "/data/recordingStorageInfo/recordingChunks/0/index",
        ),
    ] {
        assert_eq!(refused(name, data), wrong(pointer), "{data}");
    }
    let envelope = unreadable(posted(&EVENT_GRID, r#"{"id":7,"eventType":"t"}"#));
    assert_eq!(envelope.reason.pointer(), Some("/id"));
}

#[test]
fn what_would_change_its_meaning_for_want_of_a_member_is_quarantined() {
    let missing = |pointer: &str| ("missing", Some(pointer.to_owned()));
    for (name, data, pointer) in [
        ("ParticipantsUpdated", "{}", "/data/participants"),
        ("ParticipantsUpdated", "null", "/data/participants"),
        (
            "ParticipantsUpdated",
            r#"{"participants":[{"isMuted":true}]}"#,
            "/data/participants/0/identifier",
        ),
        ("RecordingStateChanged", "{}", "/data/state"),
    ] {
        assert_eq!(refused(name, data), missing(pointer), "{data}");
    }
    assert_eq!(
        refused("RecordingStateChanged", r#"{"state":"paused"}"#),
        ("unknown_value", Some("/data/state".to_owned()))
    );
}

#[test]
fn missing_and_null_members_are_tolerated() {
    for name in [
        "IncomingCall",
        "CallStarted",
        "CallEnded",
        "CallParticipantAdded",
        "CallParticipantRemoved",
        "CallConnected",
        "CallDisconnected",
        "TranscriptionStarted",
        "RecordingFileStatusUpdated",
        "AddParticipantSucceeded",
        "CreateCallFailed",
        "StartRecordingFailed",
        "PlayCompleted",
    ] {
        for data in [
            "{}",
            "null",
            r#"{"startedBy":null,"user":null,"resultInformation":null}"#,
        ] {
            let normalized = event(posted(&EVENT_GRID, of_type(name, data)));
            assert_eq!(normalized.event.ids, Default::default(), "{name}");
        }
    }
}

#[test]
fn numbers_out_of_range_are_quarantined_where_they_are_read_and_kept_elsewhere() {
    assert_eq!(
        refused("CallEnded", r#"{"durationOfCall":1e999}"#),
        ("out_of_range", Some("/data/durationOfCall".to_owned()))
    );
    let data = r#"{"correlationId":"5d169a62-eaa9-4cd1-9397-f77a623bd983","x":1e999}"#;
    let normalized = event(posted(&EVENT_GRID, of_type("CallStarted", data)));
    assert_eq!(normalized.original, of_type("CallStarted", data));
    assert_eq!(
        normalized.event.ids.correlation_id.as_deref(),
        Some(CORRELATION)
    );
}

#[test]
fn nul_and_lone_surrogates_in_names_are_accepted_and_the_original_keeps_them() {
    let data = r#"{"user":{"rawId":"8:acs:r_u"},"displayName":"A\ud800B\u0000C\ud83d\ude00"}"#;
    let body = of_type("CallParticipantAdded", data);
    let normalized = event(posted(&EVENT_GRID, &body));
    assert_eq!(normalized.original, body);
    let Statement::SessionJoined(joined) = normalized.event.statement else {
        panic!("no join");
    };
    let name = joined.participant.unwrap().display_name.unwrap();
    assert_eq!(name, "A\u{fffd}B\0C\u{1f600}");
}

#[test]
fn of_members_that_occur_twice_the_last_one_counts_and_both_are_kept() {
    let body = of_type("CallStarted", r#"{"isTwoParty":true,"isTwoParty":false}"#);
    let normalized = event(posted(&EVENT_GRID, &body));
    assert_eq!(normalized.original, body);
    let Statement::CallStarted(started) = normalized.event.statement else {
        panic!("no start");
    };
    assert_eq!(started.is_two_party, Some(false));
}

#[test]
fn what_is_nested_too_deep_is_quarantined_alone_and_blanked() {
    let deep = format!(
        r#"{{"eventType":"t","data":{}"x"{},"token":"S3CRET"}}"#,
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    let body = format!("[{deep},{}]", of_type("CallStarted", "{}"));
    let mut taken = events(posted(&EVENT_GRID, body));
    assert!(matches!(taken.pop(), Some(Taken::Event(_))));
    let Some(Taken::Unreadable(unreadable)) = taken.pop() else {
        panic!("understood");
    };
    assert_eq!(unreadable.reason, Reason::TooDeep);
    let content = unreadable.content.unwrap();
    assert!(content.ends_with(r#","token":[redacted]}"#));
    assert_eq!(unreadable.size, deep.len());
}

#[test]
fn so_many_forbidden_members_that_they_cannot_be_listed_are_blanked() {
    let data = format!("{{{}}}", vec![r#""token":"S3CRET""#; 10_000].join(","));
    let unreadable = unreadable(posted(&EVENT_GRID, of_type("CallStarted", &data)));
    assert_eq!(unreadable.reason, Reason::TooMuchForbidden);
    assert!(!unreadable.content.unwrap().contains("S3CRET"));
}

#[test]
fn an_event_without_id_is_known_by_its_content() {
    let event_of = |body: &str| event(posted(&EVENT_GRID, body));
    let one = event_of(
        r#"{"eventType":"Microsoft.Communication.CallStarted","data":{"a":"+","token":"x"}}"#,
    );
    let same = event_of(
        "[{ \"data\" : {\"token\":\"y\", \"a\":\"\\u002B\"},\n \"eventType\":\"Microsoft.Communication.CallStarted\"}]",
    );
    let other = event_of(r#"{"eventType":"Microsoft.Communication.CallStarted","data":{"a":"-"}}"#);
    assert_eq!(one.ce_id, format!("sha256:{}", one.content));
    assert_eq!(one.ce_source, "contoso-calls");
    assert_eq!((&one.ce_id, one.content), (&same.ce_id, same.content));
    assert_ne!(one.sha256, same.sha256);
    assert_ne!(one.ce_id, other.ce_id);
}

#[test]
fn an_event_is_known_by_its_lower_cased_source_its_type_and_its_id() {
    let normalized = event(posted(&EVENT_GRID, of_type("CallStarted", "{}")));
    assert_eq!(normalized.ce_source, "/t");
    assert_eq!(normalized.ce_id, "1");
    assert_eq!(
        normalized.event.source_type,
        "Microsoft.Communication.CallStarted"
    );
}

#[test]
fn of_events_that_are_not_about_calls_the_envelope_is_kept() {
    let body = r#"{"id":"1","type":"Microsoft.Communication.SMSReceived","source":"s","subject":"/phonenumber/1","specversion":"1.0","data":{"Message":"S3CRET"},"data_base64":"UzNDUkVU","extra":{"x":"S3CRET"}}"#;
    for door in [EVENT_GRID, CALL_AUTOMATION] {
        let normalized = event(posted(&door, body));
        assert_eq!(
            normalized.original,
            r#"{"id":"1","type":"Microsoft.Communication.SMSReceived","source":"s","subject":"/phonenumber/1","specversion":"1.0","data":"[not kept]","data_base64":"[not kept]","extra":"[not kept]"}"#
        );
        assert_eq!(
            normalized.event.redacted,
            ["/data", "/data_base64", "/extra"]
        );
        assert_eq!(normalized.sha256, Digest::of(body.as_bytes()));
        assert_eq!(normalized.content, normalized.sha256);
        let Statement::Unrecognized(unrecognized) = normalized.event.statement else {
            panic!("recognized");
        };
        assert_eq!((unrecognized.kept, unrecognized.size), (false, body.len()));
    }
}

#[test]
fn an_unknown_type_about_calls_is_kept_with_the_ids_that_it_has() {
    let data = format!(r#"{{"correlationId":"{CORRELATION}","serverCallId":7,"new":[1]}}"#);
    let normalized = event(posted(&EVENT_GRID, of_type("CallSomethingNew", &data)));
    assert_eq!(normalized.original, of_type("CallSomethingNew", &data));
    assert_eq!(
        normalized.event.ids.correlation_id.as_deref(),
        Some(CORRELATION)
    );
    assert_eq!(normalized.event.ids.server_call_id, None);
    assert!(matches!(
        normalized.event.statement,
        Statement::Unrecognized(unrecognized) if unrecognized.kept
    ));
}

#[test]
fn data_in_base64_is_read_and_kept_only_if_clean() {
    let hidden = |data: &str| {
        let base64 = STANDARD.encode(data);
        let body = format!(
            r#"{{"id":"1","type":"Microsoft.Communication.CallStarted","source":"s","data_base64":"{base64}"}}"#
        );
        (posted(&EVENT_GRID, &body), body)
    };
    let (contents, body) = hidden(&format!(r#"{{"correlationId":"{CORRELATION}"}}"#));
    let clean = event(contents);
    assert_eq!(clean.original, body);
    assert_eq!(clean.event.ids.correlation_id.as_deref(), Some(CORRELATION));

    let (contents, _) = hidden(&format!(
        r#"{{"correlationId":"{CORRELATION}","incomingCallContext":"S3CRET"}}"#
    ));
    let unclean = event(contents);
    assert_eq!(unclean.event.redacted, ["/data_base64"]);
    assert_eq!(
        unclean.event.ids.correlation_id.as_deref(),
        Some(CORRELATION)
    );
    assert!(unclean.original.ends_with(r#""data_base64":"[redacted]"}"#));

    let (contents, _) = hidden("no JSON");
    let opaque = unreadable(contents);
    assert_eq!(opaque.reason, Reason::HiddenNotJson);
    assert_eq!(opaque.redacted, ["/data_base64"]);
}

#[test]
fn a_byte_order_mark_is_no_obstacle() {
    let body = format!("\u{feff}{}", of_type("CallStarted", "{}"));
    assert_eq!(
        event(posted(&EVENT_GRID, body)).original,
        of_type("CallStarted", "{}")
    );
}

#[test]
fn a_handshake_is_one_validation_event_to_event_grid_and_nothing_else() {
    let validation = r#"{"id":"1","topic":"/t","eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"512d38b6"}}"#;
    for body in [validation.to_owned(), format!("[{validation}]")] {
        let Contents::Handshake(handshake) = posted(&EVENT_GRID, &body) else {
            panic!("no handshake");
        };
        assert_eq!(handshake.answer(), r#"{"validationResponse":"512d38b6"}"#);
        let kept = event(posted(&CALL_AUTOMATION, &body));
        assert_eq!(kept.event.redacted, ["/data/validationCode"]);
    }
    let two = events(posted(&EVENT_GRID, format!("[{validation},{validation}]")));
    assert_eq!(two.len(), 2);
    let without = unreadable(posted(
        &EVENT_GRID,
        validation.replace("validationCode", "x"),
    ));
    assert_eq!(without.reason, Reason::NoValidationCode);
}

#[test]
fn the_end_of_a_subscription_is_kept_and_told() {
    let body = r#"[{"id":"1","topic":"/t","eventType":"Microsoft.EventGrid.SubscriptionDeletedEvent","data":{"eventSubscriptionId":"/x"}}]"#;
    let normalized = event(posted(&EVENT_GRID, body));
    assert!(normalized.ends_subscription());
    assert_eq!(normalized.original, &body[1..body.len() - 1]);
    assert!(!event(posted(&EVENT_GRID, of_type("CallStarted", "{}"))).ends_subscription());
}

#[test]
fn a_transcription_without_a_leg_belongs_to_its_call() {
    let server = "aHR0cHM6Ly9jb252LWRldi0yMS5jb252LWRldi5za3lwZS5uZXQ6NDQzL2NvbnYv";
    let recording_of = |data: serde_json::Value| {
        let normalized = event(posted(
            &EVENT_GRID,
            of_type("TranscriptionStarted", &data.to_string()),
        ));
        match normalized.event.statement {
            Statement::ProviderState(state) => state.recording,
            _ => panic!("no state"),
        }
    };
    assert_eq!(
        recording_of(
            json!({ "callConnectionId": CORRELATION.to_uppercase(), "serverCallId": server })
        ),
        format!("transcription:{CORRELATION}")
    );
    let by_server = recording_of(json!({ "serverCallId": server }));
    assert!(by_server.starts_with("transcription:s-"));
    assert_eq!(
        recording_of(json!({ "serverCallId": format!("{server}==") })),
        by_server
    );
    assert_eq!(recording_of(json!({})), "transcription:");
}

#[test]
fn a_file_names_its_call_in_its_subject() {
    let body = of_type("RecordingFileStatusUpdated", "{}").replace(
        r#""id":"1""#,
        &format!(
            r#""id":"1","subject":"/recording/call/{CORRELATION}/serverCallId/aHR0cHM6Ly9jb252LWRldi0y/MS5j+b252==/recordingId/eyJQbGF0Zm9ybUVuZHBvaW50SWQiOiI4""#
        ),
    );
    let ids = event(posted(&EVENT_GRID, body)).event.ids;
    assert_eq!(ids.correlation_id.as_deref(), Some(CORRELATION));
    assert_eq!(
        ids.recording_id.as_deref(),
        Some("eyJQbGF0Zm9ybUVuZHBvaW50SWQiOiI4")
    );
    assert!(ids.server_call_id.is_some());
}

proptest! {
    #[test]
    fn nothing_that_is_posted_disappears(body in prop::collection::vec(any::<u8>(), 0..64)) {
        for door in [EVENT_GRID, CALL_AUTOMATION] {
            if let Contents::Events(events) = posted(&door, &body) {
                let text = String::from_utf8_lossy(&body);
                let is_empty_array = text.trim().starts_with('[') && text.trim().ends_with(']');
                prop_assert!(!events.is_empty() || is_empty_array);
            }
        }
    }

    #[test]
    fn no_damage_to_a_delivery_loses_it_or_panics(
        sample in prop::sample::select(vec![
            include_str!("../../tests/data/azure/ca-java-batch-two-events.json"),
            include_str!("../../tests/data/azure/eg-docs2022-incoming-call.json"),
            include_str!("../../tests/data/azure/ce-spec2025-call-ended-no-role-no-room.json"),
        ]),
        faults in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut body = sample.as_bytes().to_vec();
        for (at, byte) in faults {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if cut {
            body.truncate(end.index(body.len()));
        }
        for door in [EVENT_GRID, CALL_AUTOMATION] {
            let kept = events(posted(&door, &body));
            prop_assert!(!kept.is_empty());
        }
    }
}
