//! The path of an event: durable before the answer, appended once, with clients in milliseconds.

use serde_json::json;
use uuid::Uuid;

use crate::support::app::TestApp;
use crate::support::azure::{ALICE, BOB, Call, report};

/// Every order of three steps.
pub const ORDERS: [[usize; 3]; 6] =
    [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[tokio::test(flavor = "multi_thread")]
async fn an_event_and_a_report_are_appended_once_and_a_client_receives_recording_on() {
    let mut app = TestApp::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    let mut stream = app.subscribes(&token, &format!("attachment={attachment}")).await;
    assert_eq!(stream.receives("snapshot").await.recording(), "unknown");

    let started = call.started();
    app.event_grid_posts(&started).await;
    app.event_grid_posts(&started).await;
    let on = report(
        &attachment,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    let (status, answer) = app.reports(&token, &on).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["indication"]["recording"]["state"], "on");
    // The platform names nobody, so the client is told no id that it did not bring.
    assert!(answer["call"].as_str().is_some_and(|id| id.starts_with("s-")), "{answer}");

    let received = stream.receives_recording("on").await;
    assert_eq!(received.kind, "notice");
    assert_eq!(received.body["variant"], "recording_on");

    let seen = app
        .sees(&format!("/v1/calls/{}", call.correlation), |call| {
            call["indication"]["recording"]["state"] == "on"
        })
        .await;
    assert_eq!(seen["call"], call.correlation);
    assert_eq!(seen["participants"][0]["raw_id"], ALICE);
    let timeline = app
        .sees(&format!("/v1/calls/{}/timeline", call.correlation), |it| {
            it["events"].as_array().is_some_and(|all| all.len() == 3)
        })
        .await;
    let types: Vec<&str> = timeline["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    assert_eq!(types, ["call.started", "report", "notice.dispatched"]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn provider_recording_events_reach_the_client_and_the_end_of_the_call_turns_everything_off() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    let token = app.token(ALICE).await;
    let mut stream = app
        .subscribes(&token, &format!("server_call_id={}", urlencoded(&call.server_call_id)))
        .await;
    app.event_grid_posts(&call.started()).await;
    app.call_automation_posts(&call.callback("CallConnected", chrono::Utc::now(), &json!({})))
        .await;
    app.call_automation_posts(&call.recording("active", chrono::Utc::now())).await;
    let on = stream.receives_recording("on").await;
    assert_eq!(on.body["indication"]["recording"]["kinds"], json!(["teams"]));
    app.call_automation_posts(&call.recording("inactive", chrono::Utc::now())).await;
    let off = stream.receives_recording("off").await;
    assert_eq!(
        (off.kind.as_str(), off.body["variant"].as_str()),
        ("notice", Some("recording_off"))
    );
    let second = Uuid::new_v4();
    let on = report(
        &second,
        1,
        &json!({ "server_call_id": call.server_call_id, "transcription": "on" }),
    );
    assert_eq!(app.reports(&token, &on).await.0, 200);
    assert_eq!(stream.next().await.unwrap().body["variant"], "transcription_on");
    app.event_grid_posts(&call.ended()).await;
    let end = stream.next().await.unwrap();
    assert_eq!(end.body["indication"]["transcription"]["state"], "off");
    let seen = app
        .sees(&format!("/v1/calls/{}", call.correlation), |call| call["ended_at"].is_string())
        .await;
    assert_eq!(seen["indication"]["transcription"]["state"], "off");
    assert_eq!(seen["captures"].as_array().unwrap().len(), 2);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_joiner_receives_recording_on() {
    let app = TestApp::open().await;
    let (call, first, second) = (Call::new(), Uuid::new_v4(), Uuid::new_v4());
    let (alice, bob) = (app.token(ALICE).await, app.token(BOB).await);
    let on =
        report(&first, 1, &json!({ "server_call_id": call.server_call_id, "recording": "on" }));
    app.reports(&alice, &on).await;
    let join = report(&second, 1, &json!({ "server_call_id": call.server_call_id }));
    let (_, answer) = app.reports(&bob, &join).await;
    assert_eq!(answer["indication"]["recording"]["state"], "on");
    let snapshot =
        app.subscribes(&bob, &format!("attachment={second}")).await.receives("snapshot").await;
    assert_eq!(snapshot.body["variant"], "recording_on");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_s_report_of_off_is_delayed_before_it_is_announced() {
    let app = TestApp::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    let mut stream = app.subscribes(&token, &format!("attachment={attachment}")).await;
    let report_of = |sequence, state: &str| {
        report(
            &attachment,
            sequence,
            &json!({ "server_call_id": call.server_call_id, "recording": state }),
        )
    };
    app.reports(&token, &report_of(1, "on")).await;
    stream.receives_recording("on").await;
    let (_, answer) = app.reports(&token, &report_of(2, "off")).await;
    assert_eq!(
        answer["indication"]["recording"]["state"], "on",
        "a client that flaps must not be believed at once"
    );
    let off = stream.receives_recording("off").await;
    assert_eq!(off.body["variant"], "recording_off");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn participant_roster_and_attachment_of_one_person_are_one_session_in_every_order_of_arrival()
{
    let mut app = TestApp::open().await;
    let token = app.token(ALICE).await;
    for order in ORDERS {
        let (call, attachment, join) = (Call::new(), Uuid::new_v4(), Uuid::new_v4().to_string());
        for step in order {
            match step {
                0 => app.event_grid_posts(&call.joined(ALICE, &join)).await,
                1 => app.call_automation_posts(&call.roster(1, &[ALICE, BOB])).await,
                _ => {
                    let report = report(
                        &attachment,
                        1,
                        &json!({ "server_call_id": call.server_call_id, "recording": "off" }),
                    );
                    assert_eq!(app.reports(&token, &report).await.0, 200);
                }
            }
        }
        let one_each = |seen: &serde_json::Value| {
            let sessions = seen["participants"].as_array().cloned().unwrap_or_default();
            let of = |raw_id: &str| {
                sessions.iter().filter(|session| session["raw_id"] == raw_id).count()
            };
            let whole = sessions.iter().any(|session| {
                session["participant_id"] == join.as_str()
                    && session["attachments"][0]["attachment"] == attachment.to_string()
            });
            sessions.len() == 2 && of(ALICE) == 1 && of(BOB) == 1 && whole
        };
        app.sees(&format!("/v1/calls/{}", call.correlation), one_each).await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_of_one_person_are_two_sessions() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    let joins = [Uuid::new_v4().to_string(), Uuid::new_v4().to_string()];
    for join in &joins {
        app.event_grid_posts(&call.joined(ALICE, join)).await;
    }
    app.sees(&format!("/v1/calls/{}", call.correlation), |call| {
        call["participants"].as_array().is_some_and(|sessions| sessions.len() == 2)
    })
    .await;
    app.stop().await;
}

/// Posts that a call is recorded, by one of its ids or by both.
pub async fn post_recording_with_id(
    step: usize,
    app: &TestApp,
    token: &str,
    call: &Call,
    attachment: &Uuid,
) {
    match step {
        // With its serverCallId only.
        0 => {
            let on = report(
                attachment,
                1,
                &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
            );
            assert_eq!(app.reports(token, &on).await.0, 200);
        }
        // With its correlationId only.
        1 => {
            let started =
                call.event("CallStarted", chrono::Utc::now(), &json!({ "serverCallId": null }));
            app.event_grid_posts(&started).await;
        }
        // With both. It names the reporter, who would be an outsider otherwise.
        _ => {
            let joined = call.joined(ALICE, &Uuid::new_v4().to_string());
            app.event_grid_posts(&joined).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_known_by_two_ids_is_one_call_in_every_order_of_arrival() {
    let mut app = TestApp::open().await;
    let token = app.token(ALICE).await;
    for order in ORDERS {
        let (call, attachment) = (Call::new(), Uuid::new_v4());
        let mut stream = app.subscribes(&token, &format!("attachment={attachment}")).await;
        for step in order {
            post_recording_with_id(step, &app, &token, &call, &attachment).await;
        }
        stream.receives_recording("on").await;
        for name in [&call.correlation, &attachment.to_string(), &urlencoded(&call.server_call_id)]
        {
            let seen = app
                .sees(&format!("/v1/calls/{name}"), |seen| {
                    seen["call"] == call.correlation.as_str() && seen["recorded"] == true
                })
                .await;
            assert_eq!(seen["indication"]["recording"]["state"], "on", "{order:?}");
        }
        app.event_grid_posts(&call.ended()).await;
        stream.receives_recording("off").await;
        app.sees(&format!("/v1/calls/{}", call.correlation), |seen| {
            seen["indication"]["recording"]["state"] == "off"
        })
        .await;
    }
    let calls = app.reads("/v1/calls").await;
    assert_eq!(calls["calls"].as_array().unwrap().len(), 6, "one call each: {calls:#}");
    app.stop().await;
}

pub fn urlencoded(text: &str) -> String {
    text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}
