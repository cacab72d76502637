//! Who was told, and what the rules make of it: judged, kept in versions, and recomputed.

use std::io::Write as _;
use std::process::{Command, Stdio};

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::azure::{ALICE, Call};
use crate::house::{TestHouse, until};

/// A call that began a minute ago and is recorded since 50 s, of which nobody was told.
async fn recorded_in_secret(house: &TestHouse, call: &Call) {
    let ago = |seconds| Utc::now() - TimeDelta::seconds(seconds);
    house
        .event_grid_posts(&call.event("CallStarted", ago(60), &json!({})))
        .await;
    let joined = call.joined(ALICE, &Uuid::new_v4().to_string());
    let mut joined = joined.clone();
    joined[0]["eventTime"] = json!(ago(60).to_rfc3339());
    house.event_grid_posts(&joined).await;
    house
        .call_automation_posts(&call.recording("active", ago(50)))
        .await;
}

fn recompute(exported: &Value) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_onrecord"))
        .args(["evidence", "recompute", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(exported.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), said)
}

fn recompute_stored(house: &TestHouse, wanted: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_onrecord"))
        .args(["evidence", "recompute", "--tenant", "contoso"])
        .args(wanted)
        .env("ONRECORD_DATABASE_URL", &house.ground.database_url)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_verdict_is_another_version_and_each_is_what_its_facts_come_to() {
    let mut house = TestHouse::open().await;
    let call = Call::new();
    recorded_in_secret(&house, &call).await;
    let path = format!("/v1/calls/{}/evidence", call.correlation);
    let first = house.sees(&path, |it| it["verdict"] == "EXCEPTIONS").await;
    assert_eq!(first["recomputed"], "equal", "{first:#}");
    assert_eq!(first["report"]["obligations"][0]["status"], "NOT_SENT");
    assert_eq!(
        first["why"][0]["session"],
        first["report"]["obligations"][0]["session"]
    );

    house.event_grid_posts(&call.ended()).await;
    let ended = house
        .sees(&path, |it| !it["report"]["call"]["end"].is_null())
        .await;
    let before = ended["report"]["obligations"][0]["due"].as_i64().unwrap();
    // The file tells that it began earlier.
    let start = Utc::now() - TimeDelta::seconds(58);
    house
        .event_grid_posts(&call.file(start, TimeDelta::seconds(57)))
        .await;
    let last = house
        .sees(&path, |it| {
            let due = it["report"]["obligations"][0]["due"].as_i64();
            due.is_some_and(|due| due < before)
        })
        .await;
    assert_eq!(
        last["version"].as_i64(),
        Some(ended["version"].as_i64().unwrap() + 1)
    );
    let versions = last["versions"].as_array().unwrap();
    let added = &versions[0]["changed_by"]["added"];
    assert_eq!(added.as_array().unwrap().len(), 1, "{added:#}");
    assert_eq!(added[0]["kind"], "file");
    assert_eq!(versions[0]["reason"], "facts");

    for version in versions {
        let number = &version["version"];
        let stored = house.reads(&format!("{path}?version={number}")).await;
        assert_eq!(stored["recomputed"], "equal", "{stored:#}");
        assert_eq!(stored["verdict"], version["verdict"]);
        let exported = house
            .reads(&format!(
                "/v1/calls/{}/facts?version={number}",
                call.correlation
            ))
            .await;
        let (code, said) = recompute(&exported);
        assert_eq!(code, Some(0), "{said}");
        let mut doctored = exported.clone();
        doctored["report"]["verdict"] = json!("COMPLIANT");
        let (code, said) = recompute(&doctored);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("verdict was \"COMPLIANT\", is"), "{said}");
    }
    let (code, said) = recompute_stored(&house, &["--all"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.starts_with(&format!("{} reports on 1 calls", versions.len())),
        "{said}"
    );
    let (code, said) = recompute_stored(&house, &["--call", &call.server_call_id]);
    assert_eq!(code, Some(0), "{said}");
    let (code, _) = recompute_stored(&house, &["--call", "nobody"]);
    assert_eq!(code, Some(2));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_can_be_asked_for_as_of_an_instant() {
    let mut house = TestHouse::open().await;
    let call = Call::new();
    recorded_in_secret(&house, &call).await;
    let path = format!("/v1/calls/{}/evidence", call.correlation);
    house.sees(&path, |it| it["verdict"] == "EXCEPTIONS").await;
    let at = (Utc::now() - TimeDelta::seconds(55)).format("%FT%TZ");
    let then = house.reads(&format!("{path}?at={at}")).await;
    assert_eq!(then["verdict"], "PENDING");
    assert!(then["version"].is_null() && then["recomputed"].is_null());
    assert_eq!(then["report"]["stretches"], json!([]));
    let ahead = (Utc::now() + TimeDelta::minutes(5)).format("%FT%TZ");
    let key = house
        .api_key("contoso", onrecord::store::Role::Auditor)
        .await;
    let refused = crate::client::http()
        .get(house.url(&format!("{path}?at={ahead}")))
        .bearer_auth(key);
    assert_eq!(refused.send().await.unwrap().status(), 400);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn obligations_can_be_asked_for_in_sql_and_follow_the_latest_version() {
    let mut house = TestHouse::open().await;
    let call = Call::new();
    recorded_in_secret(&house, &call).await;
    let path = format!("/v1/calls/{}/evidence", call.correlation);
    house.sees(&path, |it| it["verdict"] == "EXCEPTIONS").await;
    let database = house.ground.database().await;
    let rows: Vec<(String, String)> =
        sqlx::query_as("select type, status from obligation where call = $1")
            .bind(&call.correlation)
            .fetch_all(&database)
            .await
            .unwrap();
    assert_eq!(rows, [("recording".to_owned(), "NOT_SENT".to_owned())]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_ends_is_presumed_to_have_ended_and_says_so() {
    let mut house = TestHouse::open().await;
    let call = Call::new();
    let long_ago = Utc::now() - TimeDelta::hours(7);
    house
        .event_grid_posts(&call.event("CallStarted", long_ago, &json!({})))
        .await;
    let seen = house
        .sees(&format!("/v1/calls/{}", call.correlation), |it| {
            it["ended"].is_string()
        })
        .await;
    assert_eq!(seen["end_presumed"], true);
    let evidence = house
        .reads(&format!("/v1/calls/{}/evidence", call.correlation))
        .await;
    assert!(
        evidence["report"]["flags"]
            .as_array()
            .unwrap()
            .contains(&json!("END_PRESUMED"))
    );
    let timeline = house
        .reads(&format!("/v1/calls/{}/timeline", call.correlation))
        .await;
    let presumed = &timeline["events"][1];
    assert_eq!(presumed["type"], "call.ended");
    assert_eq!(presumed["source"], "sweeper");

    // A sign of life makes it void.
    house
        .event_grid_posts(&call.joined(ALICE, &Uuid::new_v4().to_string()))
        .await;
    house
        .sees(&format!("/v1/calls/{}", call.correlation), |it| {
            it["ended"].is_null()
        })
        .await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_merge_bring_their_versions_with_them() {
    let mut house = TestHouse::open().await;
    let call = Call::new();
    let ago = |seconds| Utc::now() - TimeDelta::seconds(seconds);
    // Known by its serverCallId only, until an event names both.
    let mut alone = call.recording("active", ago(50));
    alone[0]["data"]["correlationId"] = Value::Null;
    house.call_automation_posts(&alone).await;
    let path = format!(
        "/v1/calls/{}/evidence",
        crate::corridor::urlencoded(&call.server_call_id)
    );
    let before = house.sees(&path, |it| it["version"] == 1).await;
    house
        .event_grid_posts(&call.event("CallStarted", ago(60), &json!({})))
        .await;
    let after = house
        .sees(&path, |it| it["call"] == call.correlation.as_str())
        .await;
    assert_eq!(after["version"], 2);
    let names: Vec<&Value> = after["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["call"])
        .collect();
    assert_eq!(names, [&after["call"], &before["call"]]);
    let then = before["call"].as_str().unwrap();
    let old = house.reads(&format!("{path}?version=1&then={then}")).await;
    assert_eq!(old["recomputed"], "equal", "{old:#}");
    assert_eq!(old["call"], before["call"]);
    until("the obligations of one call", || async {
        let database = house.ground.database().await;
        let calls: Vec<String> =
            sqlx::query_scalar("select call from call where tenant = 'contoso'")
                .fetch_all(&database)
                .await
                .ok()?;
        (calls == [call.correlation.clone()]).then_some(())
    })
    .await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_that_parts_takes_its_facts_along_and_the_versions_before_still_have_them() {
    let mut house = TestHouse::open().await;
    let (first, second) = (Call::new(), Call::new());
    let ago = |seconds| Utc::now() - TimeDelta::seconds(seconds);
    // Of the serverCallId only, which leads to the first call…
    let mut alone = first.recording("active", ago(50));
    alone[0]["data"]["correlationId"] = Value::Null;
    house.call_automation_posts(&alone).await;
    house
        .event_grid_posts(&first.event("CallStarted", ago(60), &json!({})))
        .await;
    let path = format!("/v1/calls/{}/evidence", first.correlation);
    house.event_grid_posts(&first.ended()).await;
    let together = house
        .sees(&path, |it| {
            let stretches = it["report"]["stretches"].as_array();
            stretches.is_some_and(|it| it.len() == 1) && !it["report"]["call"]["end"].is_null()
        })
        .await;
    // … until another call is seen with it.
    let mut another = second.event("CallStarted", ago(40), &json!({}));
    another[0]["data"]["serverCallId"] = json!(first.server_call_id);
    house.event_grid_posts(&another).await;
    let parted = house
        .sees(&path, |it| it["report"]["stretches"] == json!([]))
        .await;
    assert_eq!(parted["recomputed"], "equal", "{parted:#}");
    let old = house
        .reads(&format!("{path}?version={}", together["version"]))
        .await;
    assert_eq!(old["recomputed"], "equal", "{old:#}");
    let versions = parted["versions"].as_array().unwrap().iter();
    let mut removed =
        versions.flat_map(|version| version["changed_by"]["removed"].as_array().unwrap());
    assert!(
        removed.any(|fact| fact["kind"] == "provider.state"),
        "{parted:#}"
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_a_call_with_very_many_facts_is_entered_and_no_word_of_theirs_is_refused() {
    let mut house = TestHouse::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let mut crowd = Vec::new();
    for _ in 0..1_100 {
        let joined = call.joined(ALICE, &Uuid::new_v4().to_string());
        crowd.extend(joined.as_array().unwrap().clone());
    }
    house.event_grid_posts(&Value::Array(crowd)).await;
    let path = format!("/v1/calls/{}", call.correlation);
    house
        .sees(&path, |it| {
            it["participants"]
                .as_array()
                .is_some_and(|it| it.len() == 1_100)
        })
        .await;
    // The attachment is a new id of a call that is folded by the sweeper only.
    let token = house.token(ALICE).await;
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    crate::acknowledgements::says(&house, &token, &attachment, 1, &on).await;
    house
        .sees(&path, |it| it["indication"]["recording"]["state"] == "on")
        .await;
    let quarantine = house.reads("/v1/quarantine").await;
    assert_eq!(quarantine["quarantined"], json!([]));
    house.stop().await;
}
