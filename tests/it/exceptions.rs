//! What somebody must look at: opened by itself, cured by a late fact, closed by hand with a reason.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use onrecord::store::Role;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::azure::{ALICE, BOB, Call, report};
use crate::client::http;
use crate::house::TestHouse;

const REASON: &str = "told by phone; her app is updated now";

fn seconds_ago(seconds: i64) -> DateTime<Utc> {
    Utc::now() - TimeDelta::seconds(seconds)
}

/// An event of the past.
fn at(call: &Call, name: &str, time: DateTime<Utc>, more: &Value) -> Value {
    call.event(name, time, more)
}

fn participant(raw_id: &str, participant_id: &str) -> Value {
    let identifier = json!({ "rawId": raw_id, "communicationUser": { "id": raw_id } });
    json!({ "user": { "communicationIdentifier": identifier, "role": "Attendee" }, "participantId": participant_id })
}

/// A file of the call's recording exists.
fn file(call: &Call, index: i64, start: DateTime<Utc>, duration_ms: i64) -> Value {
    let more = json!({
        "recordingStorageInfo": { "recordingChunks": [{ "documentId": Uuid::new_v4(), "index": index, "endReason": "SessionEnded" }] },
        "recordingStartTime": start.to_rfc3339(), "recordingDurationMs": duration_ms, "sessionEndReason": "CallEnded",
    });
    let mut event = call.event("RecordingFileStatusUpdated", Utc::now(), &more);
    event[0]["subject"] = format!(
        "/recording/call/{}/recordingId/{}",
        call.correlation,
        call.recording_id()
    )
    .into();
    event
}

/// What the story of an exception tells.
fn turns(detail: &Value) -> Vec<&str> {
    let story = detail["story"].as_array().unwrap();
    assert!(
        story
            .iter()
            .enumerate()
            .all(|(at, line)| line["line"] == at + 1),
        "{detail:#}"
    );
    story
        .iter()
        .filter_map(|line| line["what"].as_str())
        .collect()
}

/// The one exception of a list.
fn the_one(list: &Value) -> &Value {
    let exceptions = list["exceptions"].as_array().unwrap();
    assert_eq!(exceptions.len(), 1, "{list:#}");
    &exceptions[0]
}

fn has_one(list: &Value) -> bool {
    list["exceptions"]
        .as_array()
        .is_some_and(|exceptions| exceptions.len() == 1)
}

