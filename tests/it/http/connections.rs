//! Callers with all connections or streams that they may have stop neither deliveries nor operations
//! nor other callers.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::app::{TestApp, TestStores, until};
use crate::support::azure::{ALICE, BOB, Call};
use crate::support::client::http;
use crate::support::socket::Socket;

/// One request on a connection of its own; the answer until the server closes the connection, or
/// sends nothing for a moment.
async fn answer_to(app: &TestApp, request: &str) -> String {
    let mut connection = TcpStream::connect(app.address).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
    let moment = Duration::from_secs(1);
    while let Ok(Ok(read @ 1..)) = tokio::time::timeout(moment, connection.read(&mut buffer)).await
    {
        received.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8(received).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_with_all_their_connections_stop_neither_deliveries_nor_operations() {
    let app = TestApp::with(TestStores::shared().await, "max_connections = 24").await;
    app.is_ready().await;
    let token = app.token(ALICE).await;
    // 21 connections serve all callers, 3 are the reserve. The first ones say nothing, the others
    // are streams.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(app.address).await.unwrap());
    }
    let request = format!(
        "GET /v1/indications?attachment=5b3c1f6e-6d0a-4c86-8a34-0d7cf2f2f6a1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    let stream = format!(
        "GET /v1/notices/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    let mut streams = Vec::new();
    let refused = until("clients have all their connections", || async {
        let answer = answer_to(&app, &request).await;
        answer.starts_with("HTTP/1.1 503").then_some(answer)
    });
    let fill = async {
        for _ in 0..21 {
            let mut connection = TcpStream::connect(app.address).await.unwrap();
            connection.write_all(stream.as_bytes()).await.unwrap();
            streams.push(connection);
        }
    };
    let (refused, ()) = tokio::join!(refused, fill);
    let refused = refused.to_lowercase();
    assert!(refused.contains("retry-after: 5"), "{refused}");
    assert!(refused.contains("connection: close"), "{refused}");

    // Connections to the reserve that say nothing end within seconds.
    for _ in 0..12 {
        silent.push(TcpStream::connect(app.address).await.unwrap());
    }
    for _ in 0..3 {
        for path in ["/readyz", "/healthz", "/metrics"] {
            let response = http().get(app.url(path)).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{path}");
        }
        let call = Call::new();
        app.event_grid_posts(&call.joined(ALICE, "p1")).await;
    }
    let metrics = http().get(app.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("onrecord_connections{place=\"reserve\"}"), "{metrics}");

    // What ends is free for clients again.
    drop((streams, silent));
    until("clients are served again", || async {
        answer_to(&app, &request).await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    app.stop().await;
}

/// The time until the server closes a connection whose client goes on sending its body slowly.
async fn held_by(app: &TestApp, head: &str) -> Duration {
    let connection = TcpStream::connect(app.address).await.unwrap();
    let (mut answers, mut body) = connection.into_split();
    body.write_all(head.as_bytes()).await.unwrap();
    let began = Instant::now();
    let sending = tokio::spawn(async move {
        while body.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut buffer = [0; 4096];
    while let Ok(1..) = answers.read(&mut buffer).await {}
    let held = began.elapsed();
    sending.abort();
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_requests_without_a_credential_hold_the_reserve_for_less_than_seconds() {
    let app = TestApp::with(TestStores::shared().await, "max_connections = 24").await;
    app.is_ready().await;
    let mut silent = Vec::new();
    for _ in 0..21 {
        silent.push(TcpStream::connect(app.address).await.unwrap());
    }
    let request = |first: &str, header: &str| {
        format!("{first} HTTP/1.1\r\nhost: x\r\n{header}content-length: 60000\r\n\r\n")
    };
    let of_source = "POST /ingest/event-grid/eg";
    let handshake = "aeg-event-type: SubscriptionValidation\r\n";
    for head in [
        request(of_source, "x-onrecord-key: no\r\n"),
        request(of_source, ""),
        request(of_source, handshake),
        request("POST /ingest/event-grid/unknown", ""),
        request("POST /ingest", ""),
        request("PUT /ingest/event-grid/eg", ""),
        request("OPTIONS /ingest/event-grid/eg", "webhook-request-origin: x\r\n"),
        request("GET /metrics", ""),
        request("POST /v1/reports", ""),
        "POST /ingest/event-grid/eg HTTP/1.1\r\nhost: ".to_owned(),
    ] {
        let held = held_by(&app, &head).await;
        assert!(held < Duration::from_secs(2), "{held:?} by {head}");
    }
    // A sender with a key has its time.
    let call = Call::new();
    app.event_grid_posts(&call.joined(ALICE, "p1")).await;
    drop(silent);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_and_an_api_key_cannot_take_the_streams_of_others() {
    use onrecord::http::api_role::ApiRole;

    let app = TestApp::with(TestStores::shared().await, "[streams]\nmax_streams = 200").await;
    app.is_ready().await;
    let (alice, bob) = (app.token(ALICE).await, app.token(BOB).await);
    let key = app.api_key("contoso", ApiRole::App).await;
    let other_tenant = app.api_key("fabrikam", ApiRole::App).await;
    let url = app.url("/v1/notices/stream");
    let opens = async |credential: &str| {
        let mut open = Vec::new();
        loop {
            let response = http().get(&url).bearer_auth(credential).send().await.unwrap();
            if response.status() != StatusCode::OK {
                assert!(response.headers().contains_key("retry-after"));
                return (open, response.status());
            }
            open.push(response);
        }
    };
    // The newest stream of a participant takes the place of its oldest one, and no other's.
    let attachment = "attachment=5b3c1f6e-6d0a-4c86-8a34-0d7cf2f2f6a1";
    let mut of_alice = Vec::new();
    for _ in 0..64 {
        of_alice.push(app.subscribes(&alice, attachment).await);
    }
    let mut oldest = of_alice.remove(0);
    oldest.receives("snapshot").await;
    let mut newest = app.subscribes(&alice, attachment).await;
    newest.receives("snapshot").await;
    let bye = oldest.receives("bye").await;
    assert_eq!(bye.body["code"], "replaced", "{bye:?}");
    assert!(oldest.next().await.is_none());
    // A page receives it as a message, and its connection as a close code.
    let second = of_alice.remove(0);
    drop(second);
    let mut socket = Socket::open(&app, &alice, attachment).await;
    socket.receives("snapshot").await;
    let mut newer = Vec::new();
    for _ in 0..64 {
        newer.push(app.subscribes(&alice, attachment).await);
    }
    let (received, code) = socket.receives_until_close().await;
    assert_eq!((received.last().unwrap().body["code"].as_str(), code), (Some("replaced"), 1013));
    let of_bob = app.subscribes(&bob, "").await;

    // The tenant has four fifths of the streams, whatever its keys are.
    let (of_key, refused) = opens(&key).await;
    assert_eq!((of_key.len(), refused), (95, StatusCode::SERVICE_UNAVAILABLE));
    let of_other = app.subscribes(&other_tenant, "").await;
    drop((of_alice, newest, newer, of_bob, of_key, of_other));
    until("the streams are free again", || async {
        let (status, _) = app.reports(&alice, &json!({})).await;
        let response = http().get(&url).bearer_auth(&alice).send().await.unwrap();
        (status == StatusCode::BAD_REQUEST && response.status() == StatusCode::OK).then_some(())
    })
    .await;
    app.stop().await;
}
