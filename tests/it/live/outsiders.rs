//! What an outsider hears and is told, and that it changes nothing for others; participants whom the
//! platform names late, by a roster only, by another raw id, or not at all.

use onrecord::http::api_role::ApiRole;
use onrecord_evidence::identity::grant::call_reference;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::end_to_end::urlencoded;
use crate::support::app::{TestApp, until};
use crate::support::azure::{ALICE, BOB, Call, report};
use crate::support::client::http;

const MALLORY: &str = "8:acs:11111111-1111-4111-8111-111111111111_0000000m-mallory";

/// A report of a client that states this level of the recording.
fn states(call: &Call, attachment: &Uuid, sequence: i64, level: &str) -> Value {
    let stated = json!({ "server_call_id": call.server_call_id, "recording": level });
    report(attachment, sequence, &stated)
}

/// Sends a report, and returns the answer.
async fn reported(app: &TestApp, token: &str, body: &Value) -> Value {
    let (status, answer) = app.reports(token, body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

/// The indication of the call that a client names by its serverCallId.
async fn indication(app: &TestApp, token: &str, call: &Call) -> Value {
    let query = format!("server_call_id={}", urlencoded(&call.server_call_id));
    let asked = http().get(app.url(&format!("/v1/indications?{query}"))).bearer_auth(token);
    asked.send().await.unwrap().json().await.unwrap()
}

/// Waits until the platform's event is known: an API key sees the call by its correlationId.
async fn is_known(app: &TestApp, key: &str, call: &Call) {
    until("the call is known", || async {
        let query = format!("call={}", call.correlation);
        let asked = http().get(app.url(&format!("/v1/indications?{query}"))).bearer_auth(key);
        let found: Value = asked.send().await.unwrap().json().await.unwrap();
        (found["call"] == call.correlation.as_str()).then_some(())
    })
    .await;
}

fn recording(answer: &Value) -> (&str, Option<bool>) {
    let recording = &answer["indication"]["recording"];
    (recording["state"].as_str().unwrap_or_default(), recording["confirmed"].as_bool())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outsider_hears_the_call_alarms_no_participant_and_is_told_no_ids() {
    let app = TestApp::open().await;
    let key = app.api_key("contoso", ApiRole::App).await;
    let (call, own, foreign) = (Call::new(), Uuid::new_v4(), Uuid::new_v4());
    let (alice, mallory) = (app.token(ALICE).await, app.token(MALLORY).await);
    app.event_grid_posts(&call.joined(ALICE, "p1")).await;
    is_known(&app, &key, &call).await;
    let query = format!("server_call_id={}", urlencoded(&call.server_call_id));
    let mut by_alice = app.subscribes(&alice, &query).await;
    let mut by_key = app.subscribes(&key, &format!("call={}", call.correlation)).await;
    let mut by_mallory = app.subscribes(&mallory, &query).await;
    for stream in [&mut by_alice, &mut by_key, &mut by_mallory] {
        assert_eq!(stream.next().await.unwrap().kind, "snapshot");
    }

    // Its own client observes a recording: it hears of it alone.
    let named = call_reference(&call.server_call_id);
    let answer = reported(&app, &mallory, &states(&call, &foreign, 1, "on")).await;
    assert_eq!(recording(&answer), ("on", Some(false)));
    assert_eq!(answer["call"], named.as_str());
    let heard = by_mallory.receives_recording("on").await;
    assert_eq!(heard.body["call"], named.as_str());
    assert_eq!(recording(&indication(&app, &alice, &call).await).0, "unknown");

    // The next message of the others is of what a participant states.
    let answer = reported(&app, &alice, &states(&call, &own, 1, "off")).await;
    assert_eq!(answer["call"], call.correlation.as_str());
    for stream in [&mut by_alice, &mut by_key] {
        let next = stream.next().await.unwrap();
        assert_eq!((next.recording(), &next.body["call"]), ("off", &json!(call.correlation)));
    }

    // It hears the level of the call, in words that contain no id that it did not bring.
    app.call_automation_posts(&call.recording("active", chrono::Utc::now())).await;
    by_alice.receives_recording("on").await;
    let off = reported(&app, &mallory, &states(&call, &foreign, 2, "off")).await;
    assert_eq!(recording(&off), ("on", Some(true)));
    let mut told = vec![answer_text(&off), answer_text(&indication(&app, &mallory, &call).await)];
    told.push(format!("{} {}", heard.id, heard.body));
    let mut resumed = app.subscribes_from(&mallory, "", Some(&heard.id)).await;
    for _ in 0..2 {
        let message = resumed.next().await.unwrap();
        told.push(format!("{} {}", message.id, message.body));
    }
    let attachment = onrecord_evidence::identity::alias_graph::Anchor::attachment(&own.to_string());
    for text in told {
        assert!(!text.contains(&call.correlation), "{text}");
        assert!(!text.contains(attachment.as_str()), "{text}");
    }
    app.stop().await;
}

fn answer_text(answer: &Value) -> String {
    answer.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_participants_attachment_gives_an_outsider_nothing() {
    let app = TestApp::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let (alice, mallory) = (app.token(ALICE).await, app.token(MALLORY).await);
    app.event_grid_posts(&call.joined(ALICE, "p1")).await;
    reported(&app, &alice, &states(&call, &attachment, 5, "on")).await;
    let lower = states(&call, &attachment, 1, "off");
    assert_eq!(app.reports(&mallory, &lower).await.0, StatusCode::CONFLICT);
    let mut stream = app.subscribes(&mallory, &format!("attachment={attachment}")).await;
    let first = stream.next().await.unwrap();
    assert_eq!((first.recording(), &first.body["call"]), ("unknown", &Value::Null));
    assert_eq!(recording(&indication(&app, &alice, &call).await).0, "on");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_banner_is_right_from_the_first_moment_although_the_platform_is_late() {
    let app = TestApp::open().await;
    let key = app.api_key("contoso", ApiRole::App).await;
    let (call, one, two) = (Call::new(), Uuid::new_v4(), Uuid::new_v4());
    let (alice, bob) = (app.token(ALICE).await, app.token(BOB).await);
    app.event_grid_posts(&call.joined(BOB, "p2")).await;
    is_known(&app, &key, &call).await;
    let mut by_bob =
        app.subscribes(&bob, &format!("server_call_id={}", urlencoded(&call.server_call_id))).await;
    assert_eq!(by_bob.next().await.unwrap().recording(), "unknown");
    // Two devices of a participant that the platform has not named yet.
    let mut banner = app.subscribes(&alice, &format!("attachment={one}")).await;
    let answer = reported(&app, &alice, &states(&call, &one, 1, "on")).await;
    assert_eq!(recording(&answer), ("on", Some(false)));
    banner.receives_recording("on").await;
    let answer = reported(&app, &alice, &states(&call, &two, 1, "on")).await;
    assert_eq!(recording(&answer).0, "on");

    app.event_grid_posts(&call.joined(ALICE, "p1")).await;
    by_bob.receives_recording("on").await;
    let now = indication(&app, &alice, &call).await;
    assert_eq!((recording(&now), &now["call"]), (("on", Some(true)), &json!(call.correlation)));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_is_known_by_a_roster_and_by_another_of_its_raw_ids() {
    let app = TestApp::open().await;
    let key = app.api_key("contoso", ApiRole::App).await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let body = json!({ "participant": { "raw_id": ALICE, "other_raw_ids": [BOB] } });
    let minted = http().post(app.url("/v1/subscriber-tokens")).bearer_auth(&key).json(&body);
    let minted: Value = minted.send().await.unwrap().json().await.unwrap();
    let alice = minted["token"].as_str().unwrap();
    app.call_automation_posts(&call.roster(1, &[BOB])).await;
    is_known(&app, &key, &call).await;
    let answer = reported(&app, alice, &states(&call, &attachment, 1, "on")).await;
    assert_eq!(recording(&answer), ("on", Some(true)));
    assert_eq!(answer["call"], call.correlation.as_str());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_platform_the_word_of_a_client_counts_and_is_unconfirmed() {
    let app = TestApp::open().await;
    let (call, attachment, other) = (Call::new(), Uuid::new_v4(), Uuid::new_v4());
    let (alice, bob) = (app.token(ALICE).await, app.token(BOB).await);
    reported(&app, &bob, &states(&call, &other, 1, "off")).await;
    let answer = reported(&app, &alice, &states(&call, &attachment, 1, "on")).await;
    assert_eq!(recording(&answer), ("on", Some(false)));
    assert_eq!(answer["call"], call_reference(&call.server_call_id).as_str());
    assert_eq!(recording(&indication(&app, &bob, &call).await), ("on", Some(false)));
    // A token that grants the call confirms it.
    let granted = app.token_granting(ALICE, &[&call.server_call_id]).await;
    let answer = reported(&app, &granted, &states(&call, &Uuid::new_v4(), 1, "on")).await;
    assert_eq!(recording(&answer), ("on", Some(true)));
    app.stop().await;
}
