//! The account of whole calls, end to end: who was told, at which millisecond, by what proof.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::acknowledgements::{are_accepted, displayed, says};
use crate::azure::{ALICE, Call};
use crate::house::TestHouse;

const CAROL: &str = "8:acs:11111111-1111-4111-8111-111111111111_0000000c-carol";

fn evidence_of(call: &Call) -> String {
    format!("/v1/calls/{}/evidence", call.correlation)
}

/// The obligation of the session that this person's client is in.
fn obligation<'v>(evidence: &'v Value, attachment: &Uuid) -> &'v Value {
    let obligations = evidence["report"]["obligations"].as_array().unwrap();
    obligations
        .iter()
        .find(|it| {
            it["session"]
                .as_str()
                .unwrap()
                .contains(&attachment.to_string())
        })
        .unwrap_or_else(|| panic!("no obligation of {attachment} in {evidence:#}"))
}

fn has_status(evidence: &Value, attachment: &Uuid, status: &str) -> bool {
    let obligations = evidence["report"]["obligations"].as_array();
    obligations.into_iter().flatten().any(|it| {
        it["status"] == status
            && it["session"]
                .as_str()
                .is_some_and(|session| session.contains(&attachment.to_string()))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_clients_the_one_that_acknowledges_was_told_and_the_other_was_not_surely() {
    let mut house = TestHouse::open().await;
    let call = Call::new();
    let (a, c) = (Uuid::new_v4(), Uuid::new_v4());
    let (alice, carol) = (house.token(ALICE).await, house.token(CAROL).await);
    house.event_grid_posts(&call.started()).await;
    let mut to_alice = house.listens(&alice, &format!("attachment={a}")).await;
    let mut to_carol = house.listens(&carol, &format!("attachment={c}")).await;
    let names = json!({ "server_call_id": call.server_call_id, "recording": "off" });
    says(&house, &alice, &a, 1, &names).await;
    says(&house, &carol, &c, 1, &names).await;
    // The answers of a leg, so that the call is observed whoever falls silent.
    house
        .call_automation_posts(&call.callback("CallConnected", Utc::now(), &json!({})))
        .await;

    let start = Utc::now();
    house
        .call_automation_posts(&call.recording("active", start))
        .await;
    let notice = to_alice.hears_recording("on").await;
    to_carol.hears_recording("on").await;
    let shown = displayed(&a, &json!({ "notice": notice.body["id"] }));
    are_accepted(&house, &alice, &[shown]).await;
    let acknowledged = Utc::now();
    // The wire is cut before anything came back.
    drop(to_carol);
    let path = evidence_of(&call);
    let met = house.sees(&path, |it| has_status(it, &a, "MET")).await;
    let told = obligation(&met, &a);
    let (told_at, due) = (
        told["told"].as_i64().unwrap(),
        told["due"].as_i64().unwrap(),
    );
    assert_eq!(due, start.timestamp_millis());
    assert!(told_at >= due && told_at <= acknowledged.timestamp_millis());
    assert_eq!(told["exposure"].as_i64(), Some(told_at - due));

    // It must go on for longer than anybody may be told in time.
    let long_enough = start + TimeDelta::milliseconds(2_100) - Utc::now();
    tokio::time::sleep(long_enough.to_std().unwrap_or(Duration::ZERO)).await;
    house
        .call_automation_posts(&call.recording("inactive", Utc::now()))
        .await;
    house.event_grid_posts(&call.ended()).await;
    let ended = house
        .sees(&path, |it| {
            !it["report"]["call"]["end"].is_null() && has_status(it, &c, "UNDELIVERED")
        })
        .await;
    assert_eq!(ended["verdict"], "EXCEPTIONS");
    assert!(has_status(&ended, &a, "MET"), "{ended:#}");
    let untold = obligation(&ended, &c);
    assert!(untold["dispatched"].as_i64().unwrap() >= due);
    assert!(untold["told"].is_null() && untold["delivered"].is_null());
    let why = ended["why"].as_array().unwrap();
    let of_carol = why
        .iter()
        .find(|it| it["session"] == untold["session"])
        .unwrap();
    assert!(!of_carol["facts"].as_array().unwrap().is_empty());

    // The file tells that it began 10 s before anybody could see it: told late, both of them.
    let earlier = start - TimeDelta::seconds(10);
    house
        .event_grid_posts(&call.event("CallStarted", start - TimeDelta::seconds(20), &json!({})))
        .await;
    for (raw_id, attachment, token) in [(ALICE, &a, &alice), (CAROL, &c, &carol)] {
        let participant = Uuid::new_v4().to_string();
        let mut joined = call.joined(raw_id, &participant);
        joined[0]["eventTime"] = json!((start - TimeDelta::seconds(15)).to_rfc3339());
        house.event_grid_posts(&joined).await;
        let leaves = json!({ "participant_id": participant, "leaving": true });
        says(&house, token, attachment, 2, &leaves).await;
    }
    house
        .event_grid_posts(&call.file(earlier, TimeDelta::seconds(12)))
        .await;
    let last = house
        .sees(&path, |it| {
            let obligations = it["report"]["obligations"].as_array().unwrap();
            obligations.len() == 2
                && obligations
                    .iter()
                    .all(|it| it["due"] == json!(earlier.timestamp_millis()))
        })
        .await;
    let statuses: Vec<&str> = last["report"]["obligations"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|it| it["status"].as_str())
        .collect();
    assert!(statuses.contains(&"LATE"), "{last:#}");
    assert!(last["version"].as_i64() > ended["version"].as_i64());
    let old = house
        .reads(&format!("{path}?version={}", ended["version"]))
        .await;
    assert_eq!(old["recomputed"], "equal", "{old:#}");
    assert_eq!(last["recomputed"], "equal", "{last:#}");
    assert_eq!(obligation(&old, &a)["status"], "MET");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_teams_meeting_without_any_participant_event_is_accounted_for_by_its_clients() {
    let mut house = TestHouse::open().await;
    let call = Call::new();
    let (a, c) = (Uuid::new_v4(), Uuid::new_v4());
    let (alice, carol) = (house.token(ALICE).await, house.token(CAROL).await);
    let on = |more: Value| {
        let mut on = json!({ "server_call_id": call.server_call_id, "recording": "on", "transcription": "off" });
        for (name, value) in more.as_object().into_iter().flatten() {
            on[name] = value.clone();
        }
        on
    };
    let shown = json!([{ "type": "recording", "state": "on", "elapsed_ms": 0 }]);
    says(&house, &alice, &a, 1, &on(json!({ "shown": shown }))).await;
    says(&house, &carol, &c, 1, &on(json!({}))).await;
    let path = format!(
        "/v1/calls/{}/evidence",
        crate::corridor::urlencoded(&call.server_call_id)
    );
    let seen = house
        .sees(&path, |it| {
            has_status(it, &a, "MET") && has_status(it, &c, "PENDING")
        })
        .await;
    assert_eq!(seen["verdict"], "PENDING");
    // Nobody but the clients tells when it began.
    assert_eq!(seen["report"]["flags"], json!(["START_INFERRED"]));
    assert_eq!(obligation(&seen, &a)["exposure"], 0);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_could_observe_is_unobserved() {
    let mut house = TestHouse::open().await;
    let call = Call::new();
    let ago = |seconds| Utc::now() - TimeDelta::seconds(seconds);
    house
        .event_grid_posts(&call.event("CallStarted", ago(120), &json!({})))
        .await;
    let mut joined = call.joined(ALICE, &Uuid::new_v4().to_string());
    joined[0]["eventTime"] = json!(ago(119).to_rfc3339());
    house.event_grid_posts(&joined).await;
    house.event_grid_posts(&call.ended()).await;
    let seen = house
        .sees(&evidence_of(&call), |it| it["verdict"] == "UNOBSERVED")
        .await;
    assert_eq!(seen["report"]["obligations"], json!([]));
    assert_eq!(seen["report"]["observation"]["recording"]["observed_ms"], 0);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_only_its_file_tells_of_is_unnoticed_within_two_seconds() {
    let mut house = TestHouse::open().await;
    let call = Call::new();
    let ago = |seconds| Utc::now() - TimeDelta::seconds(seconds);
    house
        .event_grid_posts(&call.event("CallStarted", ago(60), &json!({})))
        .await;
    let mut joined = call.joined(ALICE, &Uuid::new_v4().to_string());
    joined[0]["eventTime"] = json!(ago(60).to_rfc3339());
    house.event_grid_posts(&joined).await;
    house
        .event_grid_posts(&call.event("CallEnded", ago(1), &json!({})))
        .await;
    let path = evidence_of(&call);
    house
        .sees(&path, |it| !it["report"]["call"]["end"].is_null())
        .await;
    let posted = tokio::time::Instant::now();
    house
        .event_grid_posts(&call.file(ago(50), TimeDelta::seconds(40)))
        .await;
    let seen = house.sees(&path, |it| it["verdict"] == "EXCEPTIONS").await;
    assert!(
        posted.elapsed() < Duration::from_secs(2),
        "{:?}",
        posted.elapsed()
    );
    let flags = seen["report"]["flags"].as_array().unwrap();
    assert!(
        flags.iter().any(|flag| flag
            .as_str()
            .unwrap()
            .starts_with("UNNOTICED_CAPTURE:recording@")),
        "{flags:?}"
    );
    house.stop().await;
}
