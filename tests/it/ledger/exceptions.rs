//! Exceptions: opened automatically, resolved by a late fact, closed by hand with a reason.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::app::TestApp;
use crate::support::azure::{ALICE, BOB, Call, report};
use crate::support::client::http;

const REASON: &str = "informed by phone; her app is updated now";

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
    event[0]["subject"] =
        format!("/recording/call/{}/recordingId/{}", call.correlation, call.recording_id()).into();
    event
}

/// The kinds of steps in the history of an exception.
fn changes(detail: &Value) -> Vec<&str> {
    let history = detail["history"].as_array().unwrap();
    assert!(history.iter().enumerate().all(|(at, line)| line["position"] == at + 1), "{detail:#}");
    history.iter().filter_map(|line| line["change"].as_str()).collect()
}

/// The only exception of a list.
fn the_one(list: &Value) -> &Value {
    let exceptions = list["exceptions"].as_array().unwrap();
    assert_eq!(exceptions.len(), 1, "{list:#}");
    &exceptions[0]
}

fn has_one(list: &Value) -> bool {
    list["exceptions"].as_array().is_some_and(|exceptions| exceptions.len() == 1)
}

async fn closes(app: &TestApp, key: &str, id: &str, reason: &str) -> (StatusCode, Value) {
    let asked = http()
        .post(app.url(&format!("/v1/exceptions/{id}/close")))
        .bearer_auth(key)
        .json(&json!({ "reason": reason }));
    let response = asked.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_known_only_from_its_file_opens_an_exception_within_2_s_and_late_facts_extend_its_history()
 {
    let mut app = TestApp::open().await;
    let (call, alice) = (Call::new(), Uuid::new_v4().to_string());
    let alice = participant(ALICE, &alice);
    app.event_grid_posts(&at(&call, "CallStarted", seconds_ago(300), &json!({}))).await;
    let joined = at(&call, "CallParticipantAdded", seconds_ago(300), &alice);
    app.event_grid_posts(&joined).await;
    let ended = at(&call, "CallEnded", seconds_ago(20), &json!({}));
    app.event_grid_posts(&ended).await;
    let of_call = format!("/v1/exceptions?call={}", call.correlation);
    app.sees(&format!("{of_call}&kind=OBSERVATION_LAPSE"), has_one).await;

    let unnoticed = format!("{of_call}&kind=UNNOTICED_CAPTURE&state=open");
    app.reads(&unnoticed).await;
    let began = Instant::now();
    app.event_grid_posts(&file(&call, 0, seconds_ago(120), 60_000)).await;
    let list = app.sees(&unnoticed, has_one).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let opened = the_one(&list);
    assert_eq!(opened["severity"], "critical");
    assert!(opened["remedy"].as_str().unwrap().len() > 20, "{opened:#}");
    assert!(list["complete_through"].is_string() || list["complete_through"].is_null());
    let not_sent = format!("{of_call}&kind=NOT_SENT");
    let list = app.sees(&format!("{not_sent}&state=open"), has_one).await;
    let one = format!("/v1/exceptions/{}", the_one(&list)["id"].as_str().unwrap());
    let due = the_one(&list)["at"].clone();

    // Another file shows that it began earlier.
    app.event_grid_posts(&file(&call, 1, seconds_ago(140), 18_000)).await;
    let changed = app.sees(&one, |detail| changes(detail) == ["opened", "changed"]).await;
    assert!(changed["at"].as_str() < due.as_str(), "{changed:#}");

    // She had left before that.
    let left = at(&call, "CallParticipantRemoved", seconds_ago(200), &alice);
    app.event_grid_posts(&left).await;
    let closed = app.sees(&one, |detail| detail["state"] == "closed").await;
    assert_eq!(changes(&closed), ["opened", "changed", "closed"]);
    assert_eq!(closed["closed_by"], json!({ "name": "itself" }));
    let line = &closed["history"][2];
    assert!(line["version"].is_number(), "{closed:#}");
    let added = line["facts"]["changed_by"]["added"].as_array().unwrap();
    assert!(!added.is_empty(), "{closed:#}");
    app.sees(&format!("{of_call}&kind=UNNOTICED_CAPTURE&state=closed"), has_one).await;

    // And rejoined in time.
    let joined = at(&call, "CallParticipantAdded", seconds_ago(199), &alice);
    app.event_grid_posts(&joined).await;
    let again = app.sees(&one, |detail| detail["state"] == "open").await;
    assert_eq!(changes(&again), ["opened", "changed", "closed", "reopened"]);
    assert_eq!(again["closed_by"], Value::Null);
    the_one(&app.reads(&not_sent).await);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_is_closed_by_hand_with_a_reason_by_an_auditor_of_its_tenant_once() {
    let mut app = TestApp::open().await;
    app.posts("/ingest/event-grid/eg", "{ no JSON").await;
    let open = "/v1/exceptions?kind=QUARANTINE&source=eg&state=open";
    let list = app.sees(open, has_one).await;
    let id = the_one(&list)["id"].as_str().unwrap().to_owned();
    // Another one while it is open is counted, and is no line of the history.
    app.posts("/ingest/event-grid/eg", "{ no JSON either").await;
    let counted = app.sees(&format!("/v1/exceptions/{id}"), |it| it["facts"]["count"] == 2).await;
    assert_eq!(changes(&counted), ["opened"]);
    let other = app.api_key("fabrikam", ApiRole::Auditor).await;
    let analyst = app.api_key("contoso", ApiRole::Analyst).await;
    let auditor = app.api_key("contoso", ApiRole::Auditor).await;

    assert_eq!(closes(&app, &analyst, &id, REASON).await.0, 403);
    assert_eq!(closes(&app, &other, &id, REASON).await.0, 404);
    let asked = http().get(app.url(&format!("/v1/exceptions/{id}"))).bearer_auth(&other);
    assert_eq!(asked.send().await.unwrap().status(), 404);
    let (status, problem) = closes(&app, &auditor, &id, "ok").await;
    assert_eq!((status.as_u16(), &problem["member"]), (400, &json!("/reason")));

    let (status, closed) = closes(&app, &auditor, &id, REASON).await;
    assert_eq!(status, 200, "{closed:#}");
    assert_eq!(changes(&closed), ["opened", "closed"]);
    let line = &closed["history"][1];
    assert_eq!((&line["reason"], &line["actor"]["name"]), (&json!(REASON), &json!("test")));
    assert!(line["actor"]["key"].is_string(), "{closed:#}");
    assert_eq!(closes(&app, &auditor, &id, REASON).await.0, 409);
    assert!(!has_one(&app.reads(open).await));

    // A fact after the review reopens it.
    app.posts("/ingest/event-grid/eg", "{ no JSON again").await;
    app.sees(open, has_one).await;
    let again = app.reads(&format!("/v1/exceptions/{id}")).await;
    assert_eq!(changes(&again), ["opened", "closed", "reopened"]);
    assert_eq!(again["facts"]["count"], 3);
    for wrong in ["kind=NONE", "severity=9", "state=ajar", "from=yesterday", "cursor=x", "what=1"] {
        let asked = http().get(app.url(&format!("/v1/exceptions?{wrong}"))).bearer_auth(&auditor);
        assert_eq!(asked.send().await.unwrap().status(), 400, "{wrong}");
    }
    app.stop().await;
}

/// Posts deliveries with a wrong key, as a stranger can.
async fn are_rejected(app: &TestApp, source: &str, deliveries: usize) {
    for _ in 0..deliveries {
        let asked = http()
            .post(app.url(&format!("/ingest/event-grid/{source}")))
            .header("x-onrecord-key", "a wrong one")
            .body("[]");
        assert_eq!(asked.send().await.unwrap().status(), 503);
    }
}

/// The intervals of a list that are rejected deliveries.
fn rejected(intervals: &Value) -> Vec<&Value> {
    let intervals = intervals.as_array().into_iter().flatten();
    intervals.filter(|one| one["kind"] == "rejected").collect()
}

const REJECTED: &str = "/v1/exceptions?kind=REJECTED_CREDENTIALS&state=open";

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_wrong_keys_concern_a_tenant_only_beside_a_silence_of_the_source() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    app.event_grid_posts(&call.started()).await;
    let database = app.stores.database().await;
    let is_known = async || {
        let known = "select 1 from source_use where source = 'eg'";
        let known: Option<i32> = sqlx::query_scalar(known).fetch_optional(&database).await.unwrap();
        known.map(|_| ())
    };
    crate::support::app::until("the source is known", is_known).await;
    are_rejected(&app, "eg", 1000).await;
    // A source of another tenant that has delivered nothing; the same comparison judges both.
    are_rejected(&app, "other", 20).await;
    let theirs = app.api_key("fabrikam", ApiRole::Auditor).await;
    crate::support::app::until("the silent source is an exception", async || {
        let asked = http().get(app.url(REJECTED)).bearer_auth(&theirs);
        let list: Value = asked.send().await.ok()?.json().await.ok()?;
        let one = has_one(&list).then(|| the_one(&list))?;
        assert_eq!(
            (&one["source"], &one["facts"]["reason"]),
            (&json!("other"), &json!("wrong_key"))
        );
        Some(())
    })
    .await;
    let stored =
        "select sum(deliveries)::bigint from rejection where source = 'eg' and silent_from is null";
    let stored: i64 = sqlx::query_scalar(stored).fetch_one(&database).await.unwrap();
    assert!(stored >= 1000, "{stored}");
    assert!(!has_one(&app.reads(REJECTED).await));
    assert_eq!(rejected(&app.reads("/v1/outages").await["outages"]), Vec::<&Value>::new());
    // The call lasted as long as the wrong keys came.
    app.event_grid_posts(&call.ended()).await;
    let evidence = format!("/v1/calls/{}/evidence", call.correlation);
    let has_ended = |evidence: &Value| evidence["report"]["call"]["ended_at"].is_number();
    let seen = app.sees(&evidence, has_ended).await;
    assert_eq!(rejected(&seen["unseen"]), Vec::<&Value>::new());

    // The same beside a silence.
    let set_back = "update source_use set last_used_at = last_used_at - interval '1 hour'";
    sqlx::query(set_back).execute(&database).await.unwrap();
    let list = app.sees(REJECTED, has_one).await;
    assert_eq!(the_one(&list)["source"], "eg");
    let seen = app.reads("/v1/outages").await;
    let outage = rejected(&seen["outages"])[0];
    assert!(outage["detail"].as_str().unwrap().starts_with("1000 deliveries"), "{outage:#}");
    assert_eq!(rejected(&app.reads(&evidence).await["unseen"]).len(), 1);

    // It ends with the next delivery; what may be missing stays on record.
    let one = format!("/v1/exceptions/{}", the_one(&list)["id"].as_str().unwrap());
    app.event_grid_posts(&Call::new().started()).await;
    app.sees(&one, |detail| detail["state"] == "closed").await;
    assert_eq!(rejected(&app.reads(&evidence).await["unseen"]).len(), 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_source_is_an_exception_until_its_next_event() {
    let mut app = TestApp::open().await;
    app.event_grid_posts(&Call::new().started()).await;
    let database = app.stores.database().await;
    let spoke_long_ago = async || {
        let set_back = "update source_use set last_used_at = last_used_at - interval '25 hours'";
        let found = sqlx::query(set_back).execute(&database).await.unwrap();
        (found.rows_affected() > 0).then_some(())
    };
    crate::support::app::until("the source is known", spoke_long_ago).await;
    let of_source = "/v1/exceptions?kind=SILENT_SOURCE&source=eg";
    let list = app.sees(&format!("{of_source}&state=open"), has_one).await;
    let id = the_one(&list)["id"].as_str().unwrap().to_owned();
    app.event_grid_posts(&Call::new().started()).await;
    let closed =
        app.sees(&format!("/v1/exceptions/{id}"), |detail| detail["state"] == "closed").await;
    assert_eq!(changes(&closed), ["opened", "closed"]);
    assert!(closed["reason"].as_str().unwrap().starts_with("the source delivered at"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_log_is_an_exception_of_every_tenant_and_an_unobserved_interval() {
    let mut app = TestApp::open().await;
    app.event_grid_posts(&Call::new().started()).await;
    app.sees("/v1/calls", |seen| seen["calls"].as_array().is_some_and(|calls| !calls.is_empty()))
        .await;
    let fabrikam = app.api_key("fabrikam", ApiRole::Auditor).await;
    let database = app.stores.database().await;
    // As if the topic had been created again, with fewer messages: every partition gets its gap.
    let set_forward = "update stream_position set next_offset = next_offset + 1000000, last_digest = null, epoch = epoch + 1, owner = null
         where partition = 0 and topic like '%calling-events.v1'";
    sqlx::query(set_forward).execute(&database).await.unwrap();
    let gaps = "/v1/exceptions?kind=STREAM_GAP&state=open";
    let of_the_partition = |seen: &Value| {
        let exceptions = seen["exceptions"].as_array().unwrap();
        exceptions.iter().find(|one| one["facts"]["partition"] == 0).cloned()
    };
    let list = app.sees(gaps, |seen| of_the_partition(seen).is_some()).await;
    let ours = of_the_partition(&list).unwrap();
    let topic = format!("{}calling-events.v1", app.stores.prefix);
    assert_eq!(ours["facts"]["topic"], topic.as_str());
    let asked = http().get(app.url(gaps)).bearer_auth(&fabrikam);
    let theirs: Value = asked.send().await.unwrap().json().await.unwrap();
    assert_ne!(of_the_partition(&theirs).unwrap()["id"], ours["id"]);
    let seen = app.reads("/v1/outages").await;
    let outages = seen["outages"].as_array().unwrap();
    let subject = format!("{topic}/0");
    let is_gap = |one: &&Value| one["kind"] == "stream_gap" && one["subject"] == subject.as_str();
    assert!(outages.iter().any(|one| is_gap(&one)), "{seen:#}");
    crate::support::app::until("the metric counts it", async || {
        let metrics = http().get(app.url("/metrics")).send().await.ok()?;
        let metrics = metrics.text().await.ok()?;
        let opened = "onrecord_exceptions_opened_total{kind=\"STREAM_GAP\"}";
        (metrics.contains(opened) && metrics.contains("onrecord_exceptions_open{kind=\"LATE\"}"))
            .then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_moves_with_its_call_when_calls_merge() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    // Known by its serverCallId only, with a clock that is an hour slow.
    let mut slow = call.callback("CallConnected", seconds_ago(3600), &json!({}));
    let contents = slow[0]["data"].as_object_mut().unwrap();
    contents.remove("correlationId");
    app.call_automation_posts(&slow).await;
    let list = app.sees("/v1/exceptions?kind=CLOCK", has_one).await;
    let before = the_one(&list);
    let one = format!("/v1/exceptions/{}", before["id"].as_str().unwrap());
    assert!(before["call"].as_str().unwrap().starts_with("s-"), "{before:#}");

    app.event_grid_posts(&call.started()).await;
    let moved = app.sees(&one, |detail| detail["call"] == call.correlation.as_str()).await;
    assert_eq!(changes(&moved), ["opened", "changed"]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicting_contents_conflicting_calls_and_disagreeing_clients_are_exceptions() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    let started = call.started();
    app.event_grid_posts(&started).await;
    let mut other = started.clone();
    other[0]["data"]["isTwoParty"] = json!(false);
    app.event_grid_posts(&other).await;
    let of_call = format!("/v1/exceptions?call={}", call.correlation);
    app.sees(&format!("{of_call}&kind=CONFLICTING_CONTENT"), has_one).await;

    // One attachment reports that it is in two calls.
    let (second, attachment) = (Call::new(), Uuid::new_v4());
    app.event_grid_posts(&second.started()).await;
    let token = app.token(ALICE).await;
    for (sequence, call) in [(1, &call), (2, &second)] {
        let state = json!({ "server_call_id": call.server_call_id, "recording": "on" });
        let (status, answer) = app.reports(&token, &report(&attachment, sequence, &state)).await;
        assert_eq!(status, 200, "{answer}");
    }
    for call in [&call, &second] {
        let of_call = format!("/v1/exceptions?call={}&kind=CONFLICTING_IDENTITY", call.correlation);
        let list = app.sees(&of_call, has_one).await;
        let calls = the_one(&list)["facts"]["calls"].as_array().unwrap();
        assert_eq!(calls.len(), 2, "{list:#}");
    }

    let (third, bob) = (Call::new(), app.token(BOB).await);
    for (token, level) in [(&token, "on"), (&bob, "off")] {
        let state = json!({ "server_call_id": third.server_call_id, "recording": level });
        let (status, answer) = app.reports(token, &report(&Uuid::new_v4(), 1, &state)).await;
        assert_eq!(status, 200, "{answer}");
    }
    let list = app.sees("/v1/exceptions?kind=DISAGREEING_REPORTERS&state=open", has_one).await;
    assert_eq!(the_one(&list)["facts"]["reporters"].as_array().unwrap().len(), 2);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sentence_of_an_exception_names_the_person_and_a_late_name_reopens_nothing() {
    let mut app = TestApp::open().await;
    let (call, id) = (Call::new(), Uuid::new_v4().to_string());
    let began = seconds_ago(300);
    let nameless = participant(ALICE, &id);
    app.event_grid_posts(&at(&call, "CallStarted", began, &json!({}))).await;
    app.event_grid_posts(&at(&call, "CallParticipantAdded", began, &nameless)).await;
    app.event_grid_posts(&file(&call, 0, seconds_ago(120), 60_000)).await;
    app.event_grid_posts(&at(&call, "CallEnded", seconds_ago(20), &json!({}))).await;
    let not_sent = format!("/v1/exceptions?call={}&kind=NOT_SENT", call.correlation);
    let list = app.sees(&not_sent, has_one).await;
    let of_call = format!("In the call of {}: ", began.format("%Y-%m-%dT%H:%M:%S"));
    let sentence = the_one(&list)["sentence"].as_str().unwrap().to_owned();
    assert!(sentence.starts_with(of_call.trim_end_matches(": ")), "{sentence}");
    assert!(sentence.contains("Z: ACS user …lice was captured (recording) from"), "{sentence}");
    let one = the_one(&list)["id"].as_str().unwrap().to_owned();
    let auditor = app.api_key("contoso", ApiRole::Auditor).await;
    assert_eq!(closes(&app, &auditor, &one, REASON).await.0, StatusCode::OK);

    let mut named = nameless.clone();
    named["displayName"] = "Alice Adams".into();
    app.event_grid_posts(&at(&call, "CallParticipantAdded", began, &named)).await;
    let one = format!("/v1/exceptions/{one}");
    let named = app
        .sees(&one, |detail| {
            detail["sentence"].as_str().is_some_and(|it| it.contains("Z: Alice Adams was captured"))
        })
        .await;
    assert_eq!(named["state"], "closed", "{named:#}");
    assert_eq!(named["closed_by"]["name"], "test", "{named:#}");
    assert_eq!(changes(&named), ["opened", "closed"]);
    for kind in ["UNNOTICED_CAPTURE", "OBSERVATION_LAPSE"] {
        let path = format!("/v1/exceptions?call={}&kind={kind}", call.correlation);
        let list = app.sees(&path, has_one).await;
        let sentence = the_one(&list)["sentence"].as_str().unwrap();
        assert!(sentence.starts_with("In the call of "), "{sentence}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_consent_opens_an_exception_that_names_the_person_until_the_answer_arrives() {
    let mut app = TestApp::open().await;
    let (call, id, attachment) = (Call::new(), Uuid::new_v4().to_string(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    app.event_grid_posts(&call.started()).await;
    app.event_grid_posts(&call.joined(ALICE, &id)).await;
    let state = |sequence: i64, recording: &str| {
        let state = json!({
            "server_call_id": call.server_call_id, "participant_id": id, "recording": recording,
            "consent_required": ["recording"],
            "shown": [{ "type": "recording", "state": recording, "elapsed_ms": 0 }],
        });
        report(&attachment, sequence, &state)
    };
    assert_eq!(app.reports(&token, &state(1, "off")).await.0, StatusCode::OK);
    assert_eq!(app.reports(&token, &state(2, "on")).await.0, StatusCode::OK);
    app.event_grid_posts(&call.ended()).await;
    let exceptions = |kind: &str, state: &str| {
        format!("/v1/exceptions?call={}&kind={kind}&state={state}", call.correlation)
    };
    let list = app.sees(&exceptions("CONSENT_OUTSTANDING", "open"), has_one).await;
    let outstanding = the_one(&list);
    assert_eq!(outstanding["severity"], "minor");
    let sentence = outstanding["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("In the call of "), "{sentence}");
    assert!(sentence.contains("Z: Somebody was captured (recording)"), "{sentence}");
    let answer = |kind: &str| json!([{ "id": Uuid::new_v4(), "attachment": attachment, "type": "recording", "kind": kind }]);
    let acknowledgements = app.url("/v1/acknowledgements");
    let answers = async |kind: &str| {
        let request = http().post(&acknowledgements).bearer_auth(&token);
        let response = request.json(&answer(kind)).send().await.unwrap();
        assert_eq!(response.json::<Value>().await.unwrap()[0]["status"], "accepted");
    };
    answers("declined").await;
    let list = app.sees(&exceptions("CONSENT_DECLINED", "open"), has_one).await;
    assert_eq!(the_one(&list)["severity"], "major");
    assert!(the_one(&list)["sentence"].as_str().unwrap().contains("Somebody was captured"));
    app.sees(&exceptions("CONSENT_OUTSTANDING", "closed"), has_one).await;
    answers("consented").await;
    app.sees(&exceptions("CONSENT_DECLINED", "closed"), has_one).await;
    app.stop().await;
}

/// Mallory is in no call of Alice's, but has its serverCallId.
#[tokio::test(flavor = "multi_thread")]
async fn an_outsider_opens_no_exception_in_somebody_elses_call() {
    let mut app = TestApp::open().await;
    let (call, own, attachment) = (Call::new(), Call::new(), Uuid::new_v4());
    app.event_grid_posts(&call.joined(ALICE, "p1")).await;
    app.event_grid_posts(&own.joined(BOB, "p2")).await;
    let mallory = app.token(BOB).await;
    let state = |call: &Call, level: &str| json!({ "server_call_id": call.server_call_id, "recording": level });

    // The same report_id with different contents, then the same attachment in another call.
    let mut contradicting = report(&attachment, 1, &state(&call, "on"));
    let (status, answer) = app.reports(&mallory, &contradicting).await;
    assert_eq!(status, 200, "{answer}");
    contradicting["recording"] = json!("off");
    let (status, answer) = app.reports(&mallory, &contradicting).await;
    assert_eq!(status, 200, "{answer}");
    let in_own = report(&attachment, 2, &state(&own, "on"));
    let (status, answer) = app.reports(&mallory, &in_own).await;
    assert_eq!(status, 200, "{answer}");

    // In its own call it is a participant, and there it is an exception.
    let of_own = format!("/v1/exceptions?call={}&kind=CONFLICTING_IDENTITY", own.correlation);
    app.sees(&of_own, has_one).await;
    // What is appended to the call later reconciles its exceptions again.
    app.event_grid_posts(&call.started()).await;
    let timeline = format!("/v1/calls/{}/timeline?limit=1000", call.correlation);
    app.sees(&timeline, |seen| seen.to_string().contains("call.started")).await;
    let of_call = format!("/v1/exceptions?call={}", call.correlation);
    let list = app.sees(&of_call, |list| list["exceptions"].is_array()).await;
    assert_eq!(list["exceptions"], json!([]), "{list:#}");
    app.stop().await;
}
