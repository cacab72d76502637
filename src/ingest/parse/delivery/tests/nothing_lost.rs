//! `NOTHING_LOST`: no element is lost, and one bad element does not affect the others.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_box::SecretKey;
use proptest::prelude::*;
use serde_json::json;

use crate::config::{SealingKey, SourceKind};
use crate::ingest::decode::decoded_body::DecodedBody;
use crate::ingest::handshake::is_deletion;
use crate::ingest::parse::batch::MAX_ELEMENTS;
use crate::ingest::parse::delivery::{
    DeliveryContents, ParsedElement, QuarantinedElement, RawDelivery, parse_delivery,
};
use crate::ingest::parse::delivery_source::DeliverySource;
use crate::ingest::parse::element::NormalizedElement;
use crate::ingest::quarantine::QuarantineReason;
use crate::ingest::seal::SealedBox;
use onrecord_evidence::event::calling_event::{FlagReason, Statement};
use onrecord_evidence::event::ids::Digest;

pub(crate) const EVENT_GRID: DeliverySource<'static> = DeliverySource {
    kind: SourceKind::EventGrid,
    name: "Contoso-Calls",
    resource_ids: &[],
    seal_to: None,
};

pub(crate) const CALL_AUTOMATION: DeliverySource<'static> =
    DeliverySource { kind: SourceKind::CallAutomation, ..EVENT_GRID };

const CORRELATION: &str = "5d169a62-eaa9-4cd1-9397-f77a623bd983";

fn posted(source: &DeliverySource<'_>, body: impl AsRef<[u8]>) -> DeliveryContents {
    let delivery = RawDelivery {
        content_type: Some("application/json"),
        headers: &[],
        body: DecodedBody::uncoded(body.as_ref()),
    };
    parse_delivery(source, &delivery)
}

/// What is quarantined of a delivery to a source with a sealing key, and what its sealed box contains.
pub(crate) fn opened(
    source: &DeliverySource<'_>,
    delivery: &RawDelivery<'_>,
) -> Vec<(QuarantinedElement, Option<Vec<u8>>)> {
    let private = SecretKey::from([7; 32]);
    let key = SealingKey::of(private.public_key().as_bytes()).unwrap();
    let source = DeliverySource { seal_to: Some(&key), ..*source };
    let quarantined = events(parse_delivery(&source, delivery)).into_iter().filter_map(|parsed| {
        let ParsedElement::Quarantined(quarantined) = parsed else {
            return None;
        };
        let sealed = quarantined.sealed.clone().map(SealedBox::into_bytes);
        Some((*quarantined, sealed.map(|sealed| private.unseal(&sealed).unwrap())))
    });
    quarantined.collect()
}

pub(crate) fn events(contents: DeliveryContents) -> Vec<ParsedElement> {
    match contents {
        DeliveryContents::Events(events) => events,
        DeliveryContents::Handshake(_) => panic!("a handshake"),
    }
}

pub(crate) fn only(contents: DeliveryContents) -> ParsedElement {
    let mut events = events(contents);
    assert_eq!(events.len(), 1);
    events.remove(0)
}

pub(crate) fn event(contents: DeliveryContents) -> NormalizedElement {
    match only(contents) {
        ParsedElement::Event(normalized) => *normalized,
        ParsedElement::Quarantined(quarantined) => panic!("{}", quarantined.reason),
    }
}

pub(crate) fn quarantined(contents: DeliveryContents) -> QuarantinedElement {
    match only(contents) {
        ParsedElement::Quarantined(quarantined) => *quarantined,
        ParsedElement::Event(normalized) => panic!("{}", normalized.original),
    }
}

/// An event of Event Grid's schema with this `data`.
fn of_type(name: &str, data: &str) -> String {
    format!(
        r#"{{"id":"1","topic":"/T","eventType":"Microsoft.Communication.{name}","eventTime":"2025-06-13T19:03:12Z","data":{data}}}"#
    )
}

