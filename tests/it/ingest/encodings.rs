//! Deliveries with content codings and in other charsets than UTF-8.

use std::io::Write as _;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::app::{SOURCE_KEY, TestApp, TestStores};
use crate::support::azure::Call;
use crate::support::client::http;
use onrecord_evidence::event::ids::Digest;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect()
}

async fn posts(
    app: &TestApp,
    coding: Option<&str>,
    content_type: &str,
    body: Vec<u8>,
) -> (StatusCode, String) {
    let mut request = http()
        .post(app.url("/ingest/event-grid/eg"))
        .header("x-onrecord-key", SOURCE_KEY)
        .header("content-type", content_type)
        .body(body);
    if let Some(coding) = coding {
        request = request.header("content-encoding", coding);
    }
    let answer = request.send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_in_any_coding_and_charset_is_read_and_its_encoding_is_kept() {
    let mut app = TestApp::open().await;
    const JSON: &str = "application/json";
    type Encode = fn(&str) -> Vec<u8>;
    let cases: [(Option<&str>, &str, Encode, Value, Value); 8] = [
        (Some("gzip"), JSON, |it| gzip(it.as_bytes()), json!("gzip"), Value::Null),
        (Some("deflate"), JSON, |it| zlib(it.as_bytes()), json!("deflate"), Value::Null),
        (Some("zstd"), JSON, |it| zstd(it.as_bytes()), json!("zstd"), Value::Null),
        (
            Some("zstd, gzip"),
            JSON,
            |it| gzip(&zstd(it.as_bytes())),
            json!("zstd, gzip"),
            Value::Null,
        ),
        (None, "application/json; charset=utf-16", utf16, Value::Null, json!("utf-16le")),
        (None, "application/json; charset=iso-8859-1", latin1, Value::Null, json!("windows-1252")),
        (
            None,
            JSON,
            |it| [b"\xef\xbb\xbf", it.as_bytes(), b"\n\0\0"].concat(),
            Value::Null,
            Value::Null,
        ),
        (Some("gzip"), "text/plain", |it| gzip(&utf16(it)), json!("gzip"), json!("utf-16le")),
    ];
    for (at, (coding, content_type, encode, kept_coding, kept_charset)) in
        cases.into_iter().enumerate()
    {
        let call = Call::new();
        let mut events = call.joined("8:acs:x_y", "p");
        events[0]["data"]["displayName"] = json!("Jürgen Groß");
        let (text, body) = (events.to_string(), encode(&events.to_string()));
        let (status, answer) = posts(&app, coding, content_type, body.clone()).await;
        assert_eq!((status.as_u16(), answer.as_str()), (200, r#"{"events":1,"quarantined":0}"#));
        let list = app
            .sees("/v1/events", |list| {
                list["events"].as_array().is_some_and(|events| events.len() == at + 1)
            })
            .await;
        let entry = &list["events"][at];
        assert_eq!(entry["event"]["participant"]["display_name"], "Jürgen Groß");
        assert_eq!((&entry["content_coding"], &entry["charset"]), (&kept_coding, &kept_charset));
        let as_received = kept_coding.is_null() && kept_charset.is_null();
        let element = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap();
        let hashed = if as_received { element.as_bytes() } else { &body };
        assert_eq!(entry["sha256"], Digest::of(hashed).to_string());
        // The same in plain text is a duplicate.
        app.event_grid_posts(&events).await;
    }
    let list = app.reads("/v1/events").await;
    assert_eq!(list["events"].as_array().map(Vec::len), Some(8), "{list}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_cannot_be_unpacked_is_quarantined_with_its_coding() {
    let mut app = TestApp::open().await;
    let whole = gzip(Call::new().started().to_string().as_bytes());
    let cut = whole[..whole.len() / 2].to_vec();
    // The same bytes again would be the same row, whatever their coding is said to be.
    let other = gzip(Call::new().started().to_string().as_bytes());
    for (coding, body) in [("gzip", cut), ("compress", whole), ("br", other)] {
        let (status, answer) = posts(&app, Some(coding), "application/json", body).await;
        assert_eq!((status.as_u16(), answer.as_str()), (200, r#"{"events":1,"quarantined":1}"#));
    }
    let list = app
        .sees("/v1/quarantine", |list| {
            list["quarantined"].as_array().is_some_and(|rows| rows.len() == 3)
        })
        .await;
    for row in list["quarantined"].as_array().unwrap() {
        assert_eq!((&row["reason"], &row["content"]), (&json!("not_decoded"), &Value::Null));
        assert!(row["content_coding"].is_string(), "{row}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_body_that_becomes_a_large_one_is_refused_and_takes_only_the_share_of_its_source() {
    let app =
        TestApp::with(TestStores::shared().await, "[ingest]\nbytes_in_flight = \"8MiB\"").await;
    app.is_ready().await;
    // 64 MiB of blanks, and then again: some hundred bytes.
    let bomb = gzip(&gzip(&vec![b' '; 64 << 20]));
    for coding in [Some("gzip, gzip"), Some("gzip"), None] {
        let (status, _) = posts(&app, coding, "application/json", bomb.clone()).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    }
    // What comes out counts: several of them at a time exceed the share of one source.
    let padded = |mib: usize| {
        let mut events = Call::new().started();
        events[0]["data"]["padding"] = json!("x".repeat(mib << 20));
        gzip(events.to_string().as_bytes())
    };
    let (app_ref, padded_ref) = (&app, &padded);
    let answers = futures_util::future::join_all((0..24).map(|_| async move {
        posts(app_ref, Some("gzip"), "application/json", padded_ref(3)).await.0.as_u16()
    }))
    .await;
    assert!(answers.contains(&200) && answers.contains(&503), "{answers:?}");
    assert!(answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
    let (status, _) = posts(&app, Some("gzip"), "application/json", padded(3)).await;
    assert_eq!(status, StatusCode::OK, "what came out is returned");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_without_a_key_is_recognized_in_any_coding_unless_it_becomes_large() {
    let app = TestApp::open().await;
    let handshake = include_str!("../../data/azure/egsys-subscription-validation.json");
    // It is a handshake of 80 kB, of a few hundred bytes as sent.
    let large = format!("{}{handshake}", " ".repeat(80_000));
    let bodies = [
        (gzip(handshake.as_bytes()), 200),
        (zstd(&utf16(handshake)), 200),
        (gzip(large.as_bytes()), 503),
        (gzip(Call::new().started().to_string().as_bytes()), 503),
    ];
    for (body, expected) in bodies {
        let request = http()
            .post(app.url("/ingest/event-grid/eg"))
            .header("aeg-event-type", "SubscriptionValidation")
            .header("content-type", "application/json")
            .body(body);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{}", answer.text().await.unwrap());
    }
    app.stop().await;
}
