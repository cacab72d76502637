//! WebSockets: the same words as server-sent events, receipts, another token, the end.

use onrecord::store::Role;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::azure::{ALICE, BOB, Call, report};
use crate::client::{Heard, http};
use crate::corridor::urlencoded;
use crate::house::{Ground, TestHouse, until};
use crate::socket::{Handshake, Socket};

fn of(call: &Call) -> String {
    format!("server_call_id={}", urlencoded(&call.server_call_id))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_hears_what_server_sent_events_say_with_the_same_cursors() {
    let house = TestHouse::open().await;
    let call = Call::new();
    let token = house.token(ALICE).await;
    let mut events = house.listens(&token, &of(&call)).await;
    let mut socket = Socket::open(&house, &token, &of(&call)).await;
    assert_eq!(socket.protocol.as_deref(), Some("onrecord.v1"));
    assert_eq!(socket.hears("snapshot").await.recording(), "unknown");
    events.hears("snapshot").await;
    for state in ["active", "inactive"] {
        house
            .call_automation_posts(&call.recording(state, chrono::Utc::now()))
            .await;
        let (event, frame) = (events.hears("notice").await, socket.hears("notice").await);
        assert_eq!((&event.id, &event.body), (&frame.id, &frame.body));
        assert_eq!(event.body["cursor"], event.id.as_str());
    }

    // The cursor of either goes on with the other.
    drop((events, socket));
    let cursor = house
        .listens(&token, &of(&call))
        .await
        .hears("snapshot")
        .await
        .id;
    let query = format!("{}&last_event_id={cursor}", of(&call));
    let mut socket = Socket::open(&house, &token, &query).await;
    let heard = until_snapshot(&mut socket).await;
    assert!(!heard.iter().any(|it| it.kind == "gap"), "{heard:?}");
    assert!(heard.iter().any(|it| it.recording() == "off"), "{heard:?}");
    let cursor = &heard[0].id;
    let mut events = house.listens_from(&token, &of(&call), Some(cursor)).await;
    assert_ne!(events.next().await.unwrap().kind, "gap");
    house.stop().await;
}

async fn until_snapshot(socket: &mut Socket) -> Vec<Heard> {
    let mut all = Vec::new();
    loop {
        let heard = socket.hears_next().await;
        let is_snapshot = heard.kind == "snapshot";
        all.push(heard);
        if is_snapshot {
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_a_websocket_by_subprotocol_query_or_header_and_an_api_key_by_header_only() {
    let house = TestHouse::open().await;
    let token = house.token(ALICE).await;
    let key = house.api_key("contoso", Role::App).await;
    let query = format!("attachment={}", Uuid::new_v4());
    let ask = || Handshake::new(&house, &query);
    let in_query = |token: &str| Handshake::new(&house, &format!("{query}&token={token}"));
    let as_protocol = format!("onrecord.token.{token}");
    for (handshake, chosen) in [
        (
            ask().protocols(&["onrecord.v1", &as_protocol]),
            Some("onrecord.v1"),
        ),
        (
            ask().protocols(&[&as_protocol, "onrecord.v1"]),
            Some("onrecord.v1"),
        ),
        // A browser insists that one of those that it offered is chosen.
        (ask().protocols(&[&as_protocol]), Some(as_protocol.as_str())),
        (in_query(&token), None),
        (
            in_query(&token).protocols(&["onrecord.v1"]),
            Some("onrecord.v1"),
        ),
        (ask().bearer(&token), None),
        (ask().bearer(&key), None),
        (ask().header("x-onrecord-key", &key), None),
    ] {
        let mut socket = handshake.opens().await;
        assert_eq!(socket.protocol.as_deref(), chosen);
        assert_eq!(socket.hears_next().await.kind, "snapshot");
    }

    let forged = format!("{token}x");
    for refused in [
        ask(),
        ask().bearer(&forged),
        in_query(&forged),
        ask().protocols(&["onrecord.v1", &format!("onrecord.token.{forged}")]),
        in_query(&key),
        ask().protocols(&["onrecord.v1", &format!("onrecord.token.{key}")]),
        // What a header says counts.
        in_query(&token).bearer(&forged),
    ] {
        let (status, _) = refused.shake().await.err().unwrap();
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    let misspelt = Handshake::new(&house, "atachment=x").bearer(&key);
    assert_eq!(misspelt.shake().await.err().unwrap().0, 400);
    let plain = http()
        .get(house.url("/v1/notices/ws"))
        .bearer_auth(&key)
        .send()
        .await
        .unwrap();
    assert_eq!(plain.status(), StatusCode::BAD_REQUEST);
    assert_eq!(plain.headers()["content-type"], "application/problem+json");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_are_taken_and_what_is_none_is_answered_and_nothing_ends_by_it() {
    let house = TestHouse::open().await;
    let call = Call::new();
    let token = house.token(ALICE).await;
    let mut socket = Socket::open(&house, &token, &of(&call)).await;
    let mut other = Socket::open(&house, &token, "").await;
    let snapshot = socket.hears("snapshot").await;
    socket
        .says(json!({ "type": "ack", "cursor": snapshot.id }))
        .await;
    for (frame, status, member) in [
        (
            json!({ "type": "ack", "cursor": "1.AAAA" }),
            400,
            json!("/cursor"),
        ),
        (json!({ "type": "ack" }), 400, json!("")),
        (json!({ "type": "hello" }), 400, json!("/type")),
        (json!("hello"), 400, json!("")),
        (
            json!({ "type": "token", "token": "a.b.c" }),
            401,
            Value::Null,
        ),
    ] {
        socket.says(frame.clone()).await;
        // The receipt that was none of these was not answered.
        let error = socket.hears_next().await;
        assert_eq!(error.kind, "error", "{frame}");
        let problem = &error.body["problem"];
        assert_eq!(problem["status"], status, "{frame}: {problem}");
        assert!(problem["detail"].is_string(), "{frame}: {problem}");
        if member != json!("/type") {
            assert_eq!(problem["member"], member, "{frame}: {problem}");
        }
    }
    for frame in [
        Message::text("no json"),
        Message::binary(b"{}".to_vec()),
        Message::text(""),
    ] {
        socket.sends(frame).await;
        assert_eq!(socket.hears_next().await.body["problem"]["status"], 400);
    }
    house
        .call_automation_posts(&call.recording("active", chrono::Utc::now()))
        .await;
    let on = socket.hears_recording("on").await;
    // A receipt of one stream is none of another.
    other.says(json!({ "type": "ack", "cursor": on.id })).await;
    assert_eq!(
        other.hears("error").await.body["problem"]["member"],
        "/cursor"
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_too_much_is_cut_off_with_a_code_that_says_why() {
    let house = TestHouse::open().await;
    let token = house.token(ALICE).await;
    let mut wordy = Socket::open(&house, &token, "").await;
    wordy.sends(Message::text("x".repeat(9 * 1024))).await;
    assert_eq!(wordy.hears_the_end().await.1, 1009);
    let mut busy = Socket::open(&house, &token, "").await;
    for _ in 0..100 {
        busy.sends(Message::text("{}")).await;
    }
    let (errors, code) = busy.hears_the_end().await;
    assert_eq!(code, 1008);
    assert!(errors.len() >= 60, "{}", errors.len());
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_of_the_same_person_keeps_a_websocket_beyond_the_life_of_the_first() {
    let house = TestHouse::open().await;
    let call = Call::new();
    let short = house.token_for(ALICE, 10).await;
    let long = house.token(ALICE).await;
    let mut renewed = Socket::open(&house, &short, &of(&call)).await;
    let mut left = Socket::open(&house, &short, &of(&call)).await;
    let bobs = house.token(BOB).await;
    for socket in [&mut renewed, &mut left] {
        socket.hears("snapshot").await;
        socket.says(json!({ "type": "token", "token": bobs })).await;
        let refused = socket.hears_next().await;
        assert_eq!(refused.kind, "error");
        assert_eq!(refused.body["problem"]["status"], 403);
    }
    renewed
        .says(json!({ "type": "token", "token": long }))
        .await;
    let (last, code) = left.hears_the_end().await;
    assert_eq!(last.last().unwrap().kind, "bye");
    assert_eq!(code, 4401);
    house
        .call_automation_posts(&call.recording("active", chrono::Utc::now()))
        .await;
    assert_eq!(renewed.hears_next().await.recording(), "on");

    // What was opened with an API key needs no token.
    let key = house.api_key("contoso", Role::App).await;
    let mut by_key = Handshake::new(&house, "").bearer(&key).opens().await;
    by_key.says(json!({ "type": "token", "token": long })).await;
    let refused = by_key.hears("error").await;
    assert_eq!(refused.body["problem"]["status"], 403);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_with_an_expired_token_hears_bye_and_everybody_else_is_answered_401() {
    let house = TestHouse::open().await;
    let token = house.token_for(ALICE, 1).await;
    let stream = |query: String| http().get(house.url(&format!("/v1/notices/stream?{query}")));
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
    // What a cursor cannot be does not come back.
    let odd = format!("token={token}&last_event_id=a%0Aevent%3A%20notice");
    let text = stream(odd).send().await.unwrap().text().await.unwrap();
    assert!(!text.contains("notice"), "{text}");
    let forged = stream(format!("token={token}x")).send().await.unwrap();
    assert_eq!(forged.status(), StatusCode::UNAUTHORIZED);

    let as_protocol = format!("onrecord.token.{token}");
    for handshake in [
        Handshake::new(&house, &query),
        Handshake::new(&house, "last_event_id=18c0000000.AAAA")
            .protocols(&["onrecord.v1", &as_protocol]),
    ] {
        let (heard, code) = handshake.opens().await.hears_the_end().await;
        assert_eq!((heard.len(), code), (1, 4401));
        assert_eq!(heard[0].kind, "bye");
        assert_eq!(heard[0].id, "18c0000000.AAAA");
    }
    let by_header = Handshake::new(&house, "").bearer(&token).shake().await;
    assert_eq!(by_header.err().unwrap().0, StatusCode::UNAUTHORIZED);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_place_says_bye_to_browsers_and_503_to_everybody_else() {
    let ground = Ground::shared().await;
    let house = TestHouse::with(ground, "[notices]\nstreams = 1").await;
    house.is_ready().await;
    let token = house.token(ALICE).await;
    let mut first = Socket::open(&house, &token, "").await;
    let (heard, code) = Socket::open(&house, &token, "").await.hears_the_end().await;
    assert_eq!((heard.len(), code), (1, 1013));
    assert_eq!(heard[0].kind, "bye");
    let url = house.url("/v1/notices/stream");
    let by_query = http().get(format!("{url}?token={token}"));
    let text = by_query.send().await.unwrap().text().await.unwrap();
    assert!(text.starts_with("event: bye"), "{text}");
    let by_header = http().get(url).bearer_auth(&token).send().await.unwrap();
    assert_eq!(by_header.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(by_header.headers().contains_key("retry-after"));
    let by_header = Handshake::new(&house, "").bearer(&token).shake().await;
    assert_eq!(by_header.err().unwrap().0, StatusCode::SERVICE_UNAVAILABLE);
    // A place that is left is free.
    first.says(json!("?")).await;
    first.hears("error").await;
    drop(first);
    until("a place is free", || async {
        let open = Handshake::new(&house, "").bearer(&token).shake().await;
        open.ok().map(drop)
    })
    .await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_somebody_or_something_else_brings_gap_and_the_own_level_and_nothing_more() {
    let house = TestHouse::open().await;
    let (call, other) = (Call::new(), Call::new());
    let (alice, bob) = (house.token(ALICE).await, house.token(BOB).await);
    let key = house.api_key("contoso", Role::App).await;
    let mut events = house.listens(&alice, &of(&call)).await;
    house
        .call_automation_posts(&call.recording("active", chrono::Utc::now()))
        .await;
    let cursor = events.hears("notice").await.id;
    house
        .call_automation_posts(&call.recording("inactive", chrono::Utc::now()))
        .await;
    events.hears("notice").await;
    let (at, signature) = cursor.split_once('.').unwrap();
    let widened = format!("{:x}.{signature}", i64::from_str_radix(at, 16).unwrap() / 2);
    // Her own brings what she missed.
    let mut own = house.listens_from(&alice, &of(&call), Some(&cursor)).await;
    assert_eq!(own.next().await.unwrap().kind, "notice");

    let everything = String::new();
    for (what, token, query, cursor, level) in [
        ("another person", &bob, of(&call), &cursor, "off"),
        ("another call", &alice, of(&other), &cursor, "unknown"),
        ("an API key", &key, of(&call), &cursor, "off"),
        ("a wider reach", &key, everything, &cursor, "off"),
        ("an earlier instant", &alice, of(&call), &widened, "off"),
    ] {
        let mut events = house.listens_from(token, &query, Some(cursor)).await;
        let mut socket = Handshake::new(&house, &format!("{query}&last_event_id={cursor}"))
            .bearer(token)
            .opens()
            .await;
        let (one, two) = (events.next().await.unwrap(), events.next().await.unwrap());
        let heard = [
            one,
            two,
            socket.hears_next().await,
            socket.hears_next().await,
        ];
        let said: Vec<(&str, &str)> = heard
            .iter()
            .map(|it| (it.kind.as_str(), it.recording()))
            .collect();
        let expected = [("gap", ""), ("snapshot", level)];
        assert_eq!(said, [expected, expected].concat(), "{what}");
    }
    // All calls of a person who is in none.
    let mut socket = Handshake::new(&house, &format!("last_event_id={cursor}"))
        .bearer(&bob)
        .opens()
        .await;
    assert_eq!(socket.hears_next().await.kind, "gap");
    socket
        .says(json!({ "type": "ack", "cursor": cursor }))
        .await;
    assert_eq!(
        socket.hears_next().await.kind,
        "error",
        "there was nothing between"
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_opens_before_its_call_is_known_and_binds_with_the_attachment() {
    let mut house = TestHouse::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let (alice, bob) = (house.token(ALICE).await, house.token(BOB).await);
    let query = format!("attachment={attachment}");
    let mut own = Socket::open(&house, &alice, &query).await;
    let mut foreign = Socket::open(&house, &bob, &query).await;
    for socket in [&mut own, &mut foreign] {
        assert_eq!(socket.hears_next().await.body["call"], Value::Null);
    }
    house
        .call_automation_posts(&call.recording("active", chrono::Utc::now()))
        .await;
    // On another partition than the report, it may be read after it.
    let level = format!(
        "/v1/indications?server_call_id={}",
        urlencoded(&call.server_call_id)
    );
    house
        .sees(&level, |it| it["indication"]["recording"]["state"] == "on")
        .await;
    let connected = json!({ "server_call_id": call.server_call_id });
    let (status, answer) = house
        .reports(&alice, &report(&attachment, 1, &connected))
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let bound = own.hears_next().await;
    assert_eq!((bound.kind.as_str(), bound.recording()), ("snapshot", "on"));
    house
        .call_automation_posts(&call.recording("inactive", chrono::Utc::now()))
        .await;
    assert_eq!(own.hears("notice").await.recording(), "off");
    // Nothing came to the other one: the first thing that it hears is the answer to a wrong frame.
    foreign.says(json!({})).await;
    assert_eq!(foreign.hears_next().await.kind, "error");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_is_read_too_slowly_is_closed_after_gap_and_another_hears_everything() {
    let ground = Ground::shared().await;
    let house = TestHouse::with(ground, "[notices]\nqueue = 4").await;
    house.is_ready().await;
    let key = house.api_key("contoso", Role::App).await;
    let mut quick = house.listens(&key, "").await;
    let mut quick_socket = Handshake::new(&house, "").bearer(&key).opens().await;
    let counting = tokio::spawn(async move {
        let mut heard = 0;
        loop {
            match quick_socket.hears_next().await.recording() {
                "on" => heard += 1,
                "off" => return heard,
                _ => {}
            }
        }
    });
    let slow = Handshake::new(&house, "").bearer(&key).receive_buffer(2048);
    let mut slow = slow.opens().await;
    let told = house.tells_more_than_a_socket_holds(&mut quick).await;
    house
        .call_automation_posts(&Call::new().recording("inactive", chrono::Utc::now()))
        .await;
    assert_eq!(counting.await.unwrap(), told);
    let (heard, code) = slow.hears_the_end().await;
    assert_eq!(heard.last().unwrap().kind, "gap");
    assert_eq!(code, 4408);
    assert!(heard.len() < told, "{} of {told}", heard.len());
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_says_bye_to_every_websocket_and_closes_it_as_going_away() {
    let house = TestHouse::open().await;
    let token = house.token(ALICE).await;
    let mut socket = Socket::open(&house, &token, "").await;
    let mut mute = Socket::open(&house, &token, "").await;
    let (stopped, (heard, code)) = tokio::join!(house.stop_within(), socket.hears_the_end());
    assert_eq!(heard.last().unwrap().kind, "bye");
    assert_eq!(code, 1001);
    // One that says nothing does not hold it up.
    assert!(stopped.as_secs() < 8, "{stopped:?}");
    assert_eq!(mute.hears_the_end().await.1, 1001);
}
