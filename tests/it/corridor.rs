//! The main job: durable before it is answered, entered once, heard within milliseconds.

use serde_json::json;
use uuid::Uuid;

use crate::azure::{ALICE, BOB, Call, report};
use crate::house::TestHouse;

/// Every order of three steps.
pub const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

#[tokio::test(flavor = "multi_thread")]
async fn an_event_and_a_report_are_entered_once_and_a_client_hears_that_recording_is_on() {
    let mut house = TestHouse::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = house.token(ALICE).await;
    let mut stream = house
        .listens(&token, &format!("attachment={attachment}"))
        .await;
    assert_eq!(stream.hears("snapshot").await.recording(), "unknown");

    let started = call.started();
    house.event_grid_posts(&started).await;
    house.event_grid_posts(&started).await;
    let on = report(
        &attachment,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    let (status, answer) = house.reports(&token, &on).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["indication"]["recording"]["state"], "on");
    assert_eq!(answer["call"], call.correlation);

    let heard = stream.hears_recording("on").await;
    assert_eq!(heard.kind, "notice");
    assert_eq!(heard.body["variant"], "recording_on");

    let seen = house
        .sees(&format!("/v1/calls/{}", call.correlation), |call| {
            call["indication"]["recording"]["state"] == "on"
        })
        .await;
    assert_eq!(seen["call"], call.correlation);
    assert_eq!(seen["participants"][0]["raw_id"], ALICE);
    let timeline = house
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
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_s_start_and_stop_are_heard_and_the_call_s_end_turns_everything_off() {
    let mut house = TestHouse::open().await;
    let call = Call::new();
    let token = house.token(ALICE).await;
    let mut stream = house
        .listens(
            &token,
            &format!("server_call_id={}", urlencoded(&call.server_call_id)),
        )
        .await;
    house.event_grid_posts(&call.started()).await;
    house
        .call_automation_posts(&call.callback("CallConnected", chrono::Utc::now(), &json!({})))
        .await;
    house
        .call_automation_posts(&call.recording("active", chrono::Utc::now()))
        .await;
    let on = stream.hears_recording("on").await;
    assert_eq!(
        on.body["indication"]["recording"]["kinds"],
        json!(["teams"])
    );
    house
        .call_automation_posts(&call.recording("inactive", chrono::Utc::now()))
        .await;
    let off = stream.hears_recording("off").await;
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
    assert_eq!(house.reports(&token, &on).await.0, 200);
    assert_eq!(
        stream.next().await.unwrap().body["variant"],
        "transcription_on"
    );
    house.event_grid_posts(&call.ended()).await;
    let end = stream.next().await.unwrap();
    assert_eq!(end.body["indication"]["transcription"]["state"], "off");
    let seen = house
        .sees(&format!("/v1/calls/{}", call.correlation), |call| {
            call["ended"].is_string()
        })
        .await;
    assert_eq!(seen["indication"]["transcription"]["state"], "off");
    assert_eq!(seen["stretches"].as_array().unwrap().len(), 2);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_joiner_is_told_that_recording_is_on() {
    let house = TestHouse::open().await;
    let (call, first, second) = (Call::new(), Uuid::new_v4(), Uuid::new_v4());
    let (alice, bob) = (house.token(ALICE).await, house.token(BOB).await);
    let on = report(
        &first,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    house.reports(&alice, &on).await;
    let join = report(
        &second,
        1,
        &json!({ "server_call_id": call.server_call_id }),
    );
    let (_, answer) = house.reports(&bob, &join).await;
    assert_eq!(answer["indication"]["recording"]["state"], "on");
    let snapshot = house
        .listens(&bob, &format!("attachment={second}"))
        .await
        .hears("snapshot")
        .await;
    assert_eq!(snapshot.body["variant"], "recording_on");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_s_off_settles_before_it_is_announced() {
    let house = TestHouse::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = house.token(ALICE).await;
    let mut stream = house
        .listens(&token, &format!("attachment={attachment}"))
        .await;
    let says = |sequence, state: &str| {
        report(
            &attachment,
            sequence,
            &json!({ "server_call_id": call.server_call_id, "recording": state }),
        )
    };
    house.reports(&token, &says(1, "on")).await;
    stream.hears_recording("on").await;
    let (_, answer) = house.reports(&token, &says(2, "off")).await;
    assert_eq!(
        answer["indication"]["recording"]["state"], "on",
        "a client that flaps must not be believed at once"
    );
    let off = stream.hears_recording("off").await;
    assert_eq!(off.body["variant"], "recording_off");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn participant_roster_and_attachment_of_one_person_are_one_session_in_every_order_of_arrival()
{
    let mut house = TestHouse::open().await;
    let token = house.token(ALICE).await;
    for order in ORDERS {
        let (call, attachment, join) = (Call::new(), Uuid::new_v4(), Uuid::new_v4().to_string());
        for step in order {
            match step {
                0 => house.event_grid_posts(&call.joined(ALICE, &join)).await,
                1 => {
                    house
                        .call_automation_posts(&call.roster(1, &[ALICE, BOB]))
                        .await
                }
                _ => {
                    let report = report(
                        &attachment,
                        1,
                        &json!({ "server_call_id": call.server_call_id, "recording": "off" }),
                    );
                    assert_eq!(house.reports(&token, &report).await.0, 200);
                }
            }
        }
        let one_each = |seen: &serde_json::Value| {
            let sessions = seen["participants"].as_array().cloned().unwrap_or_default();
            let of = |raw_id: &str| {
                sessions
                    .iter()
                    .filter(|session| session["raw_id"] == raw_id)
                    .count()
            };
            let whole = sessions.iter().any(|session| {
                session["participant_id"] == join.as_str()
                    && session["attachments"][0]["attachment"] == attachment.to_string()
            });
            sessions.len() == 2 && of(ALICE) == 1 && of(BOB) == 1 && whole
        };
        house
            .sees(&format!("/v1/calls/{}", call.correlation), one_each)
            .await;
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_of_one_person_are_two_sessions() {
    let mut house = TestHouse::open().await;
    let call = Call::new();
    let joins = [Uuid::new_v4().to_string(), Uuid::new_v4().to_string()];
    for join in &joins {
        house.event_grid_posts(&call.joined(ALICE, join)).await;
    }
    house
        .sees(&format!("/v1/calls/{}", call.correlation), |call| {
            call["participants"]
                .as_array()
                .is_some_and(|sessions| sessions.len() == 2)
        })
        .await;
    house.stop().await;
}

/// Tells of a recorded call by one of its names, or by both.
pub async fn tells_by(step: usize, house: &TestHouse, token: &str, call: &Call, attachment: &Uuid) {
    match step {
        // By its serverCallId only.
        0 => {
            let on = report(
                attachment,
                1,
                &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
            );
            assert_eq!(house.reports(token, &on).await.0, 200);
        }
        // By its correlationId only.
        1 => {
            let started = call.event(
                "CallStarted",
                chrono::Utc::now(),
                &json!({ "serverCallId": null }),
            );
            house.event_grid_posts(&started).await;
        }
        // By both.
        _ => {
            let joined = call.joined(BOB, &Uuid::new_v4().to_string());
            house.event_grid_posts(&joined).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_known_by_two_names_is_one_call_in_every_order_of_arrival() {
    let mut house = TestHouse::open().await;
    let token = house.token(ALICE).await;
    for order in ORDERS {
        let (call, attachment) = (Call::new(), Uuid::new_v4());
        let mut stream = house
            .listens(&token, &format!("attachment={attachment}"))
            .await;
        for step in order {
            tells_by(step, &house, &token, &call, &attachment).await;
        }
        stream.hears_recording("on").await;
        for name in [
            &call.correlation,
            &attachment.to_string(),
            &urlencoded(&call.server_call_id),
        ] {
            let seen = house
                .sees(&format!("/v1/calls/{name}"), |seen| {
                    seen["call"] == call.correlation.as_str() && seen["recorded"] == true
                })
                .await;
            assert_eq!(seen["indication"]["recording"]["state"], "on", "{order:?}");
        }
        house.event_grid_posts(&call.ended()).await;
        stream.hears_recording("off").await;
        house
            .sees(&format!("/v1/calls/{}", call.correlation), |seen| {
                seen["indication"]["recording"]["state"] == "off"
            })
            .await;
    }
    let calls = house.reads("/v1/calls").await;
    assert_eq!(
        calls["calls"].as_array().unwrap().len(),
        6,
        "one call each: {calls:#}"
    );
    house.stop().await;
}

pub fn urlencoded(text: &str) -> String {
    text.replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D")
}
