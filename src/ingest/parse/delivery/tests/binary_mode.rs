//! Deliveries in CloudEvents' binary mode.

use super::nothing_lost::{CALL_AUTOMATION, event, only, opened, quarantined};
use crate::ingest::decode::decoded_body::DecodedBody;
use crate::ingest::parse::delivery::{
    DeliveryContents, ParsedElement, RawDelivery, parse_delivery,
};
use onrecord_evidence::event::ids::Digest;

fn headers(more: &[(&str, &str)]) -> Vec<(String, String)> {
    let headers = [
        ("ce-id", "1"),
        ("ce-type", "Microsoft.Communication.CallConnected"),
        ("ce-source", "calling/callConnections/411f0b00-dc73-4528-a9e6-968ba983d2a1"),
        ("ce-specversion", "1.0"),
        ("ce-time", "2025-06-16T18:38:11.415911+00:00"),
    ]
    .iter()
    .chain(more)
    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    headers.collect()
}

fn delivered(more: &[(&str, &str)], body: &[u8]) -> DeliveryContents {
    let headers = headers(more);
    let delivery = RawDelivery {
        content_type: Some("application/json"),
        headers: &headers,
        body: DecodedBody::uncoded(body),
    };
    parse_delivery(&CALL_AUTOMATION, &delivery)
}

#[test]
fn headers_and_body_become_one_event() {
    let body = br#"{"correlationId":"5d169a62-eaa9-4cd1-9397-f77a623bd983", "token":"S3CRET"}"#;
    let normalized = event(delivered(&[], body));
    assert_eq!(normalized.ce_id, "1");
    assert_eq!(normalized.sha256, Digest::of(body));
    assert_eq!(normalized.event.redacted, ["/data/token"]);
    assert!(normalized.original.ends_with(
        r#""data":{"correlationId":"5d169a62-eaa9-4cd1-9397-f77a623bd983", "token":"[redacted]"}}"#
    ));
    assert_eq!(
        normalized.event.ids.call_connection_id.as_deref(),
        Some("411f0b00-dc73-4528-a9e6-968ba983d2a1")
    );

    assert!(matches!(only(delivered(&[], b"")), ParsedElement::Event(_)));
    assert_eq!(quarantined(delivered(&[], b"[1]")).reason.pointer(), Some("/data"));

    // Headers of a proxy do not matter where the body brings its envelope.
    let structured = event(delivered(
        &[],
        br#"[{"id":"2","type":"Microsoft.Communication.CallConnected","source":"s"}]"#,
    ));
    assert_eq!(structured.ce_id, "2");
}

#[test]
fn the_envelope_of_an_event_with_a_broken_body_is_kept_and_the_body_is_sealed() {
    const ENVELOPE: &str = r#"{"id":"1","type":"Microsoft.Communication.CallConnected","source":"calling/callConnections/411f0b00-dc73-4528-a9e6-968ba983d2a1","specversion":"1.0","time":"2025-06-16T18:38:11.415911+00:00","#;
    let deepest = "[".repeat(100) + &"]".repeat(100);
    for (body, code) in [
        (&b"{\"a\":1,\"token\":\"S3CRET"[..], "not_json"),
        (b"\xff\"token\":1", "not_text"),
        (b"{\"to\0ken\":1", "not_json"),
        (deepest.as_bytes(), "too_deep"),
    ] {
        let more = [("ce-accesstoken", "S3CRET")];
        let broken = quarantined(delivered(&more, body));
        assert_eq!(broken.reason.code(), code);
        let readable = format!(
            r#"{ENVELOPE}"accesstoken":"[redacted]","datacontenttype":"application/json"}}"#
        );
        assert_eq!(broken.content.as_deref(), Some(readable.as_str()));
        assert_eq!(broken.redacted, ["/accesstoken"]);
        assert_eq!((broken.sha256, broken.size), (Digest::of(body), body.len()));
        let headers = headers(&more);
        let delivery =
            RawDelivery { content_type: None, headers: &headers, body: DecodedBody::uncoded(body) };
        let [(_, opened)] = opened(&CALL_AUTOMATION, &delivery).try_into().unwrap();
        assert_eq!(opened.as_deref(), Some(body));
    }
}
