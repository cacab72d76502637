//! What a subscriber token carries, and what a tenant with `clients = "granted"` requires of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use onrecord::http::api_role::ApiRole;
use onrecord_evidence::identity::grant::call_reference;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::end_to_end::urlencoded;
use crate::live::acknowledgements::{acknowledges, displayed};
use crate::support::app::{TestApp, TestStores, until};
use crate::support::azure::{ALICE, BOB, Call, report};
use crate::support::client::http;
use crate::support::socket::{Handshake, Socket, SocketMessage};

const GRANTED: &str = "tenants = { contoso = { clients = \"granted\" } }";
const NOT_GRANTED: &str = "urn:onrecord:problem:not-granted";
const ROOM: &str = "99445276259151407";

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

fn of(call: &Call) -> String {
    format!("server_call_id={}", urlencoded(&call.server_call_id))
}

fn started_in_room(call: &Call, room: &str) -> Value {
    let room = json!({ "isRoomsCall": true, "room": { "id": room } });
    call.event("CallStarted", Utc::now(), &room)
}

async fn granted_app() -> TestApp {
    let app = TestApp::with(TestStores::shared().await, GRANTED).await;
    app.is_ready().await;
    app
}

async fn asks(app: &TestApp, path: &str, token: &str) -> (StatusCode, Value) {
    let response = http().get(app.url(path)).bearer_auth(token).send().await.unwrap();
    let status = response.status();
    if status == StatusCode::OK {
        // A stream has no end.
        return (status, Value::Null);
    }
    (status, response.json().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_claims_what_its_backend_states_and_each_report_carries_it() {
    let mut app = TestApp::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let key = app.api_key("contoso", ApiRole::App).await;
    let body = json!({
        "participant": { "raw_id": ALICE, "other_raw_ids": [BOB, ALICE] },
        "grant": { "calls": [call.server_call_id, call.correlation.to_uppercase(), ROOM], "participant_ids": ["P1"] },
        "app": "shop 4.2",
    });
    let before = Utc::now().timestamp_millis() as f64 / 1000.0;
    let (status, minted) = app.mints(&key, &body).await;
    assert_eq!(status, StatusCode::CREATED, "{minted}");
    let token = minted["token"].as_str().unwrap();
    let claims = claims(token);
    let mut calls =
        [call.correlation.clone(), call_reference(&call.server_call_id), ROOM.to_owned()];
    calls.sort();
    let grant = json!({ "calls": calls, "participant_ids": ["P1"] });
    assert_eq!(claims["sub"], ALICE);
    assert_eq!(claims["other_raw_ids"], json!([BOB]));
    assert_eq!(claims["grant"], grant);
    let issued_at = claims["iat"].as_f64().unwrap();
    assert!(issued_at >= before - 1.0 && issued_at <= claims["exp"].as_f64().unwrap());
    let database = app.stores.database().await;
    let ids: Vec<Uuid> =
        sqlx::query_scalar("select id from api_key").fetch_all(&database).await.unwrap();
    assert_eq!(claims["key"], ids[0].to_string());

    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    let (status, answer) = app.reports(token, &report(&attachment, 1, &on)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let path = "/v1/events?type=report";
    let seen = app.sees(path, |seen| seen["events"] != json!([])).await;
    let event = &seen["events"][0]["event"];
    assert_eq!(event["grant"], grant, "{seen:#}");
    assert_eq!(event["other_raw_ids"], json!([BOB]));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_of_random_attachments_are_limited_by_the_calls_of_the_grant() {
    let mut app = granted_app().await;
    let call = Call::new();
    app.event_grid_posts(&call.started()).await;
    let key = app.api_key("contoso", ApiRole::App).await;
    let body = json!({
        "participant": { "raw_id": ALICE }, "grant": { "calls": [call.server_call_id] },
    });
    let (_, minted) = app.mints(&key, &body).await;
    let token = minted["token"].as_str().unwrap();
    // The acknowledgement reaches the service before the report does.
    let early = Uuid::new_v4();
    let item = displayed(&early, &json!({}));
    let (_, answers) = acknowledges(&app, token, std::slice::from_ref(&item)).await;
    assert_eq!(answers[0]["status"], "accepted", "{answers}");

    let random = |count: usize| -> Vec<Value> {
        (0..count).map(|_| displayed(&Uuid::new_v4(), &json!({}))).collect()
    };
    let (_, answers) = acknowledges(&app, token, &random(31)).await;
    assert!(answers.as_array().unwrap().iter().all(|it| it["status"] == "accepted"), "{answers}");
    let (status, answers) = acknowledges(&app, token, &random(2)).await;
    assert_eq!(status, StatusCode::OK);
    for answer in answers.as_array().unwrap() {
        assert_eq!(answer["status"], "rejected");
        assert_eq!(answer["problem"]["type"], "urn:onrecord:problem:too-many-requests");
        assert!(answer["problem"]["member"].as_str().unwrap().ends_with("/attachment"));
    }
    // The report of an attachment that acknowledged is admitted, and another attachment may then.
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    let (status, answer) = app.reports(token, &report(&early, 1, &on)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let (_, answers) = acknowledges(&app, token, &random(1)).await;
    assert_eq!(answers[0]["status"], "accepted", "{answers}");
    // Nothing of the early acknowledgement is lost.
    let path = format!("/v1/calls/{}/timeline?limit=1000", call.correlation);
    let has_item = |seen: &Value| {
        let events = seen["events"].as_array();
        events.into_iter().flatten().any(|event| event["fact"]["client_id"] == item["id"])
    };
    app.sees(&path, has_item).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_token_with_a_wrong_text_is_rejected_with_the_pointer_of_its_member() {
    let app = TestApp::open().await;
    let key = app.api_key("contoso", ApiRole::App).await;
    let long: Vec<String> =
        (0..16).map(|number| format!("room:{number}{}", "x".repeat(200))).collect();
    let persons: Vec<String> = (0..8).map(|it| format!("8:acs:{it}_{}", "x".repeat(239))).collect();
    let many = vec!["8:acs:r_u"; 17];
    for (body, member) in [
        (json!({ "participant": { "raw_id": "" } }), "/participant/raw_id"),
        (json!({ "participant": { "raw_id": "REDACTED" } }), "/participant/raw_id"),
        (json!({ "participant": { "raw_id": "8:acs:a\u{0}" } }), "/participant/raw_id"),
        (
            json!({ "participant": { "raw_id": ALICE, "other_raw_ids": many } }),
            "/participant/other_raw_ids",
        ),
        (
            json!({ "participant": { "raw_id": ALICE, "other_raw_ids": ["x"] } }),
            "/participant/other_raw_ids/0",
        ),
        (json!({ "participant": { "raw_id": ALICE }, "grant": { "calls": many } }), "/grant/calls"),
        (
            json!({ "participant": { "raw_id": ALICE }, "grant": { "calls": [ROOM, "a\u{0}b"] } }),
            "/grant/calls/1",
        ),
        (
            json!({ "participant": { "raw_id": ALICE }, "grant": { "calls": ["19:meeting_x@thread.v2"] } }),
            "/grant/calls/0",
        ),
        (
            json!({ "participant": { "raw_id": ALICE }, "grant": { "participant_ids": ["\u{7}"] } }),
            "/grant/participant_ids/0",
        ),
        (json!({ "participant": { "raw_id": ALICE }, "app": "a\u{0}" }), "/app"),
        (
            json!({ "participant": { "raw_id": ALICE, "other_raw_ids": persons }, "grant": { "calls": long } }),
            "/grant",
        ),
    ] {
        let (status, problem) = app.mints(&key, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{member}: {problem}");
        assert_eq!(problem["member"], member, "{problem}");
    }
    app.stop().await;
}

/// What a token for `call` may not do: the statuses and types of all routes.
async fn is_refused_everywhere(app: &TestApp, token: &str, call: &Call) {
    let attachment = Uuid::new_v4();
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    let (status, problem) = app.reports(token, &report(&attachment, 1, &on)).await;
    assert_eq!((status, &problem["type"]), (StatusCode::FORBIDDEN, &json!(NOT_GRANTED)));
    assert!(problem["detail"].as_str().unwrap().contains("grant.calls"), "{problem}");
    for path in ["/v1/indications", "/v1/notices/stream"] {
        let (status, problem) = asks(app, &format!("{path}?{}", of(call)), token).await;
        assert_eq!(
            (status, &problem["type"]),
            (StatusCode::FORBIDDEN, &json!(NOT_GRANTED)),
            "{path}"
        );
    }
    let handshake = Handshake::new(app, &of(call)).bearer(token);
    let (status, problem) = handshake.connect().await.err().expect("the handshake is refused");
    assert_eq!((status, &problem["type"]), (StatusCode::FORBIDDEN, &json!(NOT_GRANTED)));
    // A browser shows no status, so it receives the reason as a message.
    let mut socket = Socket::open(app, token, &of(call)).await;
    let (received, code) = socket.receives_until_close().await;
    assert_eq!((received[0].body["code"].as_str(), code), (Some("not_granted"), 4403));
    let query = format!("/v1/notices/stream?{}&token={token}", of(call));
    let events = http().get(app.url(&query)).send().await.unwrap().text().await.unwrap();
    assert!(events.contains("event: bye") && events.contains("not_granted"), "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_granted_clients_a_token_reaches_the_calls_that_it_grants_and_no_others() {
    let app = granted_app().await;
    let (call, other, attachment) = (Call::new(), Call::new(), Uuid::new_v4());
    let bare = app.token(ALICE).await;
    is_refused_everywhere(&app, &bare, &call).await;
    let (status, problem) = acknowledges(&app, &bare, &[displayed(&attachment, &json!({}))]).await;
    assert_eq!((status, &problem["type"]), (StatusCode::FORBIDDEN, &json!(NOT_GRANTED)));
    let (status, _) = asks(&app, "/v1/notices/stream", &bare).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = app.reports(&bare, &report(&attachment, 1, &json!({}))).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "before the call is known too");

    let token = app.token_granting(ALICE, &[&call.server_call_id]).await;
    is_refused_everywhere(&app, &token, &other).await;
    // Before the call is known, any grant is admitted.
    let (status, answer) = app.reports(&token, &report(&attachment, 1, &json!({}))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    let (status, answer) = app.reports(&token, &report(&attachment, 2, &on)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let (status, answers) = acknowledges(&app, &token, &[displayed(&attachment, &json!({}))]).await;
    assert_eq!((status, &answers[0]["status"]), (StatusCode::OK, &json!("accepted")));
    let mut stream = app.subscribes(&token, &of(&call)).await;
    assert_eq!(stream.receives("snapshot").await.recording(), "on");
    let (status, _) = asks(&app, &format!("/v1/indications?attachment={attachment}"), &token).await;
    assert_eq!(status, StatusCode::OK);

    // A token for another call does not prolong the stream of this one.
    let mut socket = Socket::open(&app, &token, &of(&call)).await;
    let elsewhere = app.token_granting(ALICE, &[&other.server_call_id]).await;
    socket.sends_json(json!({ "type": "token", "token": elsewhere })).await;
    let refused = socket.receives("error").await.body;
    assert_eq!(refused["problem"]["type"], NOT_GRANTED, "{refused}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_by_a_room_counts_until_the_platform_states_another_room_and_a_named_person_is_admitted()
 {
    let app = granted_app().await;
    let (here, elsewhere) = (Call::new(), Call::new());
    let token = app.token_granting(ALICE, &[ROOM]).await;
    let attachment = Uuid::new_v4();
    let on = |call: &Call| json!({ "server_call_id": call.server_call_id, "recording": "on" });
    let (status, answer) = app.reports(&token, &report(&attachment, 1, &on(&here))).await;
    assert_eq!(status, StatusCode::OK, "the platform has stated nothing yet: {answer}");
    let mut socket = Socket::open(&app, &token, &of(&elsewhere)).await;
    socket.receives("snapshot").await;

    app.event_grid_posts(&started_in_room(&here, ROOM)).await;
    app.event_grid_posts(&started_in_room(&elsewhere, "11111111111111111")).await;
    app.call_automation_posts(&elsewhere.recording("active", Utc::now())).await;
    // The stream of the other call ends instead of stating its level.
    loop {
        match socket.next().await.expect("the stream ends with a reason") {
            SocketMessage::Frame(received) => assert_ne!(received.recording(), "on"),
            SocketMessage::Closed(code) => {
                assert_eq!(code, 4403);
                break;
            }
        }
    }
    is_refused_everywhere(&app, &token, &elsewhere).await;
    let (status, answer) = app.reports(&token, &report(&attachment, 2, &on(&here))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");

    app.event_grid_posts(&elsewhere.joined(ALICE, &Uuid::new_v4().to_string())).await;
    let path = format!("/v1/indications?{}", of(&elsewhere));
    until("the platform names Alice", || async {
        (asks(&app, &path, &token).await.0 == StatusCode::OK).then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_for_a_call_that_the_token_does_not_grant_is_rejected_alone() {
    let app = granted_app().await;
    let (call, other) = (Call::new(), Call::new());
    let (here, there) = (Uuid::new_v4(), Uuid::new_v4());
    for (call, attachment) in [(&call, here), (&other, there)] {
        let token = app.token_granting(ALICE, &[&call.server_call_id]).await;
        let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
        let (status, answer) = app.reports(&token, &report(&attachment, 1, &on)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    let token = app.token_granting(ALICE, &[&call.server_call_id]).await;
    let items = [displayed(&here, &json!({})), displayed(&there, &json!({}))];
    let (status, answers) = acknowledges(&app, &token, &items).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answers[0]["status"], "accepted", "{answers}");
    assert_eq!(answers[1]["status"], "rejected", "{answers}");
    assert_eq!(answers[1]["problem"]["type"], NOT_GRANTED);
    assert_eq!(answers[1]["problem"]["member"], "/1/attachment");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_parameters_states_the_calls_that_its_token_grants_and_no_others() {
    let app = granted_app().await;
    let (elsewhere, first, second) = (Call::new(), Call::new(), Call::new());
    let by_room = app.token_granting(ALICE, &[ROOM]).await;
    let mut stream = app.subscribes(&by_room, "").await;
    let on = |call: &Call| json!({ "server_call_id": call.server_call_id, "recording": "on" });
    let attachment = Uuid::new_v4();
    let (status, answer) = app.reports(&by_room, &report(&attachment, 1, &on(&elsewhere))).await;
    assert_eq!(status, StatusCode::OK, "the platform has stated nothing yet: {answer}");
    stream.receives_recording("on").await;
    app.event_grid_posts(&started_in_room(&elsewhere, "11111111111111111")).await;
    stream.receives_recording("unknown").await;
    let key = app.api_key("contoso", ApiRole::Analyst).await;
    let mut by_key = app.subscribes(&key, &of(&elsewhere)).await;
    let named = app.token_granting(ALICE, &[&elsewhere.server_call_id]).await;
    let paused = json!({ "server_call_id": elsewhere.server_call_id, "recording": "paused" });
    let (status, answer) = app.reports(&named, &report(&attachment, 2, &paused)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    by_key.receives_recording("paused").await;
    assert!(stream.is_silent_for(Duration::from_millis(300)).await);

    // A token for another call does not state what an earlier token of the same person reported.
    for call in [&first, &second] {
        let token = app.token_granting(ALICE, &[&call.server_call_id]).await;
        let (status, answer) = app.reports(&token, &report(&Uuid::new_v4(), 1, &on(call))).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    let token = app.token_granting(ALICE, &[&second.server_call_id]).await;
    let mut of_second = Socket::open(&app, &token, "").await;
    let named = call_reference(&second.server_call_id);
    assert_eq!(of_second.receives("snapshot").await.body["call"], named);
    let token = app.token_granting(ALICE, &[&first.server_call_id, &second.server_call_id]).await;
    of_second.sends_json(json!({ "type": "token", "token": token })).await;
    // Another token counts at once, although it does not live longer.
    let also = of_second.receives("snapshot").await.body;
    assert_eq!(also["call"], call_reference(&first.server_call_id), "{also}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_stream_has_what_a_token_grants_until_that_token_expires() {
    let app = granted_app().await;
    let (first, second, room) = (Call::new(), Call::new(), Call::new());
    let on = |call: &Call| json!({ "server_call_id": call.server_call_id, "recording": "on" });
    for call in [&first, &second] {
        let token = app.token_granting(ALICE, &[&call.server_call_id]).await;
        let (status, answer) = app.reports(&token, &report(&Uuid::new_v4(), 1, &on(call))).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    let short = |call: &Call| {
        let grant = json!({ "calls": [call.server_call_id] });
        json!({ "participant": { "raw_id": ALICE }, "grant": grant, "ttl_s": 3 })
    };
    let key = app.api_key("contoso", ApiRole::App).await;
    let minted =
        async |body: Value| app.mints(&key, &body).await.1["token"].as_str().unwrap().to_owned();

    // A stream of all calls of a person goes on with those of the token that lives longer.
    let long = app.token_granting(ALICE, &[&second.server_call_id]).await;
    let mut all = Socket::open(&app, &long, "").await;
    let named = call_reference(&second.server_call_id);
    assert_eq!(all.receives_recording("on").await.body["call"], named);
    let token = minted(short(&first)).await;
    all.sends_json(json!({ "type": "token", "token": token })).await;
    let also = all.receives_recording("on").await.body;
    assert_eq!(also["call"], call_reference(&first.server_call_id), "{also}");
    let again = all.receives_recording("on").await.body;
    assert_eq!(again["call"], named, "the short token has expired: {again}");

    // A stream of a call that the token that lives longer does not grant ends.
    let long = app.token_granting(ALICE, &[ROOM]).await;
    let mut of_room = Socket::open(&app, &long, &of(&room)).await;
    of_room.receives("snapshot").await;
    let token = minted(short(&room)).await;
    of_room.sends_json(json!({ "type": "token", "token": token })).await;
    app.event_grid_posts(&started_in_room(&room, "11111111111111111")).await;
    app.call_automation_posts(&room.recording("active", Utc::now())).await;
    of_room.receives_recording("on").await;
    let (received, code) = of_room.receives_until_close().await;
    let bye = received.last().unwrap();
    assert_eq!((bye.body["code"].as_str(), code), (Some("not_granted"), 4403), "{bye:?}");
    app.stop().await;
}