fn quarantine_reason(name: &str, data: &str) -> (&'static str, Option<String>) {
    let quarantined = quarantined(posted(&EVENT_GRID, of_type(name, data)));
    assert_eq!(quarantined.content, Some(of_type(name, data)));
    let pointer = quarantined.reason.pointer().map(str::to_owned);
    (quarantined.reason.code(), pointer)
}

#[test]
fn bad_elements_of_a_batch_of_five_thousand_do_not_affect_the_others() {
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
    let parsed = events(posted(&EVENT_GRID, body));
    assert_eq!(parsed.len(), 5_000);
    let bad: Vec<(usize, &str)> = parsed
        .iter()
        .enumerate()
        .filter_map(|(at, parsed)| match parsed {
            ParsedElement::Quarantined(quarantined) => Some((at, quarantined.reason.code())),
            ParsedElement::Event(_) => None,
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
    for (at, parsed) in parsed.iter().enumerate() {
        let (sha256, size) = match parsed {
            ParsedElement::Event(normalized) => (normalized.sha256, normalized.original.len()),
            ParsedElement::Quarantined(quarantined) => (quarantined.sha256, quarantined.size),
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
fn a_body_that_cannot_be_split_is_kept_whole() {
    for (body, code) in [
        (&b"\xff{"[..], "not_text"),
        (b"\xff\xfe{", "not_in_charset"),
        (b"\xff\xfe{\0x\0", "not_json"),
        (b"{\0\"\0t\0o\0k\0e\0n\0", "not_json"),
        (b"{\"to\0ken\":\"x\"}", "not_json"),
        (b"", "empty"),
        (b" \r\n", "empty"),
        (b"{\"a\":1", "not_json"),
        (b"[{\"a\":1},", "not_json"),
        (b"hello", "not_json"),
        (b"\"hello\"", "not_an_object"),
    ] {
        let quarantined = quarantined(posted(&EVENT_GRID, body));
        assert_eq!(quarantined.reason.code(), code);
        let is_json = code == "not_an_object";
        let kept = is_json.then(|| String::from_utf8(body.to_vec()).unwrap());
        assert_eq!((&quarantined.content, &quarantined.sealed), (&kept, &None));
        let delivery =
            RawDelivery { content_type: None, headers: &[], body: DecodedBody::uncoded(body) };
        let [(with_key, opened)] = opened(&EVENT_GRID, &delivery).try_into().unwrap();
        assert_eq!(with_key.content, kept);
        assert_eq!(opened.as_deref(), Some(body).filter(|_| !is_json && !body.is_empty()));
        assert_eq!(quarantined.sha256, Digest::of(body));
        assert_eq!(quarantined.size, body.len());
        assert_eq!(quarantined.content_type.as_deref(), Some("application/json"));
    }
    let many = format!("[{}0]", "0,".repeat(10_000));
    let quarantined = quarantined(posted(&EVENT_GRID, &many));
    assert_eq!(quarantined.reason, QuarantineReason::TooManyElements { max: MAX_ELEMENTS });
    assert_eq!(quarantined.content, None);
}

#[test]
fn the_place_of_the_first_error_is_counted_from_the_start_of_the_text() {
    for (body, at) in [("{\"a\":x}", 5), ("\u{feff} {\"a\":x}", 9), ("  [{},x", 6)] {
        let reason = quarantined(posted(&EVENT_GRID, body)).reason;
        assert_eq!(reason, QuarantineReason::NotJson { at }, "{body}");
    }
}

#[test]
fn a_broken_element_is_sealed_alone_and_what_follows_it_is_readable_only_as_an_event() {
    let broken = r#"{"id":"3","tones":{"c":1#]"#;
    let good = of_type("CallStarted", "{}");
    let body = format!(r#"[{{"x":1}},{broken}}},{{"f":"S3CRET"}},{good}]"#);
    let delivery = RawDelivery {
        content_type: None,
        headers: &[],
        body: DecodedBody::uncoded(body.as_bytes()),
    };
    let kept = opened(&EVENT_GRID, &delivery);
    let shown: Vec<_> = kept
        .iter()
        .map(|(quarantined, opened)| {
            let opened = opened.as_deref().map(|bytes| std::str::from_utf8(bytes).unwrap());
            (quarantined.reason.code(), quarantined.content.as_deref(), opened)
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("no_envelope", Some(r#"{"x":1}"#), None),
            ("not_json", None, Some(r#"{"id":"3","tones":{"c":1#]}"#)),
            ("no_envelope", None, Some(r#"{"f":"S3CRET"}"#)),
        ]
    );
    for (quarantined, opened) in kept {
        if let Some(opened) = opened {
            assert_eq!((quarantined.sha256, quarantined.size), (Digest::of(&opened), opened.len()));
        }
    }
}

#[test]
fn the_events_of_an_encoded_body_have_the_hash_of_its_bytes_as_received() {
    let sms = r#"{"id":"1","type":"Microsoft.Communication.SMSReceived","source":"s","data":{}}"#;
    let text = format!("[{},{sms},{{\"broken\":}}]", of_type("CallStarted", "{}"));
    let body: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let plain = events(posted(&EVENT_GRID, &text));
    let encoded = events(posted(&EVENT_GRID, &body));
    assert_eq!((plain.len(), encoded.len()), (3, 3));
    for (plain, encoded) in plain.iter().zip(&encoded) {
        match (plain, encoded) {
            (ParsedElement::Event(plain), ParsedElement::Event(encoded)) => {
                assert_eq!(encoded.sha256, Digest::of(&body));
                // A repetition in another encoding is no conflict.
                assert_eq!((encoded.content, &encoded.event), (plain.content, &plain.event));
            }
            (ParsedElement::Quarantined(plain), ParsedElement::Quarantined(encoded)) => {
                assert_eq!(encoded.sha256, plain.sha256);
                assert_eq!(encoded.encoding.charset.as_deref(), Some("utf-16le"));
            }
            _ => panic!("one is an event"),
        }
    }
}

#[test]
fn a_wrong_type_that_changes_what_the_event_states_is_reported_with_its_pointer() {
    let wrong = |pointer: &str| ("wrong_type", Some(pointer.to_owned()));
    for (name, data, pointer) in [
        ("CallStarted", "3", "/data"),
        ("CallStarted", r#"{"serverCallId":7}"#, "/data/serverCallId"),
        ("ParticipantsUpdated", r#"{"participants":"x"}"#, "/data/participants"),
        (
            "ParticipantsUpdated",
            r#"{"participants":[{"identifier":{"rawId":"a"}},7]}"#,
            "/data/participants/1",
        ),
        ("RecordingStateChanged", r#"{"state":true}"#, "/data/state"),
    ] {
        assert_eq!(quarantine_reason(name, data), wrong(pointer), "{data}");
    }
}

/// The type of the statement, and the flagged members with their reasons.
fn flagged(body: &str) -> (&'static str, Vec<(String, FlagReason)>) {
    let event = event(posted(&EVENT_GRID, body)).event;
    let flagged = event.flagged.iter().map(|member| (member.pointer.clone(), member.reason));
    (event.statement.name(), flagged.collect())
}

#[test]
fn a_side_member_of_a_wrong_type_is_flagged_and_the_event_is_taken() {
    for (name, data, statement, pointer) in [
        ("CallStarted", r#"{"startedBy":"x"}"#, "call.started", "/data/startedBy"),
        ("CallStarted", r#"{"isTwoParty":"no"}"#, "call.started", "/data/isTwoParty"),
        ("CallStarted", r#"{"group":{"id":1}}"#, "call.started", "/data/group/id"),
        ("CallEnded", r#"{"durationOfCall":"49"}"#, "call.ended", "/data/durationOfCall"),
        (
            "CallEnded",
            r#"{"endedBy":{"communicationidentifier":{"phoneNumber":{"value":5}}}}"#,
            "call.ended",
            "/data/endedBy/communicationidentifier/phoneNumber/value",
        ),
        (
            "RecordingFileStatusUpdated",
            r#"{"recordingStorageInfo":{"recordingChunks":[{"index":1.5}]}}"#,
            "file",
            "/data/recordingStorageInfo/recordingChunks/0/index",
        ),
    ] {
        let expected = (statement, vec![(pointer.to_owned(), FlagReason::WrongType)]);
        assert_eq!(flagged(&of_type(name, data)), expected, "{data}");
    }
    let of_envelope = r#"{"id":7,"eventType":"t","topic":[],"eventTime":1}"#;
    let (_, pointers): (_, Vec<_>) = flagged(of_envelope);
    let pointers: Vec<&str> = pointers.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(pointers, ["/id", "/topic", "/eventTime"]);
}

#[test]
fn an_event_without_a_mandatory_member_is_quarantined() {
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
        assert_eq!(quarantine_reason(name, data), missing(pointer), "{data}");
    }
    assert_eq!(
        quarantine_reason("RecordingStateChanged", r#"{"state":"paused"}"#),
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
        for data in ["{}", "null", r#"{"startedBy":null,"user":null,"resultInformation":null}"#] {
            let normalized = event(posted(&EVENT_GRID, of_type(name, data)));
            assert_eq!(normalized.event.ids, Default::default(), "{name}");
        }
    }
}

#[test]
fn numbers_out_of_range_are_flagged_where_they_are_read_and_kept_elsewhere() {
    assert_eq!(
        flagged(&of_type("CallEnded", r#"{"durationOfCall":1e999}"#)),
        ("call.ended", vec![("/data/durationOfCall".to_owned(), FlagReason::OutOfRange)])
    );
    let data = r#"{"correlationId":"5d169a62-eaa9-4cd1-9397-f77a623bd983","x":1e999}"#;
    let normalized = event(posted(&EVENT_GRID, of_type("CallStarted", data)));
    assert_eq!(normalized.original, of_type("CallStarted", data));
    assert_eq!(normalized.event.ids.correlation_id.as_deref(), Some(CORRELATION));
}

#[test]
fn nul_and_lone_surrogates_in_names_are_removed_or_replaced_and_the_original_keeps_them() {
    let data = r#"{"user":{"rawId":"8:acs:r_u"},"displayName":"A\ud800B\u0000C\ud83d\ude00"}"#;
    let body = of_type("CallParticipantAdded", data);
    let normalized = event(posted(&EVENT_GRID, &body));
    assert_eq!(normalized.original, body);
    let Statement::SessionJoined(joined) = normalized.event.statement else {
        panic!("no join");
    };
    let name = joined.participant.unwrap().display_name.unwrap();
    assert_eq!(name, "A\u{fffd}BC\u{1f600}");
}

#[test]
fn of_duplicate_members_the_last_one_is_read_and_both_are_kept() {
    let body = of_type("CallStarted", r#"{"isTwoParty":true,"isTwoParty":false}"#);
    let normalized = event(posted(&EVENT_GRID, &body));
    assert_eq!(normalized.original, body);
    let Statement::CallStarted(started) = normalized.event.statement else {
        panic!("no start");
    };
    assert_eq!(started.is_two_party, Some(false));
}

#[test]
fn an_element_that_is_nested_too_deep_is_quarantined_and_not_readable() {
    let deep = format!(
        r#"{{"eventType":"t","data":{}"x"{},"token":"S3CRET"}}"#,
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    let body = format!("[{deep},{}]", of_type("CallStarted", "{}"));
    let mut parsed = events(posted(&EVENT_GRID, body));
    assert!(matches!(parsed.pop(), Some(ParsedElement::Event(_))));
    let Some(ParsedElement::Quarantined(quarantined)) = parsed.pop() else {
        panic!("an event");
    };
    assert_eq!(quarantined.reason, QuarantineReason::TooDeep);
    assert_eq!(quarantined.content, None);
    assert_eq!(quarantined.size, deep.len());
}

#[test]
fn an_event_with_too_many_sensitive_members_is_quarantined_and_not_readable() {
    let data = format!("{{{}}}", vec![r#""token":"S3CRET""#; 10_000].join(","));
    let quarantined = quarantined(posted(&EVENT_GRID, of_type("CallStarted", &data)));
    assert_eq!(quarantined.reason, QuarantineReason::TooManySensitiveMembers);
    assert_eq!(quarantined.content, None);
}

#[test]
fn an_event_without_id_is_identified_by_its_content() {
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
fn an_event_is_identified_by_its_lower_case_source_its_type_and_its_id() {
    let normalized = event(posted(&EVENT_GRID, of_type("CallStarted", "{}")));
    assert_eq!(normalized.ce_source, "/t");
    assert_eq!(normalized.ce_id, "1");
    assert_eq!(normalized.event.source_type, "Microsoft.Communication.CallStarted");
}

#[test]
fn of_events_that_are_not_about_calls_the_envelope_is_kept() {
    let body = r#"{"id":"1","type":"Microsoft.Communication.SMSReceived","source":"s","subject":"/phonenumber/1","specversion":"1.0","data":{"Message":"S3CRET"},"data_base64":"UzNDUkVU","extra":{"x":"S3CRET"}}"#;
    for source in [EVENT_GRID, CALL_AUTOMATION] {
        let normalized = event(posted(&source, body));
        assert_eq!(
            normalized.original,
            r#"{"id":"1","type":"Microsoft.Communication.SMSReceived","source":"s","subject":"/phonenumber/1","specversion":"1.0","data":"[not kept]","data_base64":"[not kept]","extra":"[not kept]"}"#
        );
        assert_eq!(normalized.event.redacted, ["/data", "/data_base64", "/extra"]);
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
    assert_eq!(normalized.event.ids.correlation_id.as_deref(), Some(CORRELATION));
    assert_eq!(normalized.event.ids.server_call_id, None);
    assert!(matches!(
        normalized.event.statement,
        Statement::Unrecognized(unrecognized) if unrecognized.kept
    ));
}

#[test]
fn data_in_base64_is_read_and_kept_only_if_clean() {
    let encoded = |data: &str| {
        let base64 = STANDARD.encode(data);
        let body = format!(
            r#"{{"id":"1","type":"Microsoft.Communication.CallStarted","source":"s","data_base64":"{base64}"}}"#
        );
        (posted(&EVENT_GRID, &body), body)
    };
    let (contents, body) = encoded(&format!(r#"{{"correlationId":"{CORRELATION}"}}"#));
    let clean = event(contents);
    assert_eq!(clean.original, body);
    assert_eq!(clean.event.ids.correlation_id.as_deref(), Some(CORRELATION));

    let (contents, _) =
        encoded(&format!(r#"{{"correlationId":"{CORRELATION}","incomingCallContext":"S3CRET"}}"#));
    let unclean = event(contents);
    assert_eq!(unclean.event.redacted, ["/data_base64"]);
    assert_eq!(unclean.event.ids.correlation_id.as_deref(), Some(CORRELATION));
    assert!(unclean.original.ends_with(r#""data_base64":"[redacted]"}"#));

    let (contents, body) = encoded("not JSON");
    let opaque = quarantined(contents);
    assert_eq!(opaque.reason, QuarantineReason::Base64NotJson);
    assert_eq!(opaque.redacted, ["/data_base64"]);
    let delivery = RawDelivery {
        content_type: None,
        headers: &[],
        body: DecodedBody::uncoded(body.as_bytes()),
    };
    let [(opaque, opened)] = opened(&EVENT_GRID, &delivery).try_into().unwrap();
    assert!(opaque.content.is_some());
    assert_eq!(opened.as_deref(), Some(body.as_bytes()));
}

#[test]
fn a_byte_order_mark_is_ignored() {
    let body = format!("\u{feff}{}", of_type("CallStarted", "{}"));
    assert_eq!(event(posted(&EVENT_GRID, body)).original, of_type("CallStarted", "{}"));
}

#[test]
fn only_a_single_validation_event_from_event_grid_is_a_handshake() {
    let validation = r#"{"id":"1","topic":"/t","eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"512d38b6"}}"#;
    for body in [validation.to_owned(), format!("[{validation}]")] {
        let DeliveryContents::Handshake(handshake) = posted(&EVENT_GRID, &body) else {
            panic!("no handshake");
        };
        assert_eq!(
            serde_json::to_string(&handshake).unwrap(),
            r#"{"validationResponse":"512d38b6"}"#
        );
        let kept = event(posted(&CALL_AUTOMATION, &body));
        assert_eq!(kept.event.redacted, ["/data/validationCode"]);
    }
    let two = events(posted(&EVENT_GRID, format!("[{validation},{validation}]")));
    assert_eq!(two.len(), 2);
    let without = quarantined(posted(&EVENT_GRID, validation.replace("validationCode", "x")));
    assert_eq!(without.reason, QuarantineReason::NoValidationCode);
}

#[test]
fn the_deletion_of_a_subscription_is_kept_and_reported() {
    let body = r#"[{"id":"1","topic":"/t","eventType":"Microsoft.EventGrid.SubscriptionDeletedEvent","data":{"eventSubscriptionId":"/x"}}]"#;
    let normalized = event(posted(&EVENT_GRID, body));
    assert!(is_deletion(&normalized.event.source_type));
    assert_eq!(normalized.original, &body[1..body.len() - 1]);
    let other = event(posted(&EVENT_GRID, of_type("CallStarted", "{}")));
    assert!(!is_deletion(&other.event.source_type));
}

#[test]
fn a_transcription_without_a_leg_belongs_to_its_call() {
    let server = "aHR0cHM6Ly9jb252LWRldi0yMS5jb252LWRldi5za3lwZS5uZXQ6NDQzL2NvbnYv";
    let recording_of = |data: serde_json::Value| {
        let normalized =
            event(posted(&EVENT_GRID, of_type("TranscriptionStarted", &data.to_string())));
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
    assert_eq!(recording_of(json!({ "serverCallId": format!("{server}==") })), by_server);
    assert_eq!(recording_of(json!({})), "transcription:");
}

#[test]
fn the_call_of_a_file_is_read_from_its_subject() {
    let body = of_type("RecordingFileStatusUpdated", "{}").replace(
        r#""id":"1""#,
        &format!(
            r#""id":"1","subject":"/recording/call/{CORRELATION}/serverCallId/aHR0cHM6Ly9jb252LWRldi0y/MS5j+b252==/recordingId/eyJQbGF0Zm9ybUVuZHBvaW50SWQiOiI4""#
        ),
    );
    let ids = event(posted(&EVENT_GRID, body)).event.ids;
    assert_eq!(ids.correlation_id.as_deref(), Some(CORRELATION));
    assert_eq!(ids.recording_id.as_deref(), Some("eyJQbGF0Zm9ybUVuZHBvaW50SWQiOiI4"));
    assert!(ids.server_call_id.is_some());
}

proptest! {
    #[test]
    fn no_posted_body_is_lost(body in prop::collection::vec(any::<u8>(), 0..64)) {
        for source in [EVENT_GRID, CALL_AUTOMATION] {
            if let DeliveryContents::Events(events) = posted(&source, &body) {
                let text = String::from_utf8_lossy(&body);
                let is_empty_array = text.trim().starts_with('[') && text.trim().ends_with(']');
                prop_assert!(!events.is_empty() || is_empty_array);
            }
        }
    }

    #[test]
    fn a_damaged_delivery_is_kept_and_does_not_panic(
        sample in prop::sample::select(vec![
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/azure/ca-java-batch-two-events.json")),
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/azure/eg-docs2022-incoming-call.json")),
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/azure/ce-spec2025-call-ended-no-role-no-room.json")),
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
        for source in [EVENT_GRID, CALL_AUTOMATION] {
            let kept = events(posted(&source, &body));
            prop_assert!(!kept.is_empty());
        }
    }
}
