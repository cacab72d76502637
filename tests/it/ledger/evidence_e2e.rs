//! The evidence of whole calls, end to end: which session was notified, when, and by which proof.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::live::acknowledgements::{are_accepted, displayed, reports_state};
use crate::support::app::TestApp;
use crate::support::azure::{ALICE, Call};

const CAROL: &str = "8:acs:11111111-1111-4111-8111-111111111111_0000000c-carol";

fn evidence_of(call: &Call) -> String {
    format!("/v1/calls/{}/evidence", call.correlation)
}

/// The obligation of the session that this person's client is in.
fn obligation<'v>(evidence: &'v Value, attachment: &Uuid) -> &'v Value {
    let obligations = evidence["report"]["obligations"].as_array().unwrap();
    obligations
        .iter()
        .find(|it| it["session"].as_str().unwrap().contains(&attachment.to_string()))
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
async fn of_two_clients_only_the_one_that_acknowledges_has_proof_of_notice() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    let (a, c) = (Uuid::new_v4(), Uuid::new_v4());
    let (alice, carol) = (app.token(ALICE).await, app.token(CAROL).await);
    app.event_grid_posts(&call.started()).await;
    let mut to_alice = app.subscribes(&alice, &format!("attachment={a}")).await;
    let mut to_carol = app.subscribes(&carol, &format!("attachment={c}")).await;
    let names = json!({ "server_call_id": call.server_call_id, "recording": "off" });
    reports_state(&app, &alice, &a, 1, &names).await;
    reports_state(&app, &carol, &c, 1, &names).await;
    // A leg answers, so that the call is observed although clients fall silent.
    app.call_automation_posts(&call.callback("CallConnected", Utc::now(), &json!({}))).await;

    let start = Utc::now();
    app.call_automation_posts(&call.recording("active", start)).await;
    let notice = to_alice.receives_recording("on").await;
    to_carol.receives_recording("on").await;
    let shown = displayed(&a, &json!({ "notice": notice.body["id"] }));
    are_accepted(&app, &alice, &[shown]).await;
    let acknowledged = Utc::now();
    // The connection is cut before any confirmation.
    drop(to_carol);
    let path = evidence_of(&call);
    let met = app.sees(&path, |it| has_status(it, &a, "MET")).await;
    let notified = obligation(&met, &a);
    let (told_at, due) =
        (notified["shown_at"].as_i64().unwrap(), notified["due_at"].as_i64().unwrap());
    assert_eq!(due, start.timestamp_millis());
    assert!(told_at >= due && told_at <= acknowledged.timestamp_millis());
    assert_eq!(notified["exposure_ms"].as_i64(), Some(told_at - due));

    // The recording must last longer than the time for a notice.
    let long_enough = start + TimeDelta::milliseconds(2_100) - Utc::now();
    tokio::time::sleep(long_enough.to_std().unwrap_or(Duration::ZERO)).await;
    app.call_automation_posts(&call.recording("inactive", Utc::now())).await;
    app.event_grid_posts(&call.ended()).await;
    let ended = app
        .sees(&path, |it| {
            !it["report"]["call"]["ended_at"].is_null() && has_status(it, &c, "UNDELIVERED")
        })
        .await;
    assert_eq!(ended["verdict"], "EXCEPTIONS");
    assert!(has_status(&ended, &a, "MET"), "{ended:#}");
    let unnotified = obligation(&ended, &c);
    assert!(unnotified["dispatched_at"].as_i64().unwrap() >= due);
    assert!(unnotified["shown_at"].is_null() && unnotified["delivered_at"].is_null());
    let why = ended["why"].as_array().unwrap();
    let of_carol = why.iter().find(|it| it["session"] == unnotified["session"]).unwrap();
    assert!(!of_carol["facts"].as_array().unwrap().is_empty());

    // The file shows a start 10 s before the first observation, so both notices were late.
    let earlier = start - TimeDelta::seconds(10);
    app.event_grid_posts(&call.event("CallStarted", start - TimeDelta::seconds(20), &json!({})))
        .await;
    for (raw_id, attachment, token) in [(ALICE, &a, &alice), (CAROL, &c, &carol)] {
        let participant = Uuid::new_v4().to_string();
        let mut joined = call.joined(raw_id, &participant);
        joined[0]["eventTime"] = json!((start - TimeDelta::seconds(15)).to_rfc3339());
        app.event_grid_posts(&joined).await;
        let leaves = json!({ "participant_id": participant, "leaving": true });
        reports_state(&app, token, attachment, 2, &leaves).await;
    }
    app.event_grid_posts(&call.file(earlier, TimeDelta::seconds(12))).await;
    let last = app
        .sees(&path, |it| {
            let obligations = it["report"]["obligations"].as_array().unwrap();
            obligations.len() == 2
                && obligations.iter().all(|it| it["due_at"] == json!(earlier.timestamp_millis()))
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
    let old = app.reads(&format!("{path}?version={}", ended["version"])).await;
    assert_eq!(old["recomputed"], "equal", "{old:#}");
    assert_eq!(last["recomputed"], "equal", "{last:#}");
    assert_eq!(obligation(&old, &a)["status"], "MET");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_teams_meeting_without_participant_events_is_reported_from_its_clients() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    let (a, c) = (Uuid::new_v4(), Uuid::new_v4());
    let (alice, carol) = (app.token(ALICE).await, app.token(CAROL).await);
    let on = |more: Value| {
        let mut on = json!({ "server_call_id": call.server_call_id, "recording": "on", "transcription": "off" });
        for (name, value) in more.as_object().into_iter().flatten() {
            on[name] = value.clone();
        }
        on
    };
    let shown = json!([{ "type": "recording", "state": "on", "elapsed_ms": 0 }]);
    reports_state(&app, &alice, &a, 1, &on(json!({ "shown": shown }))).await;
    reports_state(&app, &carol, &c, 1, &on(json!({}))).await;
    let path =
        format!("/v1/calls/{}/evidence", crate::end_to_end::urlencoded(&call.server_call_id));
    let seen =
        app.sees(&path, |it| has_status(it, &a, "MET") && has_status(it, &c, "PENDING")).await;
    assert_eq!(seen["verdict"], "PENDING");
    // Only the clients report when it began.
    assert_eq!(seen["report"]["flags"], json!(["START_INFERRED"]));
    assert_eq!(obligation(&seen, &a)["exposure_ms"], 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_any_observation_is_unobserved() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    let ago = |seconds| Utc::now() - TimeDelta::seconds(seconds);
    app.event_grid_posts(&call.event("CallStarted", ago(120), &json!({}))).await;
    let mut joined = call.joined(ALICE, &Uuid::new_v4().to_string());
    joined[0]["eventTime"] = json!(ago(119).to_rfc3339());
    app.event_grid_posts(&joined).await;
    app.event_grid_posts(&call.ended()).await;
    let seen = app.sees(&evidence_of(&call), |it| it["verdict"] == "UNOBSERVED").await;
    assert_eq!(seen["report"]["obligations"], json!([]));
    assert_eq!(seen["report"]["observation"]["recording"]["observed_ms"], 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_known_only_from_its_file_is_unnoticed_within_two_seconds() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    let ago = |seconds| Utc::now() - TimeDelta::seconds(seconds);
    app.event_grid_posts(&call.event("CallStarted", ago(60), &json!({}))).await;
    let mut joined = call.joined(ALICE, &Uuid::new_v4().to_string());
    joined[0]["eventTime"] = json!(ago(60).to_rfc3339());
    app.event_grid_posts(&joined).await;
    app.event_grid_posts(&call.event("CallEnded", ago(1), &json!({}))).await;
    let path = evidence_of(&call);
    app.sees(&path, |it| !it["report"]["call"]["ended_at"].is_null()).await;
    let posted = tokio::time::Instant::now();
    app.event_grid_posts(&call.file(ago(50), TimeDelta::seconds(40))).await;
    let seen = app.sees(&path, |it| it["verdict"] == "EXCEPTIONS").await;
    assert!(posted.elapsed() < Duration::from_secs(2), "{:?}", posted.elapsed());
    let flags = seen["report"]["flags"].as_array().unwrap();
    assert!(
        flags.iter().any(|flag| flag.as_str().unwrap().starts_with("UNNOTICED_CAPTURE:recording@")),
        "{flags:?}"
    );
    app.stop().await;
}
