//! Beats: a page sees that its connection lives, on both transports and through a proxy that
//! compresses.

use std::io::Write as _;
use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::end_to_end::urlencoded;
use crate::support::app::{TestApp, until};
use crate::support::azure::{ALICE, Call, report};
use crate::support::client::{ReceivedEvent, Stream, http};
use crate::support::socket::Socket;

fn of(call: &Call) -> String {
    format!("server_call_id={}", urlencoded(&call.server_call_id))
}

/// Checks the members of a beat, and returns its cursor.
fn cursor_of(beat: &ReceivedEvent) -> &str {
    let members: Vec<&String> = beat.body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["cursor", "server_time"], "{beat:?}");
    assert_eq!(beat.body["cursor"], beat.id.as_str());
    let time = beat.body["server_time"].as_str().unwrap();
    let time = chrono::DateTime::parse_from_rfc3339(time).unwrap();
    assert!((chrono::Utc::now() - time.to_utc()).num_seconds().abs() < 60, "{beat:?}");
    &beat.id
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_beats_and_the_cursor_of_a_beat_resumes_and_confirms() {
    let app = TestApp::open().await;
    let call = Call::new();
    let token = app.token(ALICE).await;
    app.event_grid_posts(&call.joined(ALICE, &Uuid::new_v4().to_string())).await;
    app.call_automation_posts(&call.recording("active", chrono::Utc::now())).await;
    let mut events = app.subscribes(&token, &of(&call)).await;
    let mut socket = Socket::open(&app, &token, &of(&call)).await;
    // Without a call there is no first message, but beats.
    let mut idle = app.subscribes(&token, "").await;
    let unknown = format!("attachment={}", Uuid::new_v4());
    let mut quiet = app.subscribes(&token, &unknown).await;
    let first = quiet.receives("snapshot").await.id;
    app.event_grid_posts(&Call::new().started()).await;
    events.receives_recording("on").await;
    socket.receives_recording("on").await;
    let (beat, frame, idle) =
        tokio::join!(events.receives_beat(), socket.receives_beat(), idle.receives_beat());
    let cursors = [cursor_of(&beat), cursor_of(&frame)];
    cursor_of(&idle);
    let quiet = quiet.receives_beat().await;
    assert_ne!(cursor_of(&quiet), first, "the log went on meanwhile");
    // The receipt of a beat confirms what was stated before it, and is not answered.
    socket.sends_json(json!({ "type": "ack", "cursor": frame.id })).await;
    app.call_automation_posts(&call.recording("inactive", chrono::Utc::now())).await;
    assert_eq!(socket.receives_next().await.recording(), "off");
    events.receives_recording("off").await;
    for cursor in cursors {
        let mut resumed = app.subscribes_from(&token, &of(&call), Some(cursor)).await;
        let first = resumed.next().await.unwrap();
        assert_ne!(first.kind, "gap", "{first:?}");
    }
    app.stop().await;
}

/// A proxy that compresses every response unless `Cache-Control: no-transform` forbids it (RFC
/// 9111, section 5.2.2.6), as Express, Envoy and content networks do: what does not fill a block of
/// the compression waits.
async fn compressing_proxy(to: SocketAddr) -> SocketAddr {
    let forward = move |request: Request| async move {
        let url = format!("http://{to}{}", request.uri());
        let mut forwarded = http().get(url);
        for (name, value) in request.headers() {
            forwarded = forwarded.header(name, value);
        }
        let answer = forwarded.send().await.unwrap();
        let cache_control = answer.headers().get_all(header::CACHE_CONTROL);
        let is_kept = cache_control
            .iter()
            .any(|value| value.to_str().unwrap().split(',').any(|it| it.trim() == "no-transform"));
        let mut response = Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            if name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING {
                response = response.header(name, value);
            }
        }
        let body = answer.bytes_stream();
        if is_kept {
            return response.body(Body::from_stream(body)).unwrap();
        }
        let encoder = GzEncoder::new(Vec::new(), Compression::default());
        let pieces = stream::unfold((body, Some(encoder)), |(mut body, encoder)| async move {
            let mut encoder = encoder?;
            let Some(piece) = body.next().await else {
                let rest = Bytes::from(encoder.finish().unwrap());
                return Some((Ok(rest), (body, None)));
            };
            let piece = piece.map(|piece| {
                encoder.write_all(&piece).unwrap();
                Bytes::from(std::mem::take(encoder.get_mut()))
            });
            Some((piece, (body, Some(encoder))))
        });
        let response = response.header(header::CONTENT_ENCODING, "gzip");
        response.body(Body::from_stream(pieces)).unwrap()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = Router::new().fallback(forward);
    tokio::spawn(async move { axum::serve(listener, proxy).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_compresses_holds_no_event_back() {
    let app = TestApp::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    let proxy = compressing_proxy(app.address).await;
    let answer = http()
        .get(format!("http://{proxy}/v1/indications?attachment={attachment}"))
        .bearer_auth(&token)
        .send();
    let answer = answer.await.unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip", "other responses are compressed");

    let stream = format!("http://{proxy}/v1/notices/stream?attachment={attachment}");
    let answer = http().get(&stream).bearer_auth(&token).send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-cache, no-store, no-transform");
    assert_eq!(answer.headers()["x-accel-buffering"], "no");
    assert!(!answer.headers().contains_key("content-encoding"));
    let mut events = Stream::open(stream, &token, None).await;
    assert_eq!(events.next().await.unwrap().recording(), "unknown");
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    assert_eq!(app.reports(&token, &report(&attachment, 1, &on)).await.0, 200);
    assert_eq!(events.next().await.unwrap().recording(), "on");
    events.receives_beat().await;
    // So is the stream that consists of `bye` only.
    let bye = format!("http://{proxy}/v1/notices/stream?token={}", app.token_for(ALICE, 1).await);
    until("the token has expired", || async {
        let answer = http().get(&bye).timeout(std::time::Duration::from_secs(2)).send();
        let answer = answer.await.ok()?;
        assert_eq!(answer.headers()["cache-control"], "no-cache, no-store, no-transform");
        answer.text().await.ok().filter(|text| text.starts_with("event: bye")).map(drop)
    })
    .await;
    app.stop().await;
}
