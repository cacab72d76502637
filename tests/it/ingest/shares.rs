//! One source does not stop the others: memory, parsing and handshakes are shared.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::app::{SOURCE_KEY, TestApp, TestStores, until};
use crate::support::azure::Call;
use crate::support::client::http;

/// Maximum time of a delivery beside those of another source.
const SOON: Duration = Duration::from_secs(3);
const MIB: usize = 1024 * 1024;

/// Begins to post a body of 4 MiB to a source, sends this many bytes of it, and stalls.
async fn posts_slowly(app: &TestApp, path: &str, sent: usize) -> TcpStream {
    let mut stalled = TcpStream::connect(app.address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nx-onrecord-key: {SOURCE_KEY}\r\ncontent-length: {}\r\n\r\n",
        4 * MIB
    );
    stalled.write_all(head.as_bytes()).await.unwrap();
    // A rejected body is not read to its end, so the rest may not fit into the socket.
    let body = vec![b' '; sent];
    let _ = tokio::time::timeout(SOON, stalled.write_all(&body)).await;
    stalled
}

/// A delivery of about this many bytes.
fn large(bytes: usize) -> Value {
    let mut events = Call::new().started();
    events[0]["data"]["padding"] = json!("x".repeat(bytes));
    events
}

/// Posts events to a source, which must be accepted soon.
async fn is_accepted_soon(app: &TestApp, path: &str, events: &Value) {
    let began = Instant::now();
    let (status, body) = app.posts(path, events.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    assert!(began.elapsed() < SOON, "{path}: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_posts_of_4_mib_of_one_source_take_no_place_of_another() {
    let app =
        TestApp::with(TestStores::shared().await, "[ingest]\nbytes_in_flight = \"8MiB\"").await;
    app.is_ready().await;
    // What has not arrived takes no place, not even of the same source.
    let mut slow = Vec::new();
    for _ in 0..16 {
        slow.push(posts_slowly(&app, "/ingest/event-grid/eg", 1024).await);
    }
    is_accepted_soon(&app, "/ingest/event-grid/eg", &large(MIB)).await;
    // What has arrived takes the share of the source, and no other's.
    for _ in 0..16 {
        slow.push(posts_slowly(&app, "/ingest/event-grid/eg", MIB).await);
    }
    until("the source has its whole share in flight", || async {
        let (status, _) = app.posts("/ingest/event-grid/eg", large(MIB).to_string()).await;
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    for _ in 0..20 {
        is_accepted_soon(&app, "/ingest/event-grid/other", &large(512 * 1024)).await;
        is_accepted_soon(&app, "/ingest/event-grid/other", &Call::new().started()).await;
        is_accepted_soon(&app, "/ingest/call-automation/ca", &Call::new().started()).await;
    }
    let metrics = http().get(app.url("/metrics")).send().await.unwrap().text().await.unwrap();
    // Each known reason is counted from 0.
    let rejected = metrics.lines().filter(|line| {
        line.starts_with("onrecord_ingest_rejected_total")
            && line.contains("\"bytes_in_flight\"")
            && !line.ends_with(" 0")
    });
    assert!(rejected.clone().any(|line| line.contains("source=\"eg\"")), "{metrics}");
    assert!(!rejected.clone().any(|line| line.contains("source=\"other\"")), "{metrics}");
    drop(slow);
    until("the source has its share again", || async {
        let (status, _) = app.posts("/ingest/event-grid/eg", large(MIB).to_string()).await;
        (status == StatusCode::OK).then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_alone_uses_most_of_the_capacity() {
    let app =
        TestApp::with(TestStores::shared().await, "[ingest]\nbytes_in_flight = \"16MiB\"").await;
    app.is_ready().await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        slow.push(posts_slowly(&app, "/ingest/event-grid/eg", MIB).await);
    }
    // The largest body that any source may send.
    let body = format!("[{}]", " ".repeat(4 * MIB - 2));
    drop(slow.split_off(5));
    until("4 MiB beside 5", || async {
        let (status, _) = app.posts("/ingest/event-grid/eg", body.clone()).await;
        (status == StatusCode::OK).then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_handshakes_of_one_source_leave_a_place_for_each_other_one() {
    let app = TestApp::open().await;
    let mut stalled = Vec::new();
    for _ in 0..100 {
        let mut slow = TcpStream::connect(app.address).await.unwrap();
        let head = "POST /ingest/event-grid/eg HTTP/1.1\r\nhost: x\r\naeg-event-type: SubscriptionValidation\r\ncontent-length: 65536\r\n\r\n";
        slow.write_all(head.as_bytes()).await.unwrap();
        stalled.push(slow);
    }
    let handshake = async |source: &str| {
        let request = http()
            .post(app.url(&format!("/ingest/event-grid/{source}")))
            .header("aeg-event-type", "SubscriptionValidation")
            .body(include_str!("../../data/azure/egsys-subscription-validation.json"));
        request.send().await.unwrap().status()
    };
    until("no handshake of the source has a place", || async {
        (handshake("eg").await == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    for _ in 0..10 {
        assert_eq!(handshake("other").await, StatusCode::OK);
    }
    app.event_grid_posts(&Call::new().started()).await;
    // The slow ones are answered, too late.
    let mut answer = vec![0; 12];
    stalled[0].read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 503");
    app.stop().await;
}