async fn closes(house: &TestHouse, key: &str, id: &str, reason: &str) -> (StatusCode, Value) {
    let asked = http()
        .post(house.url(&format!("/v1/exceptions/{id}/close")))
        .bearer_auth(key)
        .json(&json!({ "reason": reason }));
    let response = asked.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_only_its_file_tells_of_is_an_exception_within_2_s_and_late_facts_go_on_with_its_story()
 {
    let mut house = TestHouse::open().await;
    let (call, alice) = (Call::new(), Uuid::new_v4().to_string());
    let alice = participant(ALICE, &alice);
    house
        .event_grid_posts(&at(&call, "CallStarted", seconds_ago(300), &json!({})))
        .await;
    let joined = at(&call, "CallParticipantAdded", seconds_ago(300), &alice);
    house.event_grid_posts(&joined).await;
    let ended = at(&call, "CallEnded", seconds_ago(20), &json!({}));
    house.event_grid_posts(&ended).await;
    let of_call = format!("/v1/exceptions?call={}", call.correlation);
    house
        .sees(&format!("{of_call}&kind=OBSERVATION_LAPSE"), has_one)
        .await;

    let unnoticed = format!("{of_call}&kind=UNNOTICED_CAPTURE&state=open");
    house.reads(&unnoticed).await;
    let began = Instant::now();
    house
        .event_grid_posts(&file(&call, 0, seconds_ago(120), 60_000))
        .await;
    let list = house.sees(&unnoticed, has_one).await;
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    let opened = the_one(&list);
    assert_eq!(opened["severity"], "critical");
    assert!(opened["remedy"].as_str().unwrap().len() > 20, "{opened:#}");
    assert!(list["complete_through"].is_string() || list["complete_through"].is_null());
    let not_sent = format!("{of_call}&kind=NOT_SENT");
    let list = house.sees(&format!("{not_sent}&state=open"), has_one).await;
    let one = format!("/v1/exceptions/{}", the_one(&list)["id"].as_str().unwrap());
    let due = the_one(&list)["at"].clone();

    // Another file tells that it began earlier.
    house
        .event_grid_posts(&file(&call, 1, seconds_ago(140), 18_000))
        .await;
    let changed = house
        .sees(&one, |detail| turns(detail) == ["opened", "changed"])
        .await;
    assert!(changed["at"].as_str() < due.as_str(), "{changed:#}");

    // She had left before.
    let left = at(&call, "CallParticipantRemoved", seconds_ago(200), &alice);
    house.event_grid_posts(&left).await;
    let closed = house.sees(&one, |detail| detail["state"] == "closed").await;
    assert_eq!(turns(&closed), ["opened", "changed", "closed"]);
    assert_eq!(closed["closed_by"], json!({ "name": "itself" }));
    let line = &closed["story"][2];
    assert!(line["version"].is_number(), "{closed:#}");
    let added = line["facts"]["changed_by"]["added"].as_array().unwrap();
    assert!(!added.is_empty(), "{closed:#}");
    house
        .sees(
            &format!("{of_call}&kind=UNNOTICED_CAPTURE&state=closed"),
            has_one,
        )
        .await;

    // And came back in time.
    let joined = at(&call, "CallParticipantAdded", seconds_ago(199), &alice);
    house.event_grid_posts(&joined).await;
    let again = house.sees(&one, |detail| detail["state"] == "open").await;
    assert_eq!(turns(&again), ["opened", "changed", "closed", "reopened"]);
    assert_eq!(again["closed_by"], Value::Null);
    the_one(&house.reads(&not_sent).await);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_is_closed_by_hand_with_a_reason_by_an_auditor_of_its_tenant_once() {
    let mut house = TestHouse::open().await;
    house.posts("/ingest/event-grid/eg", "{ no JSON").await;
    let open = "/v1/exceptions?kind=QUARANTINE&source=eg&state=open";
    let list = house.sees(open, has_one).await;
    let id = the_one(&list)["id"].as_str().unwrap().to_owned();
    let stranger = house.api_key("fabrikam", Role::Auditor).await;
    let analyst = house.api_key("contoso", Role::Analyst).await;
    let auditor = house.api_key("contoso", Role::Auditor).await;

    assert_eq!(closes(&house, &analyst, &id, REASON).await.0, 403);
    assert_eq!(closes(&house, &stranger, &id, REASON).await.0, 404);
    let asked = http()
        .get(house.url(&format!("/v1/exceptions/{id}")))
        .bearer_auth(&stranger);
    assert_eq!(asked.send().await.unwrap().status(), 404);
    let (status, problem) = closes(&house, &auditor, &id, "ok").await;
    assert_eq!(
        (status.as_u16(), &problem["member"]),
        (400, &json!("/reason"))
    );

    let (status, closed) = closes(&house, &auditor, &id, REASON).await;
    assert_eq!(status, 200, "{closed:#}");
    assert_eq!(turns(&closed), ["opened", "closed"]);
    let line = &closed["story"][1];
    assert_eq!(
        (&line["reason"], &line["actor"]["name"]),
        (&json!(REASON), &json!("test"))
    );
    assert!(line["actor"]["key"].is_string(), "{closed:#}");
    assert_eq!(closes(&house, &auditor, &id, REASON).await.0, 409);
    assert!(!has_one(&house.reads(open).await));

    // What comes after the review opens it again.
    house
        .posts("/ingest/event-grid/eg", "{ no JSON again")
        .await;
    house.sees(open, has_one).await;
    let again = house.reads(&format!("/v1/exceptions/{id}")).await;
    assert_eq!(turns(&again), ["opened", "closed", "reopened"]);
    assert_eq!(again["facts"]["count"], 2);
    for wrong in [
        "kind=NONE",
        "severity=9",
        "state=ajar",
        "from=yesterday",
        "cursor=x",
        "what=1",
    ] {
        let asked = http()
            .get(house.url(&format!("/v1/exceptions?{wrong}")))
            .bearer_auth(&auditor);
        assert_eq!(asked.send().await.unwrap().status(), 400, "{wrong}");
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_a_wrong_key_is_an_exception_of_the_source() {
    let mut house = TestHouse::open().await;
    for _ in 0..2 {
        let asked = http()
            .post(house.url("/ingest/event-grid/eg"))
            .header("x-onrecord-key", "a wrong one")
            .body("[]");
        assert_eq!(asked.send().await.unwrap().status(), 503);
    }
    let open = "/v1/exceptions?kind=REFUSED_CREDENTIALS&state=open";
    let list = house.sees(open, has_one).await;
    let one = the_one(&list);
    assert_eq!(
        (&one["source"], &one["facts"]["reason"]),
        (&json!("eg"), &json!("wrong_key"))
    );
    house
        .sees("/v1/outages", |seen| {
            let outages = seen["outages"].as_array();
            let refused = outages.into_iter().flatten();
            refused
                .filter(|one| one["kind"] == "refused")
                .any(|one| one["detail"].as_str().unwrap().starts_with("2 deliveries"))
        })
        .await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_source_is_an_exception_until_its_next_event() {
    let mut house = TestHouse::open().await;
    house.event_grid_posts(&Call::new().started()).await;
    let database = house.ground.database().await;
    let spoke_long_ago = async || {
        let set_back = "update source_use set last_used = last_used - interval '25 hours'";
        let found = sqlx::query(set_back).execute(&database).await.unwrap();
        (found.rows_affected() > 0).then_some(())
    };
    crate::house::until("the source is known", spoke_long_ago).await;
    let of_source = "/v1/exceptions?kind=SILENT_SOURCE&source=eg";
    let list = house
        .sees(&format!("{of_source}&state=open"), has_one)
        .await;
    let id = the_one(&list)["id"].as_str().unwrap().to_owned();
    house.event_grid_posts(&Call::new().started()).await;
    let closed = house
        .sees(&format!("/v1/exceptions/{id}"), |detail| {
            detail["state"] == "closed"
        })
        .await;
    assert_eq!(turns(&closed), ["opened", "closed"]);
    assert!(
        closed["reason"]
            .as_str()
            .unwrap()
            .starts_with("the source spoke at")
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_of_the_log_is_an_exception_of_every_tenant_and_an_interval_that_was_not_seen() {
    let mut house = TestHouse::open().await;
    house.event_grid_posts(&Call::new().started()).await;
    house
        .sees("/v1/calls", |seen| {
            seen["calls"]
                .as_array()
                .is_some_and(|calls| !calls.is_empty())
        })
        .await;
    let fabrikam = house.api_key("fabrikam", Role::Auditor).await;
    let database = house.ground.database().await;
    // As if the log had been cut off behind what was entered.
    let set_forward = "update stream_position set next_offset = next_offset + 1000000, last_digest = null, epoch = epoch + 1, owner = null
         where partition = 0 and topic like '%calling-events.v1'";
    sqlx::query(set_forward).execute(&database).await.unwrap();
    let gaps = "/v1/exceptions?kind=STREAM_GAP&state=open";
    let list = house.sees(gaps, has_one).await;
    let topic = format!("{}calling-events.v1", house.ground.prefix);
    assert_eq!(the_one(&list)["facts"]["topic"], topic.as_str());
    let asked = http().get(house.url(gaps)).bearer_auth(&fabrikam);
    let theirs: Value = asked.send().await.unwrap().json().await.unwrap();
    assert_ne!(the_one(&theirs)["id"], the_one(&list)["id"]);
    let seen = house.reads("/v1/outages").await;
    let outages = seen["outages"].as_array().unwrap();
    let gap = outages.iter().find(|one| one["kind"] == "stream_gap");
    let subject = format!("{topic}/0");
    assert_eq!(gap.unwrap()["subject"], subject.as_str(), "{seen:#}");
    crate::house::until("the metrics tell of it", async || {
        let metrics = http().get(house.url("/metrics")).send().await.ok()?;
        let metrics = metrics.text().await.ok()?;
        let told = "onrecord_exceptions_opened_total{kind=\"STREAM_GAP\"}";
        (metrics.contains(told) && metrics.contains("onrecord_exceptions_open{kind=\"LATE\"}"))
            .then_some(())
    })
    .await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_of_a_call_that_becomes_part_of_another_one_goes_with_it() {
    let mut house = TestHouse::open().await;
    let call = Call::new();
    // Known by its serverCallId only, and by a clock that is an hour slow.
    let mut slow = call.callback("CallConnected", seconds_ago(3600), &json!({}));
    let contents = slow[0]["data"].as_object_mut().unwrap();
    contents.remove("correlationId");
    house.call_automation_posts(&slow).await;
    let list = house.sees("/v1/exceptions?kind=CLOCK", has_one).await;
    let before = the_one(&list);
    let one = format!("/v1/exceptions/{}", before["id"].as_str().unwrap());
    assert!(
        before["call"].as_str().unwrap().starts_with("s-"),
        "{before:#}"
    );

    house.event_grid_posts(&call.started()).await;
    let moved = house
        .sees(&one, |detail| detail["call"] == call.correlation.as_str())
        .await;
    assert_eq!(turns(&moved), ["opened", "changed"]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_contents_of_one_key_and_two_calls_of_one_id_and_clients_that_differ_are_exceptions() {
    let mut house = TestHouse::open().await;
    let call = Call::new();
    let started = call.started();
    house.event_grid_posts(&started).await;
    let mut other = started.clone();
    other[0]["data"]["isTwoParty"] = json!(false);
    house.event_grid_posts(&other).await;
    let of_call = format!("/v1/exceptions?call={}", call.correlation);
    house
        .sees(&format!("{of_call}&kind=CONFLICTING_CONTENT"), has_one)
        .await;

    // One attachment says that it is in two calls.
    let (second, attachment) = (Call::new(), Uuid::new_v4());
    house.event_grid_posts(&second.started()).await;
    let token = house.token(ALICE).await;
    for (sequence, call) in [(1, &call), (2, &second)] {
        let said = json!({ "server_call_id": call.server_call_id, "recording": "on" });
        let (status, answer) = house
            .reports(&token, &report(&attachment, sequence, &said))
            .await;
        assert_eq!(status, 200, "{answer}");
    }
    for call in [&call, &second] {
        let of_call = format!(
            "/v1/exceptions?call={}&kind=CONFLICTING_IDENTITY",
            call.correlation
        );
        let list = house.sees(&of_call, has_one).await;
        let calls = the_one(&list)["facts"]["calls"].as_array().unwrap();
        assert_eq!(calls.len(), 2, "{list:#}");
    }

    let (third, bob) = (Call::new(), house.token(BOB).await);
    for (token, level) in [(&token, "on"), (&bob, "off")] {
        let said = json!({ "server_call_id": third.server_call_id, "recording": level });
        let (status, answer) = house
            .reports(token, &report(&Uuid::new_v4(), 1, &said))
            .await;
        assert_eq!(status, 200, "{answer}");
    }
    let list = house
        .sees(
            "/v1/exceptions?kind=DISAGREEING_REPORTERS&state=open",
            has_one,
        )
        .await;
    assert_eq!(
        the_one(&list)["facts"]["reporters"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    house.stop().await;
}
