//! WebSockets: the same messages as server-sent events, receipts, new tokens, the close.

use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::end_to_end::urlencoded;
use crate::support::app::{TestApp, TestStores, until};
use crate::support::azure::{ALICE, BOB, Call, report};
use crate::support::client::{ReceivedEvent, http};
use crate::support::socket::{Handshake, Socket};

fn of(call: &Call) -> String {
    format!("server_call_id={}", urlencoded(&call.server_call_id))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_receives_the_same_messages_and_cursors_as_server_sent_events() {
    let app = TestApp::open().await;
    let call = Call::new();
    let token = app.token(ALICE).await;
    let mut events = app.subscribes(&token, &of(&call)).await;
    let mut socket = Socket::open(&app, &token, &of(&call)).await;
    assert_eq!(socket.protocol.as_deref(), Some("onrecord.v1"));
    assert_eq!(socket.receives("snapshot").await.recording(), "unknown");
    events.receives("snapshot").await;
    for state in ["active", "inactive"] {
        app.call_automation_posts(&call.recording(state, chrono::Utc::now())).await;
        let (event, frame) = (events.receives("notice").await, socket.receives("notice").await);
        assert_eq!((&event.id, &event.body), (&frame.id, &frame.body));
        assert_eq!(event.body["cursor"], event.id.as_str());
    }

    // A cursor of either transport resumes on the other.
    drop((events, socket));
    let cursor = app.subscribes(&token, &of(&call)).await.receives("snapshot").await.id;
    let query = format!("{}&last_event_id={cursor}", of(&call));
    let mut socket = Socket::open(&app, &token, &query).await;
    let received = until_snapshot(&mut socket).await;
    assert!(!received.iter().any(|it| it.kind == "gap"), "{received:?}");
    assert!(received.iter().any(|it| it.recording() == "off"), "{received:?}");
    let cursor = &received[0].id;
    let mut events = app.subscribes_from(&token, &of(&call), Some(cursor)).await;
    assert_ne!(events.next().await.unwrap().kind, "gap");
    app.stop().await;
}

async fn until_snapshot(socket: &mut Socket) -> Vec<ReceivedEvent> {
    let mut all = Vec::new();
    loop {
        let received = socket.receives_next().await;
        let is_snapshot = received.kind == "snapshot";
        all.push(received);
        if is_snapshot {
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_a_websocket_by_subprotocol_query_or_header_and_an_api_key_by_header_only() {
    let app = TestApp::open().await;
    let token = app.token(ALICE).await;
    let key = app.api_key("contoso", ApiRole::App).await;
    let query = format!("attachment={}", Uuid::new_v4());
    let ask = || Handshake::new(&app, &query);
    let in_query = |token: &str| Handshake::new(&app, &format!("{query}&token={token}"));
    let as_protocol = format!("onrecord.token.{token}");
    for (handshake, chosen) in [
        (ask().protocols(&["onrecord.v1", &as_protocol]), Some("onrecord.v1")),
        (ask().protocols(&[&as_protocol, "onrecord.v1"]), Some("onrecord.v1")),
        // A browser requires that one of its offered subprotocols is chosen.
        (ask().protocols(&[&as_protocol]), Some(as_protocol.as_str())),
        (in_query(&token), None),
        (in_query(&token).protocols(&["onrecord.v1"]), Some("onrecord.v1")),
        (ask().bearer(&token), None),
        (ask().bearer(&key), None),
        (ask().header("x-onrecord-key", &key), None),
    ] {
        let mut socket = handshake.opens().await;
        assert_eq!(socket.protocol.as_deref(), chosen);
        assert_eq!(socket.receives_next().await.kind, "snapshot");
    }

    let forged = format!("{token}x");
    for refused in [
        ask(),
        ask().bearer(&forged),
        in_query(&forged),
        ask().protocols(&["onrecord.v1", &format!("onrecord.token.{forged}")]),
        in_query(&key),
        ask().protocols(&["onrecord.v1", &format!("onrecord.token.{key}")]),
        // The header has precedence.
        in_query(&token).bearer(&forged),
    ] {
        let (status, _) = refused.connect().await.err().unwrap();
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    let wrong = Handshake::new(&app, "attachment=x").bearer(&key);
    assert_eq!(wrong.connect().await.err().unwrap().0, 400);
    let plain = http().get(app.url("/v1/notices/ws")).bearer_auth(&key).send().await.unwrap();
    assert_eq!(plain.status(), StatusCode::BAD_REQUEST);
    assert_eq!(plain.headers()["content-type"], "application/problem+json");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_are_accepted_and_other_frames_are_answered_without_closing() {
    let app = TestApp::open().await;
    let call = Call::new();
    let token = app.token(ALICE).await;
    let mut socket = Socket::open(&app, &token, &of(&call)).await;
    let mut other = Socket::open(&app, &token, "").await;
    let snapshot = socket.receives("snapshot").await;
    socket.sends_json(json!({ "type": "ack", "cursor": snapshot.id })).await;
    for (frame, status, member) in [
        (json!({ "type": "ack", "cursor": "1.AAAA" }), 400, json!("/cursor")),
        (json!({ "type": "ack" }), 400, json!("")),
        (json!({ "type": "hello" }), 400, json!("/type")),
        (json!("hello"), 400, json!("")),
        (json!({ "type": "token", "token": "a.b.c" }), 401, Value::Null),
    ] {
        socket.sends_json(frame.clone()).await;
        // The valid receipt was not answered.
        let error = socket.receives_next().await;
        assert_eq!(error.kind, "error", "{frame}");
        let problem = &error.body["problem"];
        assert_eq!(problem["status"], status, "{frame}: {problem}");
        assert!(problem["detail"].is_string(), "{frame}: {problem}");
        if member != json!("/type") {
            assert_eq!(problem["member"], member, "{frame}: {problem}");
        }
    }
    for frame in [Message::text("no json"), Message::binary(b"{}".to_vec()), Message::text("")] {
        socket.sends(frame).await;
        assert_eq!(socket.receives_next().await.body["problem"]["status"], 400);
    }
    app.call_automation_posts(&call.recording("active", chrono::Utc::now())).await;
    let on = socket.receives_recording("on").await;
    // A receipt of one stream is not valid on another.
    other.sends_json(json!({ "type": "ack", "cursor": on.id })).await;
    assert_eq!(other.receives("error").await.body["problem"]["member"], "/cursor");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_too_much_is_closed_with_a_code_for_the_reason() {
    let app = TestApp::open().await;
    let token = app.token(ALICE).await;
    let mut wordy = Socket::open(&app, &token, "").await;
    wordy.sends(Message::text("x".repeat(9 * 1024))).await;
    assert_eq!(wordy.receives_until_close().await.1, 1009);
    let mut busy = Socket::open(&app, &token, "").await;
    for _ in 0..100 {
        busy.sends(Message::text("{}")).await;
    }
    let (errors, code) = busy.receives_until_close().await;
    assert_eq!(code, 1008);
    assert!(errors.len() >= 60, "{}", errors.len());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_of_the_same_person_keeps_a_websocket_open() {
    let app = TestApp::open().await;
    let call = Call::new();
    let short = app.token_for(ALICE, 10).await;
    let long = app.token(ALICE).await;
    let mut renewed = Socket::open(&app, &short, &of(&call)).await;
    let mut left = Socket::open(&app, &short, &of(&call)).await;
    let bobs = app.token(BOB).await;
    for socket in [&mut renewed, &mut left] {
        socket.receives("snapshot").await;
        socket.sends_json(json!({ "type": "token", "token": bobs })).await;
        let refused = socket.receives_next().await;
        assert_eq!(refused.kind, "error");
        assert_eq!(refused.body["problem"]["status"], 403);
    }
    renewed.sends_json(json!({ "type": "token", "token": long })).await;
    let (last, code) = left.receives_until_close().await;
    assert_eq!(last.last().unwrap().kind, "bye");
    assert_eq!(code, 4401);
    app.call_automation_posts(&call.recording("active", chrono::Utc::now())).await;
    assert_eq!(renewed.receives_next().await.recording(), "on");

    // A socket that was opened with an API key needs no token.
    let key = app.api_key("contoso", ApiRole::App).await;
    let mut by_key = Handshake::new(&app, "").bearer(&key).opens().await;
    by_key.sends_json(json!({ "type": "token", "token": long })).await;
    let refused = by_key.receives("error").await;
    assert_eq!(refused.body["problem"]["status"], 403);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_gets_bye_in_a_browser_and_401_elsewhere() {
    let app = TestApp::open().await;
    let token = app.token_for(ALICE, 1).await;
    let stream = |query: String| http().get(app.url(&format!("/v1/notices/stream?{query}")));
    until("the token has expired", || async {
        let asked = stream(String::new()).bearer_auth(&token).send().await;
        (asked.ok()?.status() == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    let refused = stream(String::new()).bearer_auth(&token).send().await;
    let problem: Value = refused.unwrap().json().await.unwrap();
    assert_eq!(problem["type"], "urn:onrecord:problem:unauthorized");

    let query = format!("token={token}&last_event_id=18c0000000.AAAA");
    let answer = stream(query.clone()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let text = answer.text().await.unwrap();
    assert_eq!(text.matches("event:").count(), 1, "{text}");
    for line in ["event: bye\n", "retry: 15000\n", "id: 18c0000000.AAAA\n"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.contains("expired"), "{text}");
    // An invalid cursor is not sent back.
    let odd = format!("token={token}&last_event_id=a%0Aevent%3A%20notice");
    let text = stream(odd).send().await.unwrap().text().await.unwrap();
    assert!(!text.contains("notice"), "{text}");
    let forged = stream(format!("token={token}x")).send().await.unwrap();
    assert_eq!(forged.status(), StatusCode::UNAUTHORIZED);

    let as_protocol = format!("onrecord.token.{token}");
    for handshake in [
        Handshake::new(&app, &query),
        Handshake::new(&app, "last_event_id=18c0000000.AAAA")
            .protocols(&["onrecord.v1", &as_protocol]),
    ] {
        let (received, code) = handshake.opens().await.receives_until_close().await;
        assert_eq!((received.len(), code), (1, 4401));
        assert_eq!(received[0].kind, "bye");
        assert_eq!(received[0].id, "18c0000000.AAAA");
    }
    let by_header = Handshake::new(&app, "").bearer(&token).connect().await;
    assert_eq!(by_header.err().unwrap().0, StatusCode::UNAUTHORIZED);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_sends_bye_to_browsers_and_503_to_others() {
    let stores = TestStores::shared().await;
    let app = TestApp::with(stores, "[streams]\nmax_streams = 1").await;
    app.is_ready().await;
    let token = app.token(ALICE).await;
    let mut first = Socket::open(&app, &token, "").await;
    let (received, code) = Socket::open(&app, &token, "").await.receives_until_close().await;
    assert_eq!((received.len(), code), (1, 1013));
    assert_eq!(received[0].kind, "bye");
    let url = app.url("/v1/notices/stream");
    let by_query = http().get(format!("{url}?token={token}"));
    let text = by_query.send().await.unwrap().text().await.unwrap();
    assert!(text.starts_with("event: bye"), "{text}");
    let by_header = http().get(url).bearer_auth(&token).send().await.unwrap();
    assert_eq!(by_header.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(by_header.headers().contains_key("retry-after"));
    let by_header = Handshake::new(&app, "").bearer(&token).connect().await;
    assert_eq!(by_header.err().unwrap().0, StatusCode::SERVICE_UNAVAILABLE);
    // A closed connection frees its place.
    first.sends_json(json!("?")).await;
    first.receives("error").await;
    drop(first);
    until("a place is free", || async {
        let open = Handshake::new(&app, "").bearer(&token).connect().await;
        open.ok().map(drop)
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_cursor_yields_gap_and_the_subscriber_s_own_level_only() {
    let app = TestApp::open().await;
    let (call, other) = (Call::new(), Call::new());
    let (alice, bob) = (app.token(ALICE).await, app.token(BOB).await);
    let key = app.api_key("contoso", ApiRole::App).await;
    let mut events = app.subscribes(&alice, &of(&call)).await;
    app.call_automation_posts(&call.recording("active", chrono::Utc::now())).await;
    let cursor = events.receives("notice").await.id;
    app.call_automation_posts(&call.recording("inactive", chrono::Utc::now())).await;
    events.receives("notice").await;
    let (at, signature) = cursor.split_once('.').unwrap();
    let widened = format!("{:x}.{signature}", i64::from_str_radix(at, 16).unwrap() / 2);
    // Her own cursor brings what she missed.
    let mut own = app.subscribes_from(&alice, &of(&call), Some(&cursor)).await;
    assert_eq!(own.next().await.unwrap().kind, "notice");

    let everything = String::new();
    for (what, token, query, cursor, level) in [
        ("another person", &bob, of(&call), &cursor, "off"),
        ("another call", &alice, of(&other), &cursor, "unknown"),
        ("an API key", &key, of(&call), &cursor, "off"),
        ("a wider scope", &key, everything, &cursor, "off"),
        ("an earlier instant", &alice, of(&call), &widened, "off"),
    ] {
        let mut events = app.subscribes_from(token, &query, Some(cursor)).await;
        let mut socket = Handshake::new(&app, &format!("{query}&last_event_id={cursor}"))
            .bearer(token)
            .opens()
            .await;
        let (one, two) = (events.next().await.unwrap(), events.next().await.unwrap());
        let received = [one, two, socket.receives_next().await, socket.receives_next().await];
        let kinds: Vec<(&str, &str)> =
            received.iter().map(|it| (it.kind.as_str(), it.recording())).collect();
        let expected = [("gap", ""), ("snapshot", level)];
        assert_eq!(kinds, [expected, expected].concat(), "{what}");
    }
    // All calls of a person who is in none.
    let mut socket =
        Handshake::new(&app, &format!("last_event_id={cursor}")).bearer(&bob).opens().await;
    assert_eq!(socket.receives_next().await.kind, "gap");
    socket.sends_json(json!({ "type": "ack", "cursor": cursor })).await;
    assert_eq!(socket.receives_next().await.kind, "error", "there was nothing between");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_opens_before_its_call_is_known_and_binds_with_the_attachment() {
    let mut app = TestApp::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let (alice, bob) = (app.token(ALICE).await, app.token(BOB).await);
    let query = format!("attachment={attachment}");
    let mut own = Socket::open(&app, &alice, &query).await;
    let mut foreign = Socket::open(&app, &bob, &query).await;
    for socket in [&mut own, &mut foreign] {
        assert_eq!(socket.receives_next().await.body["call"], Value::Null);
    }
    app.call_automation_posts(&call.recording("active", chrono::Utc::now())).await;
    // It is on another partition than the report, so it may be read after it.
    let level = format!("/v1/indications?server_call_id={}", urlencoded(&call.server_call_id));
    app.sees(&level, |it| it["indication"]["recording"]["state"] == "on").await;
    let connected = json!({ "server_call_id": call.server_call_id });
    let (status, answer) = app.reports(&alice, &report(&attachment, 1, &connected)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let bound = own.receives_next().await;
    assert_eq!((bound.kind.as_str(), bound.recording()), ("snapshot", "on"));
    app.call_automation_posts(&call.recording("inactive", chrono::Utc::now())).await;
    assert_eq!(own.receives("notice").await.recording(), "off");
    // The other socket received nothing: its first message is the answer to a wrong frame.
    foreign.sends_json(json!({})).await;
    assert_eq!(foreign.receives_next().await.kind, "error");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_is_read_too_slowly_is_closed_after_gap_and_another_receives_everything() {
    let stores = TestStores::shared().await;
    let app = TestApp::with(stores, "[streams]\nqueue = 4").await;
    app.is_ready().await;
    let key = app.api_key("contoso", ApiRole::App).await;
    let mut quick = app.subscribes(&key, "").await;
    let mut quick_socket = Handshake::new(&app, "").bearer(&key).opens().await;
    let counting = tokio::spawn(async move {
        let mut received = 0;
        loop {
            match quick_socket.receives_next().await.recording() {
                "on" => received += 1,
                "off" => return received,
                _ => {}
            }
        }
    });
    let slow = Handshake::new(&app, "").bearer(&key).receive_buffer(2048);
    let mut slow = slow.opens().await;
    let sent = app.sends_more_than_a_socket_buffers(&mut quick).await;
    app.call_automation_posts(&Call::new().recording("inactive", chrono::Utc::now())).await;
    assert_eq!(counting.await.unwrap(), sent);
    let (received, code) = slow.receives_until_close().await;
    assert_eq!(received.last().unwrap().kind, "gap");
    assert_eq!(code, 4408);
    assert!(received.len() < sent, "{} of {sent}", received.len());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_sends_bye_to_every_websocket_and_closes_it_as_going_away() {
    let app = TestApp::open().await;
    let token = app.token(ALICE).await;
    let mut socket = Socket::open(&app, &token, "").await;
    let mut mute = Socket::open(&app, &token, "").await;
    let (stopped, (received, code)) =
        tokio::join!(app.stop_within(), socket.receives_until_close());
    assert_eq!(received.last().unwrap().kind, "bye");
    assert_eq!(code, 1001);
    // A silent socket does not delay the stop.
    assert!(stopped.as_secs() < 8, "{stopped:?}");
    assert_eq!(mute.receives_until_close().await.1, 1001);
}
